# SEC-28: the list of what is linked in is what the Makefile links and the library needs; versions are
# the same everywhere, nothing is vendored, and a build depends on neither day nor directory.
use strict;
use warnings;

use FindBin;
use JSON::PP ();
use Test::More;

my $top = "$FindBin::RealBin/../..";

sub slurp {
    my ($name) = @_;
    open my $file, '<', "$top/$name" or die "$name: $!\n";
    local $/;
    return scalar <$file>;
}

my $sbom    = JSON::PP->new->decode(slurp('doc/sbom.spdx.json'));
my ($own)   = grep { $_->{name} eq 'livemigrate' } @{ $sbom->{packages} };
my @linked  = grep { $_ != $own } @{ $sbom->{packages} };
my ($control) = slurp('livemigrate.control') =~ /^default_version = '([^']+)'/m;
is($sbom->{spdxVersion}, 'SPDX-2.3', 'SEC-28 SPDX');
is($own->{versionInfo}, $control, 'SEC-28 of this version');
is(JSON::PP->new->decode(slurp('META.json'))->{version}, $control, 'SEC-28 as META.json has it');

# Every package has a licence, and is related to ours.
for my $package (@linked) {
    like($package->{licenseConcluded}, qr/^[A-Za-z0-9.]+(-[A-Za-z0-9.]+)*( WITH \S+)?$/, "SEC-28 $package->{name}: licence");
    is(scalar(grep { $_->{relatedSpdxElement} eq $package->{SPDXID} && $_->{relationshipType} eq 'DYNAMIC_LINK' }
              @{ $sbom->{relationships} }), 1, "SEC-28 $package->{name}: linked dynamically");
}

# What the Makefile asks for
my ($flags) = slurp('Makefile') =~ /^SHLIB_LINK\s*=\s*(.*)$/m;
my @asked = map { /^-l(.*)/ ? "lib$1" : /^\$\((\w+)\)$/ ? $1 : die "what is $_?" } split ' ', $flags;
my %file  = map { ($_->{packageFileName} =~ /^(.*)\.so/)[0] => 1 } @linked;
is_deeply([ grep { !$file{$_} } @asked ], [], 'SEC-28 the Makefile links nothing else');

# What the library needs
chomp(my $libdir = `@{[ $ENV{PG_CONFIG} || 'pg_config' ]} --pkglibdir`);
my @needed = map { /\(NEEDED\).*\[(.*?)\.so/ ? $1 : () } `readelf -d $libdir/livemigrate.so 2>/dev/null`;
SKIP: {
    skip 'readelf is not installed', 1 unless @needed;
    # The loader and the mathematical library are glibc's.
    my @others = grep { !/^(?:ld-linux.*|libm)$/ } @needed;
    is_deeply([ sort @others ], [ sort keys %file ], 'SEC-28 nor does the library need anything else');
}

# The policy, with what it has to say
my $policy = slurp('SECURITY.md');
like($policy, qr/privately/,            'SEC-28 how to report');
like($policy, qr/^## Supported versions\n.*\Q${\($control =~ s|\.\d+$||r)}\E/ms, 'SEC-28 which versions are supported');
like($policy, qr{doc/sbom\.spdx\.json}, 'SEC-28 where the list is');

# Reproducible: no date in the sources, no directory in what is compiled
my @dated = split /\n/, `grep -rlE '__(DATE|TIME|TIMESTAMP)__' $top/src --include=*.cpp --include=*.hpp`;
is_deeply(\@dated, [], 'SEC-28 no date of the build');
like(slurp('Makefile'), qr/-ffile-prefix-map=\$\(CURDIR\)=\./, 'SEC-28 no directory of the build');
my @paths = grep { m{/src/(?:core|pg|source|stage|control|api)/} && m{^/} } split /\n/,
  `strings -n 8 $libdir/livemigrate.so 2>/dev/null`;
is_deeply(\@paths, [], 'SEC-28 none in the library');
done_testing();
