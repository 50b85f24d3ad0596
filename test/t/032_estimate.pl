# migration_estimate: sizes are those of the source, nothing is left behind, and it says what it is
# based on.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
$pair->source_sql(<<'SQL');
CREATE TABLE big (id int PRIMARY KEY, v text) WITH (autovacuum_enabled = off);
INSERT INTO big SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g;
CREATE TABLE small (id int PRIMARY KEY);
CREATE TABLE "odd ""name" (id int PRIMARY KEY);
CREATE SEQUENCE s;
ANALYZE;
SQL

sub estimate {
    my ($more, $column) = @_;
    my $source = LiveMigrate::Test::quote_literal($pair->conninfo);
    my %value = map { split /=/, $_, 2 } split /\n/,
        $pair->target_sql("SELECT item || '=' || " . ($column // 'value') . "
            FROM livemigrate.migration_estimate($source, sample_seconds => 1 $more)");
    return \%value;
}

my $all = estimate('');
is($all->{tables},  3, 'tables');
is($all->{indexes}, 3, 'indexes');
is($all->{largest_table}, $pair->source_sql("SELECT pg_table_size('big')"), 'the largest table');
cmp_ok($all->{$_}, '>', 0, $_)
    for qw(table_size index_size read_rate write_rate index_rate apply_rate stage_schema stage_data
    stage_indexes until_streaming downtime target_disk target_wal source_connections
    target_workers);
cmp_ok($all->{target_disk}, '>=', $all->{table_size} + $all->{index_size}, 'room for all of it');

# What was measured says so, and how fast the source writes is not nothing when it does.
{
    my $writer = $pair->start_background('psql', '-XqAt', '-d', $pair->conninfo, '-c',
        q{DO $$ BEGIN LOOP UPDATE big SET v = repeat('y', 200) WHERE id = 1; COMMIT; PERFORM pg_sleep(0.001); END LOOP; END $$});
    my $writes = q{FROM pg_stat_activity WHERE query ~ '^DO ' AND state = 'active'};
    $pair->poll(sub { $pair->source_sql("SELECT count(*) $writes") eq '1' }) or die 'nothing is written';
    my $basis = estimate('', "basis || ' ' || (value > 0)");
    $pair->source_sql("SELECT pg_terminate_backend(pid) $writes");
    $pair->stop_background($writer);
    like($basis->{read_rate}, qr/rows of the largest table fetched to here.*, measured for \d.* true$/, 'read_rate is measured');
    like($basis->{$_}, qr/one worker, \w.* on the target true$|into a logged table on the target true$/, "$_ is measured")
      for qw(write_rate index_rate);
    like($basis->{source_wal_rate}, qr/WAL written on the source, measured for \d.* true$/, 'source_wal_rate is measured');
}

# What is read is pages, however little text comes out of them.
{
    my $holes = $pair->database('holes');
    $holes->source_sql(q{CREATE TABLE holes (id int, v text) WITH (autovacuum_enabled = off);
        ALTER TABLE holes ALTER v SET STORAGE PLAIN;
        INSERT INTO holes SELECT g, repeat('x', 4000) FROM generate_series(1, 6000) g;
        DELETE FROM holes WHERE id > 1; UPDATE holes SET v = ''});
    cmp_ok($holes->source_sql(q{SELECT pg_table_size('holes')}), '>', 2e7, 'a table of air');
    my $rate = $holes->target_sql('SELECT value FROM livemigrate.migration_estimate('
          . LiveMigrate::Test::quote_literal($holes->conninfo) . ", sample_seconds => 1) WHERE item = 'read_rate'");
    cmp_ok($rate, '>', 1e6, 'its pages count, not their text');
}

# Somebody has the largest table for himself: nothing waits for him.
{
    my $session = $pair->lock_table($pair->source, 'big');
    my $basis = estimate('', 'basis');
    is($basis->{read_rate}, 'nothing to measure with: an assumption', 'a locked table is not waited for');
    my $value = estimate('');
    cmp_ok($value->{largest_table}, '>', 4_000_000, 'and has the size that was counted');
    $pair->end_session($session);
}

my $some = estimate(", include_tables => '{public.*}', exclude_tables => '{public.big}',
    exclude_table_data => '{public.small}', table_jobs => 8");
is($some->{tables}, 1, 'patterns are kept');
is($some->{source_connections}, 12, 'more workers, more connections');

is( $pair->target_sql(
        "SELECT count(*) FROM pg_class WHERE relname ~ '^estimate_'
            AND relnamespace = 'livemigrate'::regnamespace"
    ),
    '0',
    'nothing is left on the target');
ok($pair->poll(sub { $pair->source_sql('SELECT count(*) FROM pg_replication_slots') eq '0' }), 'nor on the source');
is( $pair->target_sql(
        "SELECT count(*) FROM livemigrate.migration_estimate("
            . LiveMigrate::Test::quote_literal($pair->conninfo)
            . ", sample_seconds => 0) WHERE basis = '' OR estimate = '' OR unit = ''"
    ),
    '0',
    'every row says what it is based on');

$pair->assert_error('SELECT livemigrate.migration_estimate(NULL)', 'no source',
    sqlstate => qr/22004/);
$pair->assert_error(
    'SELECT livemigrate.migration_estimate('
        . LiveMigrate::Test::quote_literal($pair->conninfo) . ', table_jobs => 0)',
    'no worker',
    sqlstate => qr/22023/);
$pair->assert_error(
    'SELECT livemigrate.migration_estimate('
        . LiveMigrate::Test::quote_literal($pair->conninfo(dbname => 'nowhere', password => 'sEcReT')) . ')',
    'no such database', sqlstate => qr/3D000/, plain => 1);

# An empty database can be estimated, too.
my $empty = $pair->database('empty');
is( $empty->target_sql(
        'SELECT value FROM livemigrate.migration_estimate('
            . LiveMigrate::Test::quote_literal($empty->conninfo)
            . ", sample_seconds => 0) WHERE item = 'tables'"
    ),
    '0',
    'an empty database');

done_testing();
