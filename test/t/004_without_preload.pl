# Without shared_preload_libraries and with PostgreSQL's default of eight worker processes: the same
# workflow with fewer workers at a time, and migration_resume after a restart of the target.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Shop;
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(preload => 0, max_worker_processes => undef);
is($pair->target_sql('SHOW max_worker_processes'),     '8', 'eight worker processes');
is($pair->target_sql('SHOW shared_preload_libraries'), '',  'nothing is preloaded');
create_shop($pair);

$pair->start_load(script => $shop_load, rate => 40);
$pair->wait_for_load(5);
$pair->start(table_jobs => 16, index_jobs => 16);
$pair->wait_stage('streaming');
ok( $pair->target_sql(
              "SELECT count(*) FROM livemigrate.events"
            . " WHERE message || coalesce(detail, '') ~* 'worker'"),
    'G01 fewer workers than asked for are reported');
$pair->wait_for_load(20);

# Nobody starts the workers again by themselves; the migration waits for a person, and says so.
$pair->target->restart;
is($pair->target_sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'livemigrate'"),
    '0', 'no worker after a restart');
ok($pair->status_row->{hint}, 'status has a hint');
$pair->wait_for_load(20);
$pair->resume;
my $applied = $pair->status_row->{transactions_applied};
ok($pair->poll(sub { $pair->status_row->{transactions_applied} > $applied }),
    'goes on after resume');
$pair->assert_ledger('target', 'the ledger holds after the restart');
$pair->stop_load;
$pair->source_sql('REFRESH MATERIALIZED VIEW shop.sold');
$pair->finish('without preload');
$pair->assert_ledger('target', 'the ledger holds at the end');

# The workers of the first are gone, so their slots must be free again.
my $second = $pair->database('second');
$second->source_sql(
    'CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000)');
$second->migrate('G01 a second migration on the same servers',
    stream => 'DELETE FROM t WHERE id > 500');

done_testing();
