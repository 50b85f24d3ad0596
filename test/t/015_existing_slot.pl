# options existing_slot and publication: roles, schema, data and indexes are there already, and only
# the changes from the slot's confirmed position on are taken: pgcopydb's "follow" alone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $servers = LiveMigrate::Test->new(dbname => 'unused');
for my $plugin (qw(pgoutput wal2json)) {
    my $one = $servers->database("follow_$plugin");
    $one->create_ledger;
    my $publication = "My publication $plugin";
    $one->source_sql(qq{CREATE PUBLICATION "$publication" FOR ALL TABLES}) if $plugin eq 'pgoutput';
    $one->source_sql("SELECT pg_create_logical_replication_slot('mine_$plugin', '$plugin')");

    # The operator's own copy, by pg_dump, while nothing is written.
    my $dump = PostgreSQL::Test::Utils::tempdir() . "/$plugin.dump";
    command_ok(
        [   'pg_dump', '-Fc', '-f', $dump, '--no-publications', '-d',
            $one->source->connstr($one->dbname) ],
        "$plugin: dump");
    command_ok([ 'pg_restore', '-d', $one->target->connstr($one->dbname), $dump ],
        "$plugin: restore");
    $one->work(20);

    my %option = (
        existing_slot => "mine_$plugin",
        $plugin eq 'pgoutput' ? (publication => $publication) : ());
    $one->start_load(rate => 50);
    $one->start(plugin => $plugin, options => \%option);
    $one->wait_stage('streaming');
    is($one->status_row->{slot_name}, "mine_$plugin", "$plugin: the given slot is used");
    ok( $one->poll(sub { $one->source_sql(
                "SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ 'livemigrate'") eq '0' }),
        "$plugin: no other slot is made");
    $one->wait_for_load(10);
    ok($one->poll(sub { $one->target_sql('SELECT count(DISTINCT tx) FROM ledger.audit') > 20 }),
        "$plugin: changes arrive");
    $one->assert_ledger('target', "$plugin: the ledger holds");

    # D23: stop and go on between transactions.
    $one->pause;
    $one->wait_state('paused');
    $one->resume;
    $one->wait_stage('streaming');
    $one->stop_load;
    $one->set_endpos;
    $one->wait_stage('done');
    $one->assert_equal_tables("$plugin: equal tables");
    $one->assert_ledger('target', "$plugin: the ledger holds at the end");
    $one->cleanup;
    is( $one->source_sql(qq{SELECT count(*) FROM pg_publication WHERE pubname = '$publication'}),
        $plugin eq 'pgoutput' ? '1' : '0',
        "$plugin: cleanup leaves a publication that is not ours");
    my $kept = $one->source_sql(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'mine_$plugin'");
    note "$plugin: cleanup " . ($kept ? 'keeps' : 'drops') . ' the slot that was given';
    # Its walsender may be about to leave.
    ok($one->poll(sub { $one->source->psql($one->dbname, "SELECT pg_drop_replication_slot('mine_$plugin')") == 0 }),
        "$plugin: nobody has it any more")
      if $kept;
    $one->assert_nothing_left("$plugin: nothing else is left");
}

# A slot of the wrong kind is refused.
my $wrong = $servers->database('wrong');
$wrong->source_sql(
    "CREATE TABLE t (id int PRIMARY KEY); SELECT pg_create_physical_replication_slot('physical');"
        . " SELECT pg_create_logical_replication_slot('other_plugin', 'test_decoding')");
$servers->source->safe_psql('postgres',
    "SELECT pg_create_logical_replication_slot('other_database', 'pgoutput')");
$wrong->target_sql('CREATE TABLE t (id int PRIMARY KEY)');
for my $slot (qw(physical other_plugin other_database nowhere)) {
    $wrong->assert_error(
        $wrong->start_sql(plugin => 'pgoutput', options => { existing_slot => $slot }),
        "existing_slot $slot is refused");
}
is($wrong->target_sql('SELECT count(*) FROM livemigrate.migrations'), '0',
    'and nothing is started');

done_testing();
