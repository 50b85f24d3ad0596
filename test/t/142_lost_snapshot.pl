# A target that crashes in the middle of the copy: the snapshot is lost, the rest is copied under a new
# one. Large objects, and a TRUNCATE between both snapshots.
# Takes long.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $contents = 'SELECT count(*), md5(string_agg(oid || md5(lo_get(oid)), $$,$$ ORDER BY oid))
    FROM pg_largeobject_metadata';
my $ranges = 'SELECT count(*) FROM livemigrate.copy_part WHERE table_id IS NULL AND state';

sub large_objects {
    my ($label, %options) = @_;
    my $one = $pair->database($label);
    $one->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY);
INSERT INTO t SELECT generate_series(1, 1000);
SELECT count(lo_from_bytea(0, sha512(g::text::bytea))) FROM generate_series(1, 20000) g;
SQL
    $one->start(pause_after => ['schema'], table_jobs => $options{jobs});
    $one->wait_state('paused');
    my $table = $options{hold_table} && $one->lock_table($one->target, 't');
    # The copy of the last one waits for who is making it, too.
    my $last    = $one->source_sql('SELECT max(oid) FROM pg_largeobject_metadata');
    my $objects = $one->session($one->target, "BEGIN; SELECT lo_create($last)");
    $one->resume([]);
    ok($one->poll(sub { $one->target_sql("$ranges = 'done'") > 0 }), "$label: some are copied");
    cmp_ok($one->target_sql("$ranges <> 'done'"), '>', 0, "$label: some are not");
    $one->wait_blocked($one->target);
    is($one->target_sql("SELECT state = 'done' FROM livemigrate.table_copy"),
        $options{hold_table} ? 'f' : 't', "$label: the table");

    $one->crash_and_start($one->target);
    $one->wait_for_connections($one->target);
    $_ and $one->end_session($_) for $table, $objects;
    $one->wait_stage('streaming');
    is($one->target_sql("$ranges <> 'done'"), '0', "$label: all are copied");
    is($one->target_sql($contents), $one->source_sql($contents), "$label: and are the same");
    $one->set_endpos;
    $one->wait_stage('done');
    $one->cleanup;
}

large_objects('after the tables', jobs => 1);
large_objects('beside a table', jobs => 2, hold_table => 1);

# wal2json names the partitioned table in a TRUNCATE, too.
for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("partitions_$plugin");
    $one->source_sql(<<'SQL');
CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (1000) TO (2000);
INSERT INTO p SELECT g, 'old' FROM generate_series(1, 1999) g;
SQL
    $one->start(plugin => $plugin, pause_after => ['schema'], table_jobs => 2);
    $one->wait_state('paused');
    my $lock = $one->lock_table($one->target, 'p2');
    $one->resume([]);
    ok( $one->poll(
            sub {
                $one->target_sql("SELECT state FROM livemigrate.table_copy WHERE table_name = 'p1'")
                    eq 'done';
            }),
        "$plugin: one partition is copied");
    $one->target->stop('immediate');
    $one->end_session($lock);
    $one->source_sql(<<'SQL');
TRUNCATE p;
INSERT INTO p SELECT g, 'new' FROM generate_series(500, 1499) g;
SQL
    $one->target->start;
    $one->wait_for_connections($one->target);
    $one->wait_stage('streaming');
    is( $one->target_sql(
            "SELECT count(DISTINCT snapshot_lsn) FROM livemigrate.table_copy WHERE relkind = 'r'"),
        '2', "$plugin: the other one under a later snapshot");
    $one->source_sql("INSERT INTO p VALUES (7, 'later'), (1700, 'later')");
    $one->finish("$plugin: a TRUNCATE between two snapshots");
}
done_testing();
