# What CI does with the hypertable tests of the Debian 13 tree: runs them when they fit the time, says
# in a line why not otherwise, and fails only for a build or a test that fails.  With a make that does
# nothing but what it is told; no server takes part.
use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use Test::More;
use Time::HiRes qw(usleep);

my $dir = tempdir(CLEANUP => 1);
mkdir "$dir/bin";
open my $make, '>', "$dir/bin/make" or die "$dir/bin/make: $!";
print $make <<'SH';
#!/bin/bash
case $1 in
prepare-hypertables)
    [ -n "$PREPARE_FOREVER" ] && echo $$ >"$DIR/pid.new" && mv "$DIR/pid.new" "$DIR/pid" && exec sleep 1000
    printf '%s\n' "$PREPARE"
    exit "${PREPARE_STATUS:-0}"
    ;;
check)
    until [ -z "$PREPARE_FOREVER" ] || [ -e "$DIR/pid" ]; do read -rt 0.05 < <(:); done
    exit "${CHECK_STATUS:-0}"
    ;;
check-hypertables)
    echo "the tests ran, for $((MATRIX_DEADLINE - $(date +%s))) s at most"
    exit "${TESTS_STATUS:-0}"
    ;;
esac
SH
close $make;
chmod 0755, "$dir/bin/make";

sub ci {
    my (%env) = @_;
    local %ENV = (%ENV, CI_IDLE => '', CI_PROCESSORS => 4, MATRIX_CACHE => $dir, PATH => "$dir/bin:$ENV{PATH}", DIR => $dir, PREPARE => 'matrix: prepared', %env);
    my $output = qx{'$FindBin::RealBin/../ci.sh' 2>&1};
    return ($? >> 8, $output);
}

my ($status, $output) = ci();
is($status, 0, 'all is well');
like($output, qr/the tests ran, for 10[0-8]\d s at most/, '... and the tests have what is left, but for two minutes');

($status, $output) = ci(TESTS_STATUS => 2);
isnt($status, 0, 'a test that fails makes CI fail');

($status, $output) = ci(CI_SECONDS => 200);
is($status, 0, 'no time is left');
like($output, qr/^ci: skipped: check-hypertables: the tests take up to \d+ s, more than is left$/m, '... says so');
unlike($output, qr/the tests ran/, '... and leaves them out');

($status, $output) = ci(CI_PROCESSORS => 2, CI_SECONDS => 500);
is($status, 0, 'no processor to spare, and no tree');
like($output, qr/^ci: skipped: check-hypertables: a Debian tree and the tests in it take up to \d+ s, more than is left$/m, '... says so');
unlike($output, qr/the tests ran/, '... and leaves them out');
($status, $output) = ci(CI_PROCESSORS => 2);
like($output, qr/the tests ran/, '... but has time for both behind a fast make check');

($status, $output) = ci(PREPARE => "matrix: skipped: everything: debootstrap could not make a tree (see above)\nmatrix: 1 skipped");
is($status, 0, 'no network');
like($output, qr/^ci: skipped: check-hypertables: debootstrap could not make a tree/m, '... says so');
unlike($output, qr/the tests ran/, '... and leaves them out');

($status, $output) = ci(PREPARE => 'deps: apt-get could not install debootstrap', PREPARE_STATUS => 2);
is($status, 0, 'no package');
like($output, qr/^ci: skipped: check-hypertables: deps: apt-get could not install debootstrap/m, '... says so');

($status, $output) = ci(PREPARE => "error: no\nmatrix: FAILED on PostgreSQL 17: extension\nmatrix: 0 skipped", PREPARE_STATUS => 2);
isnt($status, 0, 'a build that fails makes CI fail');
like($output, qr/^error: no$/m, '... and says why');

($status, $output) = ci(CHECK_STATUS => 2, PREPARE_FOREVER => 1);
isnt($status, 0, 'make check that fails makes CI fail');
unlike($output, qr/the tests ran|skipped/, '... at once');
open my $file, '<', "$dir/pid" or die "$dir/pid: $!";
chomp(my $pid = <$file>);
my $tries = 2000;
usleep(50_000) while kill(0, $pid) && --$tries;
ok($tries, '... with nothing left of the preparation');

# By itself it needs root.
SKIP: {
    skip 'as root it would make a tree', 2 if $> == 0 || !system 'sudo -n true 2>/dev/null';
    $output = qx{MATRIX_CACHE='$dir' '$FindBin::RealBin/../matrix.sh' hypertables 2>&1};
    is($? >> 8, 0, 'without root');
    is($output, "matrix: skipped: everything: making and entering a tree takes root\nmatrix: 1 skipped\n", '... says so');
}

done_testing();
