# Batches of changes to hypertables: those of a chunk are one statement, those of compressed chunks are not, for
# it would decompress all rows between; and what has no value in a column that places rows.
use strict;
use warnings;

use LiveMigrate::Hypertables;
use Test::More;

my $db         = LiveMigrate::Hypertables->new_or_skip;
my $compresses = LiveMigrate::Hypertables->has_community_edition;
$db->source_sql(<<'SQL');
CREATE TABLE metrics (time timestamptz NOT NULL, device int NOT NULL, value numeric, PRIMARY KEY (device, time));
INSERT INTO metrics SELECT timestamptz '2024-01-01 00:00+00' + g * interval '1 s', d, g
    FROM generate_series(0, 86399, 20) g, generate_series(1, 6) d;
INSERT INTO metrics SELECT timestamptz '2024-01-02 00:00+00' + g * interval '1 h', 1, g FROM generate_series(0, 2000) g;
-- the key has no site, by which rows are placed too
CREATE TABLE sited (day date NOT NULL, id int NOT NULL, site text, value int, PRIMARY KEY (id, day));
INSERT INTO sited SELECT date '2024-01-01' + g / 5, g, CASE WHEN g % 3 > 0 THEN 's' || g % 3 END, 0
    FROM generate_series(1, 300) g;
CREATE TABLE numbered (n smallint PRIMARY KEY, value text);
INSERT INTO numbered SELECT g, 'v' FROM generate_series(-1000, 1000) g;
SQL
$db->start(pause_after => ['schema']);
$db->wait_state('paused');
$db->target_sql("SELECT create_hypertable('metrics', 'time', chunk_time_interval => interval '1 day');
    SELECT create_hypertable('sited', 'day', partitioning_column => 'site', number_partitions => 3,
        chunk_time_interval => interval '1 day');
    CREATE UNIQUE INDEX sited_pkey ON sited (id, day, site);
    SELECT create_hypertable('numbered', 'n', chunk_time_interval => 100)");
$db->resume([]);
$db->wait_stage('streaming');

my $in_order = "SELECT value FROM livemigrate.metrics WHERE name = 'livemigrate_changes_in_source_order_total'";
my $end;

sub apply {
    my ($label, $sql) = @_;
    $db->source_sql("BEGIN; $sql; COMMIT");
    $end = $db->source_sql('SELECT pg_current_wal_lsn()');
    ok($db->poll(sub {
        $db->target_sql("SELECT applied_lsn >= '$end' FROM livemigrate.migration_status()") eq 't'
    }), "$label: applied") or $db->diagnose($label);
    is($db->target_sql($in_order), '0', "$label: not in the source's order");
}

# The first day alone is compressed: a few rows of it, far from each other, and many of later days.
my $day = "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks
    WHERE hypertable_name = 'metrics' AND range_start < '2024-01-02' ORDER BY range_start LIMIT 1";
my $chunk = $db->target_sql($day);
if ($compresses) {
    $db->target_sql("ALTER TABLE metrics SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
        SELECT compress_chunk('$chunk')");
    is($db->target_sql("SELECT count(*) FROM ONLY $chunk"), '0', 'a chunk is compressed');
}
apply('a compressed chunk', "UPDATE metrics SET value = -value WHERE device = 2 AND (time < '2024-01-01 00:02+00'
        OR time BETWEEN '2024-01-01 23:58+00' AND '2024-01-02 00:00+00');
    DELETE FROM metrics WHERE device = 3 AND (time < '2024-01-01 00:02+00' OR time BETWEEN '2024-01-01 23:58+00'
        AND '2024-01-02 00:00+00');
    UPDATE metrics SET value = value + 1 WHERE time > '2024-01-02'");
SKIP: {
    skip 'this TimescaleDB is the Apache edition: no compression', 1 unless $compresses;
    # Of the 25 920 rows those of two devices near their first and last.
    cmp_ok($db->target_sql("SELECT count(*) FROM ONLY $chunk"), '<', '8000', 'most rows stay compressed');
}
apply('no site', "UPDATE sited SET value = value + id; DELETE FROM sited WHERE id % 7 = 0;
    INSERT INTO sited SELECT date '2024-01-03', g, NULL, g FROM generate_series(1000, 1050) g");
apply('integers below zero', "UPDATE numbered SET value = n WHERE n % 2 = 0; DELETE FROM numbered WHERE n % 5 = 0");
apply('many chunks', "UPDATE metrics SET value = value * 2 WHERE device = 1");
$db->set_endpos;
$db->wait_stage('done');
$db->assert_equal_tables('equal tables', relations => 0);
$db->assert_in_chunks('rows', qw(metrics sited numbered));

done_testing();
