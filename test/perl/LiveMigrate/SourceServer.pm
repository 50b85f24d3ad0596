# Source servers of other major versions, where test/source_servers.sh has fetched them.
#
# What it fetches has no client programs, so each gets a directory in which its server programs stand
# beside the clients of the server under test, as PostgreSQL::Test::Cluster wants to find them.
package LiveMigrate::SourceServer;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT = qw(fetched_versions has_wal2json install_path target_major skip_version);

use Cwd ();
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $directory = $ENV{SOURCE_SERVERS} //
  ($ENV{MATRIX_CACHE} // ($ENV{XDG_CACHE_HOME} // "$ENV{HOME}/.cache") . '/livemigrate') .
  '/source_servers';

# Major versions, oldest first.
sub fetched_versions {
    return sort { $a <=> $b } map { m{/(\d+)/bin/postgres$} } glob "$directory/*/bin/postgres";
}

# Whether the fetched server can decode with wal2json.
sub has_wal2json {
    my ($major) = @_;
    return -e "$directory/$major/lib/postgresql/wal2json.so";
}

sub target_major { return `pg_config --version` =~ /(\d+)/ ? $1 : die 'no pg_config' }

# A line that is there without prove's --verbose, too.
sub skip_version {
    my ($what, $why) = @_;
    diag "skipped: $what: $why";
    pass "skipped: $what";
}

sub install_path {
    my ($major) = @_;
    my $server  = Cwd::abs_path("$directory/$major");
    my $install = PostgreSQL::Test::Utils::tempdir_short() . "/$major";
    chomp(my $clients = `pg_config --bindir`);
    mkdir $_ for $install, "$install/bin", "$install/lib";
    for my $program (glob "$clients/*") {
        symlink $program, $program =~ s{.*/}{$install/bin/}r;
    }
    for my $program (qw(postgres initdb pg_ctl)) {
        unlink "$install/bin/$program";
        symlink "$server/bin/$program", "$install/bin/$program";
    }
    unlink "$install/bin/pg_config";
    append_to_file("$install/bin/pg_config", "#!/bin/sh\n'$server/bin/postgres' --version | tr -d '()' | sed 's/^postgres //'\n");
    chmod 0755, "$install/bin/pg_config";
    return $install;
}

1;
