# The workflow of the documentation, call by call as an operator types it, under load.
package LiveMigrate::Workflow;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT = qw(test_documented_workflow);

use LiveMigrate::Shop;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

# Stages with the facts that must hold once they have ended.
sub test_documented_workflow {
    my ($plugin) = @_;
    my $pair = LiveMigrate::Test->new;
    create_shop($pair);
    $pair->source_sql(
        'CREATE ROLE shop_reader; CREATE ROLE "Shop Owner" LOGIN;
            ALTER SCHEMA shop OWNER TO "Shop Owner"'
    );
    $pair->start_load(script => $shop_load, rate => 60);
    $pair->wait_for_load(5);

    my $source = LiveMigrate::Test::quote_literal($pair->conninfo);
    is_deeply([ $pair->check_errors(plugin => $plugin) ], [], 'migration_check finds no error');
    ok($pair->poll(sub { $pair->source_sql('SELECT count(*) FROM pg_replication_slots') eq '0' }),
        'migration_check changes nothing');

    is( $pair->target_sql(
                  "SELECT livemigrate.migration_start($source, plugin => '$plugin',"
                . " pause_after => '{schema}')"),
        'main',
        'migration_start returns the name');
    $pair->target_sql("CALL livemigrate.migration_wait('schema')");
    $pair->wait_state('paused');
    is($pair->target_sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'shop'"),
        '12', 'after schema: the tables are there');
    is($pair->target_sql('SELECT count(*) FROM shop.customer'), '0', 'after schema: no data yet');
    is($pair->target_sql("SELECT count(*) FROM pg_constraint WHERE contype = 'f'
            AND connamespace <> 'livemigrate'::regnamespace"),
        '0', 'after schema: no foreign keys yet');
    $pair->target_sql('ALTER TABLE shop.customer SET (fillfactor = 70)');

    $pair->target_sql('SELECT livemigrate.migration_resume()');
    $pair->target_sql("CALL livemigrate.migration_wait('streaming')");
    my $status = $pair->status_row;
    is($status->{stage},       'streaming',             'status: streaming');
    is($status->{state},       'running',               'status: running');
    is($status->{plugin},      $plugin,                 "status: plugin $plugin");
    is($status->{tables_done}, $status->{tables_total}, 'status: all tables copied');
    cmp_ok($status->{rows_done}, '>', 100_000, 'status: rows counted');
    is($status->{indexes_done}, $status->{indexes_total}, 'status: all indexes built');

    ok( $pair->source->poll_query_until(
            $pair->dbname,
            "SELECT count(*) = 1 FROM pg_stat_replication"
                . " WHERE application_name = 'livemigrate' AND state = 'streaming'"
                . ' AND replay_lag IS NOT NULL'
        ),
        'the documented query on pg_stat_replication gives a replay_lag');
    my $applied = $status->{transactions_applied};
    $pair->wait_for_load(30);
    ok($pair->poll(sub { $pair->status_row->{transactions_applied} > $applied }),
        'transactions_applied grows under load');
    $pair->assert_ledger($_, "the ledger holds on the $_ under load") for qw(target source);
    like(
        $pair->target_sql(
            'SELECT stage, state, replay_lag, eta FROM livemigrate.migration_status()'),
        qr/^streaming\|running\|/,
        'the documented status query');

    $pair->stop_load;
    $pair->source_sql('SELECT ledger.work(), shop.work(); REFRESH MATERIALIZED VIEW shop.sold');
    like($pair->target_sql('SELECT livemigrate.set_endpos()'),
        qr{^[0-9A-F]+/[0-9A-F]+$}, 'set_endpos returns a position');
    $pair->target_sql('CALL livemigrate.migration_wait()');

    is($pair->target_sql('SELECT * FROM livemigrate.compare_data() WHERE NOT equal'),
        '', 'compare_data finds no difference');
    cmp_ok($pair->target_sql('SELECT count(*) FROM livemigrate.compare_data()'),
        '>=', 15, 'compare_data has a row for each table');
    is( $pair->target_sql(
                  'SELECT count(*) FROM livemigrate.compare_schema()'
                . " WHERE object !~ 'fillfactor' AND concat(source, target) !~ 'fillfactor'"),
        '0',
        'compare_schema finds no difference but the one made on purpose');
    $pair->assert_equal_tables('equal tables, sequences, large objects');
    $pair->assert_ledger('target', 'the ledger holds on the target');
    is( $pair->target_sql(
            "SELECT string_agg(rolname, ',' ORDER BY 1) FROM pg_roles WHERE rolname ~* '^shop'"),
        'Shop Owner,shop_reader',
        'roles came along');
    is( $pair->target_sql(
                  'SELECT count(*) FROM pg_class WHERE relkind IN (\'r\', \'m\')'
                . " AND reltuples < 0 AND relnamespace = 'shop'::regnamespace"),
        '0',
        'every table is analyzed');
    my $before = $pair->target_sql("SELECT last_value FROM shop.invoice");
    is( $pair->target_sql("SELECT nextval('shop.invoice')"),
        $pair->source_sql("SELECT nextval('shop.invoice')"),
        'sequences go on where the source was');

    # The documented triggers work again for ordinary sessions.
    $pair->target_sql("INSERT INTO shop.order_line VALUES (9000, 77, 1010, 1)");
    is( $pair->target_sql(
            "SELECT count(*) FROM pg_trigger WHERE tgname = 'take_stock' AND tgenabled = 'O'"),
        '1',
        'triggers are enabled');

    $pair->target_sql('SELECT livemigrate.migration_cleanup()');
    $pair->assert_nothing_left('cleanup leaves nothing on either side');
    is($pair->status_row->{state}, 'done', 'the history stays');
    cmp_ok($pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE migration = 'main'"),
        '>', 5, 'the events stay');
    done_testing();
}

1;
