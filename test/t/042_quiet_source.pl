# What a check and a migration leave in the source's log: no errors.  Probing an output plugin
# provokes some; a role that may change log_min_messages keeps them out of the log.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair   = LiveMigrate::Test->new;
my $source = $pair->source;
my $offset = 0;

sub trouble {
    my $log = slurp_file($source->logfile, $offset);
    $offset = -s $source->logfile;
    return join "\n", grep {/(?:ERROR|FATAL|PANIC):  /} split /\n/, $log;
}

$pair->source_sql(
    'CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)');
trouble();
for my $plugin (qw(auto pgoutput wal2json)) {
    is_deeply([ $pair->check_errors(plugin => $plugin) ], [], "migration_check with $plugin");
    is(trouble(), '', "migration_check with $plugin: the source's log is quiet");
}
ok($pair->poll(sub { $source->safe_psql('app', 'SELECT count(*) FROM pg_replication_slots') eq '0' }),
    'the temporary slots are gone');

# The same of a plugin that cannot be loaded.
SKIP: {
    skip 'this source loads every plugin', 2
      unless $source->safe_psql('postgres',
        "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'");
    $source->safe_psql('postgres', 'ALTER SYSTEM SET output_plugin_libraries = pgoutput');
    $source->reload;
    ok($pair->poll(sub { ($pair->check_errors(plugin => 'wal2json'))[0] }), 'a plugin is refused');
    is(trouble(), '', "a plugin that is refused: the source's log is quiet");
}
$source->safe_psql('postgres', 'ALTER SYSTEM RESET ALL');
$source->reload;
$pair->poll(sub { !$pair->check_errors(plugin => 'wal2json') });
trouble();

# A role without that right: the one error is told, and the session's other messages stay.
$source->safe_psql('app',
    'CREATE ROLE migrator LOGIN REPLICATION; GRANT SELECT ON ALL TABLES IN SCHEMA public TO migrator');
is_deeply([ $pair->check_errors(plugin => 'wal2json', source => $pair->conninfo(user => 'migrator')) ],
    [], 'migration_check as a plain role');
my @lines = grep { !/option "numeric-data-types-as-string" = "1" is unknown/ } split /\n/, trouble();
is_deeply(\@lines, [], 'a plain role: at most the documented error');

# A whole migration.
for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("with_$plugin");
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text);
        INSERT INTO t SELECT g, g::text FROM generate_series(1, 10000) g');
    trouble();
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    $one->pause;
    $one->wait_state('paused');
    $one->source_sql("UPDATE t SET v = 'new' WHERE id = 5");
    # Whoever comes before the old walsender has gone is told so.
    $one->poll(sub { $one->source_sql('SELECT count(*) FROM pg_replication_slots WHERE active') eq '0' });
    $one->resume;
    $one->finish($plugin);
    is(trouble(), '', "a migration with $plugin: the source's log is quiet");
}

done_testing();
