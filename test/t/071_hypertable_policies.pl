# What the community edition of TimescaleDB does with hypertables while they are migrated:
# background jobs, compressed chunks, continuous aggregates.
use strict;
use warnings;

use LiveMigrate::Hypertables;
use Test::More;

my $db = LiveMigrate::Hypertables->new_or_skip(edition => 'timescale');
$db->source_sql(<<'SQL');
CREATE TABLE metrics (time timestamptz NOT NULL, device int NOT NULL, value numeric, note text,
    PRIMARY KEY (device, time));
INSERT INTO metrics SELECT timestamptz '2020-01-01 00:00+00' + g * interval '13 min', g % 20, g, 'n'
FROM generate_series(1, 5000) g;
CREATE TABLE bag (time timestamptz NOT NULL, device int, value numeric);
ALTER TABLE bag REPLICA IDENTITY FULL;
INSERT INTO bag SELECT timestamptz '2020-01-01 00:00+00' + (g % 300) * interval '5 min', g % 3, 1
FROM generate_series(1, 900) g;
CREATE FUNCTION uuid_of_hour(n int) RETURNS uuid LANGUAGE sql RETURN (lpad(to_hex(1577836800000 + n::bigint * 3600000), 12, '0')
    || '7' || substr(md5(n::text), 1, 3) || 'a' || substr(md5(n::text), 4, 15))::uuid;
CREATE TABLE by_uuid (id uuid PRIMARY KEY, v int);
INSERT INTO by_uuid SELECT uuid_of_hour(g), g FROM generate_series(1, 500) g;
SQL
$db->start(pause_after => [ 'schema', 'catchup' ]);
$db->wait_state('paused');
$db->target_sql(<<'SQL');
SELECT create_hypertable(t, 'time', chunk_time_interval => interval '1 day')
FROM unnest(ARRAY['metrics', 'bag']::regclass[]) t;
ALTER TABLE metrics SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
ALTER TABLE bag SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
-- would drop all that is copied
SELECT add_retention_policy('metrics', drop_after => interval '1 month');
SQL
$db->target_sql(<<'SQL');
CREATE MATERIALIZED VIEW daily WITH (timescaledb.continuous) AS
SELECT time_bucket('1 day', time) AS day, device, sum(value) AS total, count(*) AS n
FROM metrics GROUP BY 1, 2 WITH DATA;
SQL
# By the time in UUIDs of version 7, from 2.22 on.
my $has_uuids = !exists $db->target_error("SELECT create_hypertable('by_uuid', 'id', chunk_time_interval => interval '1 day');
    ALTER TABLE by_uuid SET (timescaledb.compress)")->{sqlstate};

my $scheduled = 'SELECT count(*) FROM timescaledb_information.jobs WHERE job_id >= 1000 AND scheduled';
my $ran       = "SELECT count(*) FROM timescaledb_information.job_stats
    WHERE job_id >= 1000 AND total_runs > 0";
ok($db->poll(sub { $db->target_sql($scheduled) eq '0' }), 'the policy is paused');
$db->resume;
$db->wait_stage('catchup');
$db->wait_state('paused');
is($db->target_sql('SELECT count(*) FROM metrics'), '5000', 'all rows are there');

# One that is added while changes are applied; chunks that somebody compresses, and an aggregate that
# somebody refreshes.
$db->target_sql("SELECT add_compression_policy('metrics', compress_after => interval '1 month')");
is($db->target_sql($ran), '0', 'no job has run');
my ($rc, $out, $err) = $db->target->psql($db->dbname,
    "CALL refresh_continuous_aggregate('daily', NULL, NULL)");
is($rc, 0, 'the aggregate is refreshed') or diag $err;
$db->target_sql("SELECT count(compress_chunk(c)) FROM show_chunks('metrics') c");
$db->target_sql("SELECT count(compress_chunk(c)) FROM show_chunks('$_') c") for 'bag', $has_uuids ? 'by_uuid' : ();
# A limit, from 2.14 on, that every change below would exceed; and, from 2.28 on, that aggregates are not told of them.
for my $setting ([ max_tuples_decompressed_per_dml_transaction => 1 ], [ skip_cagg_invalidation => 'on' ]) {
    my ($name, $value) = ("timescaledb.$setting->[0]", $setting->[1]);
    next unless $db->target_sql("SELECT current_setting('$name', true)");
    $db->target_sql("ALTER SYSTEM SET $name = $value");
    $db->target->reload;
}
$db->resume(['cutover']);
$db->wait_stage('streaming');
$db->source_sql($_) for split /\n/, <<'SQL';
UPDATE metrics SET value = value + 1000000 WHERE device = 3;
DELETE FROM metrics WHERE device = 4 AND time < '2020-01-20';
UPDATE metrics SET time = time + interval '5 days' + interval '1 s' WHERE device = 5 AND value < 500;
INSERT INTO metrics SELECT timestamptz '2020-01-05 00:00:07+00' + g * interval '1 min', 30, g, 'late' FROM generate_series(1, 500) g;
INSERT INTO bag SELECT time, device, value FROM bag WHERE device = 1 LIMIT 10;
DELETE FROM bag WHERE ctid IN (SELECT ctid FROM bag WHERE device = 2 LIMIT 20);
UPDATE by_uuid SET v = -v WHERE v % 10 = 1; DELETE FROM by_uuid WHERE v % 10 = 2; INSERT INTO by_uuid SELECT uuid_of_hour(g), g FROM generate_series(2000, 2100) g;
UPDATE by_uuid SET id = uuid_of_hour(v + 1000) WHERE v % 10 = 3;
UPDATE bag SET value = 2 WHERE ctid IN (SELECT ctid FROM bag WHERE device = 0 LIMIT 20);
SQL
$db->set_endpos;
ok($db->poll(sub { $db->target_sql($scheduled) eq '0' || $db->status_row->{state} ne 'running' }),
    'the later policy is paused');
$db->wait_stage('cutover');
$db->wait_state('paused');
is($db->target_sql('SELECT count(*) FROM livemigrate.compare_data() WHERE NOT equal'),
    '0', 'compare_data finds no difference');
$db->assert_equal_tables('equal tables', relations => 0);
$db->assert_in_chunks('compressed', 'metrics', 'bag', $has_uuids ? 'by_uuid' : ());
# What the aggregate materialized before the changes is known to be out of date.
($rc, $out, $err) = $db->target->psql($db->dbname,
    "CALL refresh_continuous_aggregate('daily', NULL, NULL)");
my $difference = <<'SQL';
WITH truth AS (SELECT time_bucket('1 day', time) AS day, device, sum(value) AS total, count(*) AS n
               FROM metrics GROUP BY 1, 2),
     shown AS (SELECT * FROM daily)
SELECT (SELECT count(*) FROM (SELECT * FROM truth EXCEPT SELECT * FROM shown) a),
       (SELECT count(*) FROM (SELECT * FROM shown EXCEPT SELECT * FROM truth) b)
SQL
is($db->target_sql($difference), '0|0', 'a refresh brings the aggregate up to date');
is($db->target_sql($ran),       '0', 'still no job has run');
is($db->target_sql($scheduled), '0', '... or is scheduled');
$db->resume;
$db->wait_stage('done');
is($db->target_sql($scheduled), '2', 'done: both policies are scheduled again');
# What comes of it is TimescaleDB's: two policies of one hypertable may deadlock, and try again after minutes.
ok($db->poll(sub { $db->target_sql($ran) eq '2' }), '... and run');
is( $db->target_sql(
        "SELECT count(*) FROM livemigrate.events WHERE message ~ 'of TimescaleDB is paused'"),
    '2', 'events say so');
$db->cleanup;

# An abort schedules them again, too.
my $aborted = $db->database('aborted');
$aborted->source_sql('CREATE TABLE metrics (time timestamptz NOT NULL, v int)');
$aborted->start(pause_after => ['schema'], options => { insert_only_tables => ['*.*'] });
$aborted->wait_state('paused');
$aborted->target_sql("SELECT create_hypertable('metrics', 'time')");
$aborted->target_sql("SELECT add_retention_policy('metrics', drop_after => interval '1 year')");
ok($aborted->poll(sub { $aborted->target_sql($scheduled) eq '0' }), 'abort: paused');
$aborted->abort;
is($aborted->target_sql($scheduled), '1', 'abort: scheduled again');
ok($aborted->poll(sub { $aborted->target_sql($ran) eq '1' }), 'abort: and it runs');

# Of several migrations the last to end schedules what any of them paused.
my $first = $db->database('several', migration => 'first');
my ($second, $third) = map { bless { %$first, migration => $_ }, ref $first } qw(second third);
$first->source_sql(join '', map { "CREATE SCHEMA $_; CREATE TABLE $_.metrics (time timestamptz PRIMARY KEY, v int);
    INSERT INTO $_.metrics SELECT timestamptz '2020-01-01' + g * interval '1 h', g FROM generate_series(1, 300) g;" }
    qw(first second third));
my $scheduler = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'several'
    AND application_name = 'TimescaleDB Background Worker Scheduler'";
my $is_quiet = sub {
    my ($when) = @_;
    is($first->target_sql("SELECT ($scheduled), ($ran), ($scheduler)"), '0|0|0', "$when: no job is scheduled, has run or can run");
};
ok($first->poll(sub { $first->target_sql($scheduler) eq '1' }), 'several: the scheduler runs before');
for my $migration ($first, $second, $third) {
    my $schema = $migration->name;
    $migration->start(include_tables => ["$schema.*"], roles => \'false', pause_after => ['schema']);
    $migration->wait_state('paused');
    $migration->target_sql("SELECT create_hypertable('$schema.metrics', 'time');
        SELECT add_retention_policy('$schema.metrics', drop_after => interval '100 years')");
    ok($migration->poll(sub { $migration->target_sql($scheduled) eq '0' }), "several: $schema pauses its job");
}
$third->abort;
$is_quiet->('one is aborted');
$second->resume(['catchup']);
$second->wait_stage('catchup');
$first->resume([]);
$first->wait_stage('streaming');
$first->set_endpos;
$first->wait_stage('done');
is($first->target_sql("SELECT migration || ' ' || message || '; ' || detail FROM livemigrate.events WHERE message ~ 'stay paused' ORDER BY at"),
    'third 3 jobs of TimescaleDB stay paused; They are scheduled when the other migrations have ended: "first", "second".' . "\n"
  . 'first 3 jobs of TimescaleDB stay paused; They are scheduled when the other migrations have ended: "second".',
    'several: events say what they wait for');
# Also when nobody works on the one that is left.
$second->pause;
ok($second->poll(sub { $second->target_sql("SELECT count(*) FROM livemigrate.workers") eq '0' }), 'several: nobody is at work');
$is_quiet->('one is done');
$second->resume([]);
$second->wait_stage('streaming');
$is_quiet->('the last one goes on');
$second->set_endpos;
$second->wait_stage('done');
is($first->target_sql($scheduled), '3', 'several: the last to end schedules all jobs');
ok($first->poll(sub { $first->target_sql($ran) eq '3' }), '... and they run');
is($first->target_sql("SELECT string_agg(relation || ' ' || equal, ', ') FROM (VALUES ('first'), ('second')) m(name),
        livemigrate.compare_data(m.name)"), 'first.metrics true, second.metrics true', 'several: equal tables');

# What is set up when all is done works, too, while nobody has cleaned up and after it.
my $later = $db->database('later');
$later->source_sql(<<'SQL');
CREATE TABLE metrics (time timestamptz NOT NULL, device int NOT NULL, value int, PRIMARY KEY (device, time));
INSERT INTO metrics SELECT timestamptz '2020-01-01 00:00+00' + g * interval '1 h', g % 5, g FROM generate_series(1, 480) g;
INSERT INTO metrics SELECT timestamptz '2000-01-01 00:00+00' + g * interval '1 h', g % 5, g FROM generate_series(1, 48) g;
SQL
$later->start(options => { hypertables => [ { table => 'metrics', time_column => 'time', chunk_interval => '1 day' } ] });
$later->wait_stage('streaming');
$later->source_sql("INSERT INTO metrics SELECT timestamptz '2020-02-01 00:00+00' + g * interval '1 h', g % 5, g FROM generate_series(1, 48) g;
    UPDATE metrics SET value = -value WHERE device = 1; DELETE FROM metrics WHERE device = 2");
$later->set_endpos;
$later->wait_stage('done');
$later->assert_equal_tables('later: equal tables', relations => 0);
# One after the other: side by side they may deadlock.
my $work = sub {
    my ($label, $policy, $done) = @_;
    my ($rc, $out, $err) = $later->target->psql($later->dbname, $policy);
    is($rc, 0, "later: $label") or diag $err;
    ok($later->poll(sub { $later->target_sql("SELECT $done") eq 't' }), '... works');
};
my $rows = 'SELECT count(*), sum(value) FROM metrics';
$work->('retention', "SELECT add_retention_policy('metrics', drop_after => interval '15 years')",
    "min(time) > '2010-01-01' FROM metrics");
my $kept = $later->source_sql("$rows WHERE time > '2010-01-01'");
is($later->target_sql($rows), $kept, 'later: retention drops what is old, and nothing else');
$work->('compression', "ALTER TABLE metrics SET (timescaledb.compress, timescaledb.compress_segmentby = 'device');
    SELECT add_compression_policy('metrics', compress_after => interval '1 month')",
    'bool_and(is_compressed) FROM timescaledb_information.chunks WHERE hypertable_name = $$metrics$$');
is($later->target_sql($rows), $kept, 'later: all rows are there, compressed');
$later->cleanup;
$work->('a continuous aggregate', 'CREATE MATERIALIZED VIEW daily WITH (timescaledb.continuous, timescaledb.materialized_only) AS
    SELECT time_bucket($$1 day$$, time) AS day, device, sum(value) AS total, count(*) AS n FROM metrics GROUP BY 1, 2 WITH NO DATA',
    'true');
is($later->target_sql("SELECT add_continuous_aggregate_policy('daily', start_offset => NULL, end_offset => interval '1 day',
        schedule_interval => interval '1 hour') > 0"), 't', 'later: a refresh policy');
ok($later->poll(sub { $later->target_sql('SELECT sum(n) FROM daily') eq $later->target_sql('SELECT count(*) FROM metrics') }),
    '... works');
is($later->target_sql($difference), '0|0', 'later: the aggregate is exact');

done_testing();
