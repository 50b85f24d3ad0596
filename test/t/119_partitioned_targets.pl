# Partitions that differ between the two sides, with several apply workers: tables whose rows lie in
# other partitions on the target, plain tables that are partitioned there, and partitioned ones that
# have other partitions there or none.  The end is equal rows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');

# Random changes, many rows twice; one transaction each.
my $churn = <<'SQL';
CREATE FUNCTION churn(size int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE k int; r float8;
BEGIN
    FOR i IN 1..size LOOP
        k := floor(random() * 100); r := random();
        INSERT INTO keyed VALUES (k, mood_of(k), i) ON CONFLICT DO NOTHING;
        UPDATE keyed SET v = v + 1 WHERE id = k + 1;
        UPDATE keyed SET m = mood_of(i) WHERE id = k + 2 AND m = mood_of(i + 1) AND NOT EXISTS
            (SELECT FROM keyed o WHERE o.id = k + 2 AND o.m = mood_of(i));
        IF r < 0.2 THEN DELETE FROM keyed WHERE id = k + 3; END IF;
        INSERT INTO twins VALUES (k % 10, mood_of(i)), (k % 10, mood_of(i));
        IF r < 0.5 THEN UPDATE twins SET id = 10 + id
            WHERE (tableoid, ctid) = (SELECT tableoid, min(ctid) FROM twins WHERE id = k % 10
                                      GROUP BY 1 LIMIT 1); END IF;
        IF r > 0.7 THEN DELETE FROM twins
            WHERE (tableoid, ctid) = (SELECT tableoid, max(ctid) FROM twins WHERE id < 12
                                      GROUP BY 1 LIMIT 1); END IF;
        INSERT INTO plain VALUES (k, i) ON CONFLICT (id) DO UPDATE SET v = i;
    END LOOP;
    IF r > 0.9 THEN TRUNCATE twins; END IF;
    IF r < 0.1 THEN TRUNCATE keyed, plain; END IF;
END $$;
SQL
my $moods = <<'SQL';
CREATE TYPE mood AS ENUM ('low', 'mid', 'high');
CREATE FUNCTION mood_of(i int) RETURNS mood LANGUAGE sql AS
    $$SELECT (enum_range(NULL::public.mood))[1 + i % 3]$$;
CREATE TABLE plain (id int PRIMARY KEY, v int);
SQL

sub churn {
    my ($one, $transactions) = @_;
    $one->source_sql(join '', map { 'SELECT churn(' . (1 + $_ % 9) . ');' } 1 .. $transactions);
}

sub assert_equal_rows {
    my ($one, $label) = @_;
    for my $table (qw(keyed twins plain)) {
        my $rows = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t)) FROM $table t";
        is($one->target_sql($rows), $one->source_sql($rows), "$label: equal rows of $table");
    }
    is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
            WHERE NOT equal'), '', "$label: compare_data finds no difference");
}

sub follow {
    my ($one, $label, %dealing) = @_;
    churn($one, 60);
    $one->resume;
    $one->wait_stage('streaming');
    my $dealt = "SELECT string_agg(DISTINCT table_name || ' ' || dealing, ', ')
        FROM livemigrate.table_copy WHERE table_name !~ '_1\$'";
    $one->poll(sub { $one->target_sql($dealt) eq $dealing{dealing} });
    is($one->target_sql($dealt), $dealing{dealing}, "$label: how changes are dealt");
    churn($one, 60);
    $one->set_endpos;
    $one->wait_stage('done');
    assert_equal_rows($one, $label);
    $one->cleanup;
}

for my $plugin (qw(pgoutput wal2json)) {

    # By the hash of an enum: a row's partition is another one on the target.
    my $one    = $pair->database("hashed_$plugin");
    my $halves = join '', map {
        my $table = $_;
        map {"CREATE TABLE ${table}_$_ PARTITION OF $table
            FOR VALUES WITH (MODULUS 2, REMAINDER $_);"} 0, 1
    } qw(keyed twins);
    $one->source_sql("$moods CREATE TABLE keyed (id int, m mood, v int, PRIMARY KEY (id, m))
        PARTITION BY HASH (m); CREATE TABLE twins (id int, m mood) PARTITION BY HASH (m);
        $halves ALTER TABLE twins_0 REPLICA IDENTITY FULL; ALTER TABLE twins_1 REPLICA IDENTITY FULL;
        $churn");
    churn($one, 20);
    $one->start(plugin => $plugin, options => { apply_jobs => 3 }, pause_after => ['indexes']);
    $one->wait_state('paused');
    follow($one, "$plugin, hash of an enum", dealing => 'keyed table, keyed_0 first, plain key, twins table, twins_0 first');
}

# Plain tables of the source that are partitioned on the target.
my $one = $pair->database('repartitioned');
my $tables = "CREATE TABLE keyed (id int, m mood, v int, PRIMARY KEY (id, m))%s;
    CREATE TABLE twins (id int, m mood)%s; ALTER TABLE twins REPLICA IDENTITY FULL;";
$one->source_sql($moods . sprintf($tables, '', '') . $churn);
$one->target_sql($moods . sprintf($tables, ' PARTITION BY LIST (m)', ' PARTITION BY RANGE (id)') . <<'SQL');
CREATE TABLE keyed_low PARTITION OF keyed FOR VALUES IN ('low');
CREATE TABLE keyed_rest PARTITION OF keyed DEFAULT;
CREATE TABLE twins_a PARTITION OF twins FOR VALUES FROM (0) TO (5);
CREATE TABLE twins_b PARTITION OF twins DEFAULT;
SQL
churn($one, 20);
$one->start(on_existing => 'truncate', options => { apply_jobs => 3 }, pause_after => ['indexes']);
$one->wait_state('paused');
follow($one, 'partitioned on the target only', dealing => 'keyed table, plain key, twins table');

# The same made between schema and data: keys and indexes of the source come to every partition.
$one = $pair->database('at_the_pause');
$one->source_sql(<<'SQL');
CREATE TABLE sensor (id int PRIMARY KEY);
CREATE TABLE metric (sensor int NOT NULL REFERENCES sensor, at date NOT NULL, v text,
    PRIMARY KEY (sensor, at), UNIQUE (at, sensor));
CREATE INDEX metric_v ON metric (v);
CREATE TABLE event (id int PRIMARY KEY, at date NOT NULL, v text);
INSERT INTO sensor SELECT generate_series(1, 50);
INSERT INTO metric SELECT s, date '2025-01-01' + d, repeat('v', 50)
    FROM generate_series(1, 50) s, generate_series(0, 399) d;
INSERT INTO event SELECT g, date '2025-01-01' + g % 400, 'e' FROM generate_series(1, 1000) g;
SQL
$one->start(
    options                  => { apply_jobs => 3 },
    split_tables_larger_than => '500 kB',
    pause_after              => ['schema']);
$one->wait_state('paused');
for my $table (qw(metric event)) {
    $one->target_sql("ALTER TABLE $table RENAME TO was; CREATE TABLE $table (LIKE was INCLUDING ALL)
        PARTITION BY RANGE (at); DROP TABLE was;
        CREATE TABLE ${table}_2025 PARTITION OF $table FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE ${table}_later PARTITION OF $table DEFAULT");
}
$one->target_sql('ALTER TABLE event ADD CONSTRAINT event_pkey PRIMARY KEY (id, at)');
$one->resume([]);
$one->wait_stage('streaming');
is( $one->target_sql("SELECT string_agg(concat_ws(' ', conrelid::regclass, contype), ', '
            ORDER BY conrelid::regclass::text, contype) FROM pg_constraint
        WHERE conrelid IN (SELECT oid FROM pg_class WHERE relname ~ '^(metric|event)'
            AND relnamespace = 'public'::regnamespace)
            AND contype <> 'n'"),
    'event p, event_2025 p, event_later p, metric f, metric p, metric u, metric_2025 f, metric_2025 p, '
        . 'metric_2025 u, metric_later f, metric_later p, metric_later u',
    'partitioned at the pause: keys of every partition');
is($one->target_sql('SELECT count(*) FROM pg_index WHERE NOT indisvalid'),
    '0', 'partitioned at the pause: every index is valid');
$one->source_sql(<<'SQL');
UPDATE metric SET v = 'changed' WHERE sensor = 3; DELETE FROM metric WHERE at = '2025-03-03';
UPDATE metric SET at = at + 400 WHERE sensor = 4; INSERT INTO metric VALUES (5, '2030-01-01', 'new');
UPDATE event SET at = at + 365 WHERE id % 10 = 1; DELETE FROM event WHERE id % 10 = 2;
UPDATE event SET id = -id WHERE id % 10 = 3; UPDATE event SET v = 'changed' WHERE id % 10 = 4;
SQL
$one->set_endpos;
$one->wait_stage('done');
for my $table (qw(metric event)) {
    my $rows = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t)) FROM $table t";
    is($one->target_sql($rows), $one->source_sql($rows), "partitioned at the pause: $table");
}
is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
        WHERE NOT equal'), '', 'partitioned at the pause: compare_data finds no difference');
$one->cleanup;

# --- partitioned tables of the source that have other partitions on the target, or none: by days in
# place of months, other bounds under the same names, a plain table

my $rearranged_source = <<'SQL';
CREATE TABLE sensor (id int PRIMARY KEY);
CREATE TABLE metric (sensor int NOT NULL, at date NOT NULL, v text, PRIMARY KEY (sensor, at),
    FOREIGN KEY (sensor) REFERENCES sensor) PARTITION BY RANGE (at);
CREATE TABLE metric_01 PARTITION OF metric FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE metric_02 PARTITION OF metric FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');
CREATE TABLE metric_03 PARTITION OF metric FOR VALUES FROM ('2025-03-01') TO ('2025-04-01');
CREATE INDEX metric_v ON metric (v);
CREATE INDEX metric_01_own ON metric_01 (at) WHERE v IS NULL;
COMMENT ON INDEX metric_01_own IS 'of the partition';
CREATE TABLE grade (id int, g int, v text, PRIMARY KEY (id, g)) PARTITION BY RANGE (g);
CREATE TABLE grade_low PARTITION OF grade FOR VALUES FROM (0) TO (50);
CREATE TABLE grade_high PARTITION OF grade DEFAULT;
CREATE TABLE line (id int, kind text, at date, v text) PARTITION BY LIST (kind);
CREATE TABLE line_a PARTITION OF line FOR VALUES IN ('a', NULL);
CREATE TABLE line_b PARTITION OF line FOR VALUES IN ('b') PARTITION BY RANGE (at);
CREATE TABLE line_b1 PARTITION OF line_b FOR VALUES FROM (MINVALUE) TO ('2025-02-01');
CREATE TABLE line_b2 PARTITION OF line_b FOR VALUES FROM ('2025-02-01') TO (MAXVALUE);
ALTER TABLE line_a REPLICA IDENTITY FULL; ALTER TABLE line_b1 REPLICA IDENTITY FULL;
ALTER TABLE line_b2 REPLICA IDENTITY FULL;
CREATE INDEX line_at ON line (at);
INSERT INTO sensor SELECT generate_series(1, 20);
INSERT INTO metric SELECT s, date '2025-01-01' + d, repeat('v', 50)
    FROM generate_series(1, 20) s, generate_series(0, 89) d;
INSERT INTO grade SELECT i, i % 100, 'g' FROM generate_series(1, 500) i;
INSERT INTO line SELECT i % 50, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'b' END,
    date '2025-01-01' + i % 60, 'l' FROM generate_series(1, 600) i WHERE i % 3 < 2 OR i % 2 = 0;
SQL
my $rearranged_target = <<'SQL';
CREATE TABLE metric (sensor int NOT NULL, at date NOT NULL, v text) PARTITION BY RANGE (at);
DO $$BEGIN FOR d IN 0..11 LOOP
    EXECUTE format('CREATE TABLE metric_d%s PARTITION OF metric FOR VALUES FROM (%L) TO (%L)',
        d, date '2025-01-01' + 10 * d, date '2025-01-01' + 10 * (d + 1)); END LOOP; END$$;
CREATE TABLE grade (id int NOT NULL, g int NOT NULL, v text) PARTITION BY RANGE (g);
CREATE TABLE grade_low PARTITION OF grade FOR VALUES FROM (0) TO (20);
CREATE TABLE grade_high PARTITION OF grade DEFAULT;
CREATE TABLE line (id int, kind text, at date, v text);
SQL
my $rearranged_changes = <<'SQL';
UPDATE metric SET v = 'changed' WHERE sensor = 3; DELETE FROM metric WHERE at = '2025-03-03';
DELETE FROM metric WHERE sensor = 5 AND at >= '2025-02-01';
UPDATE metric SET at = at + 31 WHERE sensor = 5;
INSERT INTO metric VALUES (6, '2025-03-31', 'new') ON CONFLICT (sensor, at) DO UPDATE SET v = 'new';
UPDATE grade SET v = 'changed' WHERE id < 50; UPDATE grade SET g = 99 - g WHERE id BETWEEN 10 AND 90;
DELETE FROM grade WHERE g IN (19, 20, 49, 50); INSERT INTO grade VALUES (1000, 30, 'new');
UPDATE line SET v = 'changed' WHERE (tableoid, ctid) IN
    (SELECT tableoid, min(ctid) FROM line GROUP BY 1, kind, at);
UPDATE line SET kind = 'a' WHERE at = '2025-01-20'; UPDATE line SET at = at + 20 WHERE kind = 'b';
DELETE FROM line WHERE (tableoid, ctid) IN (SELECT tableoid, max(ctid) FROM line GROUP BY 1, at);
SQL

sub assert_rearranged {
    my ($one, $label) = @_;
    for my $table (qw(metric grade line)) {
        my $rows = "SELECT count(*), md5(string_agg(t::text, ',' ORDER BY t)) FROM $table t";
        is($one->target_sql($rows), $one->source_sql($rows), "$label: equal rows of $table");
    }
    is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
            WHERE NOT equal'), '', "$label: compare_data finds no difference");
}

# Each of these is another way to empty a table: all of it, one partition by its bounds, both of one
# that is partitioned itself, and one of a table whose bounds have other names.
sub follow_rearranged {
    my ($one, $label) = @_;
    $one->source_sql($rearranged_changes);
    $one->source_sql('TRUNCATE metric_02; TRUNCATE line_b1; TRUNCATE grade_low;');
    $one->source_sql(q(INSERT INTO metric SELECT s, '2025-02-14', 'again' FROM generate_series(1, 9) s;
        INSERT INTO grade VALUES (2000, 1, 'again'), (2001, 49, 'again')));
    $one->resume([]);
    $one->wait_stage('streaming');
    $one->poll(sub { $one->target_sql('SELECT count(*) FROM grade WHERE id = 2001') });
    assert_rearranged($one, "$label, partitions truncated");
    $one->source_sql("CREATE TABLE metric_04 PARTITION OF metric
        FOR VALUES FROM ('2025-04-01') TO ('2025-05-01')");
    $one->source_sql("INSERT INTO metric SELECT 1, date '2025-04-01' + d, 'later' FROM generate_series(0, 29) d;
        UPDATE metric SET v = 'moved', at = '2025-04-30' WHERE sensor = 2 AND at = '2025-01-31'");
    $one->source_sql('TRUNCATE line; INSERT INTO line VALUES (1, NULL, NULL, NULL), (1, NULL, NULL, NULL)');
    $one->source_sql('DELETE FROM line WHERE ctid = (SELECT min(ctid) FROM line); TRUNCATE grade;');
    $one->set_endpos;
    $one->wait_stage('done');
    assert_rearranged($one, "$label, tables truncated, a new partition");
    is($one->target_sql("SELECT string_agg(substring(message from 'the rows .* of (.*) go'), ', ' ORDER BY message COLLATE \"C\")
            FROM livemigrate.events WHERE message ~ 'go through it'"),
        '"public"."grade", "public"."line", "public"."metric"', "$label: it is told");
    is($one->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'metric_04' AND severity = 'notice'"),
        '1', "$label: and that of the new partition");
    $one->cleanup;
}

$one = $pair->database('rearranged');
$one->source_sql($rearranged_source);
$one->start(options => { apply_jobs => 1 }, split_tables_larger_than => '64 kB', pause_after => ['schema']);
$one->wait_state('paused');
$one->target_sql("DROP TABLE metric, grade, line; $rearranged_target");
$one->resume([ 'indexes' ]);
$one->wait_stage('indexes');
$one->wait_state('paused');
is($one->target_sql("SELECT string_agg(concat_ws(' ', conrelid::regclass, contype), ', '
            ORDER BY conrelid::regclass::text, contype) FROM pg_constraint
        WHERE conrelid IN ('metric'::regclass, 'metric_d3'::regclass, 'grade_low'::regclass) AND contype <> 'n'"),
    'grade_low p, metric f, metric p, metric_d3 f, metric_d3 p',
    'rearranged: keys of the tables and their partitions');
is($one->target_sql("SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY indexrelid::regclass::text) FROM pg_index
        WHERE indrelid IN ('metric'::regclass, 'line'::regclass, 'metric_d3'::regclass)"),
    'line_at metric_d3_pkey metric_d3_v_idx metric_pkey metric_v', 'rearranged: indexes, too');
is($one->target_sql('SELECT count(*) FROM pg_index WHERE NOT indisvalid'),
    '0', 'rearranged: every index is valid');
is($one->target_sql("SELECT count(*) FROM livemigrate.events WHERE message =
        'index \"metric_01_own\" of \"public\".\"metric_01\" is left out: the target has not this partition'"),
    '1', 'rearranged: what cannot be there is told');
is($one->target_sql("SELECT count(*) FROM livemigrate.index_progress WHERE table_name = 'metric'
        AND kind IN ('index', 'constraint') AND table_bytes = 0"), '0', 'rearranged: they are as large as what is in them');
follow_rearranged($one, 'rearranged');

$one = $pair->database('rearranged_before');
$one->source_sql($rearranged_source);
$one->target_sql("CREATE TABLE sensor (id int PRIMARY KEY); $rearranged_target
    ALTER TABLE metric ADD PRIMARY KEY (sensor, at); ALTER TABLE grade ADD PRIMARY KEY (id, g);
    INSERT INTO metric VALUES (1, '2025-01-01', 'before'); INSERT INTO line VALUES (1, 'b', NULL, 'before')");
$one->start(plugin => 'wal2json', on_existing => 'truncate', options => { apply_jobs => 3 },
    pause_after => ['data']);
$one->wait_state('paused');
follow_rearranged($one, 'wal2json, there before');

# A key that names a row of the partition only would name others of the table.
$one = $pair->database('ambiguous');
$one->source_sql('CREATE TABLE part (id int, k int) PARTITION BY LIST (k);
    CREATE TABLE part_1 PARTITION OF part (PRIMARY KEY (id) INCLUDE (k)) FOR VALUES IN (1);
    CREATE TABLE part_2 PARTITION OF part (PRIMARY KEY (id) INCLUDE (k)) FOR VALUES IN (2);
    INSERT INTO part VALUES (1, 1), (1, 2);
    CREATE TYPE letter AS ENUM (\'a\', \'b\');
    CREATE FUNCTION letter_name(l letter) RETURNS text IMMUTABLE LANGUAGE plpgsql
        AS $$BEGIN RETURN pg_catalog.enum_out(l); END$$;
    CREATE CAST (letter AS text) WITH FUNCTION letter_name(letter);
    CREATE TABLE worded (id int, k letter) PARTITION BY LIST ((k::text));
    CREATE TABLE worded_a PARTITION OF worded FOR VALUES IN (\'a\');
    CREATE TABLE worded_b PARTITION OF worded FOR VALUES IN (\'b\');
    ALTER TABLE worded_a REPLICA IDENTITY FULL; ALTER TABLE worded_b REPLICA IDENTITY FULL;
    INSERT INTO worded VALUES (1, \'a\'), (2, \'a\'), (3, \'b\')');
$one->start(pause_after => ['schema']);
$one->wait_state('paused');
$one->target_sql('DROP TABLE part_2; CREATE TABLE other PARTITION OF part DEFAULT;
    DROP TABLE worded; CREATE TABLE worded (id int, k letter)');
$one->resume([]);
$one->wait_state('failed');
my $failed = $one->status_row;
like($failed->{message}, qr/1 partition has a replica identity without the partition key, and not the same bounds/,
    'a key without the partition key is found');
is($one->target_sql('SELECT count(*) FROM part'), '0', '... before the first row');
$one->target_sql('DROP TABLE other; CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2)');
$one->resume;
$one->wait_stage('streaming');
$one->source_sql('UPDATE part SET id = 5 WHERE k = 2');

# What tells a partition's rows would be anybody's function.
$one->source_sql('TRUNCATE worded_a');
$one->source_sql("INSERT INTO worded VALUES (4, 'a')");
$one->wait_state('failed');
$failed = $one->status_row;
like($failed->{message}, qr/cannot truncate one partition of a table whose rows lie in other partitions/,
    'TRUNCATE of a partition by an expression stops apply');
my ($pass_over) = $failed->{hint} =~ /(SELECT livemigrate\.skip_transaction\(.*)/;
$one->target_sql("DELETE FROM worded WHERE k = 'a'; $pass_over");
$one->set_endpos;
$one->wait_stage('done');
is($one->target_sql('SELECT id, k FROM part ORDER BY k'), "1|1\n5|2", '... and with the same partitions there is none');
is($one->target_sql('SELECT id, k FROM worded ORDER BY id'), "3|b\n4|a", '... and goes on as its hint says');
$one->cleanup;

# --- what TRUNCATE must leave there: rows of a partition beside, be it unlogged or made later on both sides;
# those of partitions that took the place of one that was detached; and what was filled before it was attached
$one = $pair->database('siblings');
$one->source_sql(<<'SQL');
CREATE TABLE era (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (0) TO (10);
CREATE TABLE era_2 PARTITION OF era FOR VALUES FROM (10) TO (20);
CREATE UNLOGGED TABLE era_3 PARTITION OF era FOR VALUES FROM (20) TO (30);
INSERT INTO era SELECT g, g FROM generate_series(0, 29) g;
SQL
$one->start(pause_after => ['schema']);
$one->wait_state('paused');
$one->target_sql('DROP TABLE era_1; CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (0) TO (5);
    CREATE TABLE era_1b PARTITION OF era FOR VALUES FROM (5) TO (10)');
$one->resume([]);
$one->wait_stage('streaming');
my $ids = q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM era};
$one->source_sql('TRUNCATE era_1, era_2; INSERT INTO era VALUES (0, 0)');
$one->poll(sub { $one->target_sql($ids) =~ /^0 2/ });
is($one->target_sql($ids), join(' ', 0, 20 .. 29), 'siblings: TRUNCATE leaves the rows of an unlogged one that it may not have named');
$one->target_sql('CREATE TABLE era_4 PARTITION OF era FOR VALUES FROM (30) TO (40)');
$one->source_sql('CREATE TABLE era_4 PARTITION OF era FOR VALUES FROM (30) TO (40); INSERT INTO era VALUES (30, 30)');
$one->poll(sub { $one->target_sql($ids) =~ / 30$/ });
$one->source_sql('TRUNCATE era_1, era_2; INSERT INTO era VALUES (31, 31)');
$one->poll(sub { $one->target_sql($ids) =~ / 31$/ });
is($one->target_sql($ids), join(' ', 20 .. 31), 'siblings: TRUNCATE leaves the rows of those beside');
# And a column that has been followed, and a partition that has another name, are no obstacle.
$one->target_sql('ALTER TABLE era ADD v text');
$one->source_sql('ALTER TABLE era ADD v text; INSERT INTO era VALUES (32, 32, $$v$$); CREATE ROLE era_owner');
$one->source_sql('ALTER TABLE era_1 RENAME TO era_one; INSERT INTO era VALUES (2, 2)');
$one->poll(sub { $one->target_sql($ids) =~ /^2 / });
is($one->target_sql($ids), join(' ', 2, 20 .. 32), 'siblings: one that was renamed goes the same way');
# Another one may have its name then. What is told of the name is not about the one that was copied.
$one->target_sql('CREATE TABLE era_x PARTITION OF era FOR VALUES FROM (60) TO (70)');
$one->source_sql('CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (60) TO (70); INSERT INTO era VALUES (60, 60)');
$one->poll(sub { $one->target_sql($ids) =~ / 60$/ });
$one->source_sql('TRUNCATE era_1');
$one->wait_state('failed');
like($one->target_sql('SELECT last_error_detail FROM livemigrate.migrations'), qr/no longer the partition that it was/,
    'siblings: TRUNCATE of one that has the name of another stops apply');
is($one->target_sql($ids), join(' ', 2, 20 .. 32, 60), '... and deletes nothing');
my ($pass_over_it) = $one->status_row->{hint} =~ /(SELECT livemigrate\.skip_transaction\(.*)/;
$one->target_sql("DELETE FROM era WHERE at >= 60; $pass_over_it");
$one->source_sql('DROP TABLE era_1');
$one->source_sql('ALTER TABLE era_one RENAME TO era_1; DELETE FROM era WHERE id = 2');
$one->poll(sub { $one->target_sql($ids) =~ /^20 / });
# One that is written directly, maybe by another worker, is renamed on the target as anywhere else.
$one->source_sql('ALTER TABLE era_2 RENAME TO era_b; INSERT INTO era VALUES (12, 12)');
$one->wait_state('failed');
like($one->status_row->{message}, qr/^table "public"\."era_b" was created on the source after the migration began/, 'siblings: a renamed one that is the same');
$one->target_sql('ALTER TABLE era_2 RENAME TO era_b');
$one->resume;
$one->source_sql('DELETE FROM era WHERE id = 12; INSERT INTO era VALUES (13, 13)');
$one->poll(sub { $one->target_sql($ids) =~ /^13 20 / });
$one->source_sql('DELETE FROM era WHERE id = 13');
$one->poll(sub { $one->target_sql($ids) =~ /^20 / });
$one->source_sql('ALTER TABLE era DETACH PARTITION era_1; CREATE TABLE era_n PARTITION OF era FOR VALUES FROM (0) TO (10);
    ALTER TABLE era_n OWNER TO era_owner;
    INSERT INTO era VALUES (1, 1), (6, 6)');
$one->poll(sub { $one->target_sql($ids) =~ /^1 6 / });
$one->source_sql('TRUNCATE era_1');
$one->wait_state('failed');
$failed = $one->status_row;
like($failed->{message}, qr/cannot truncate one partition of a table/, 'siblings: TRUNCATE of one that was detached stops apply');
like($failed->{detail} // $one->target_sql('SELECT last_error_detail FROM livemigrate.migrations'),
    qr/no longer the partition that it was/, '... for that reason');
($pass_over) = $failed->{hint} =~ /(SELECT livemigrate\.skip_transaction\(.*)/;
$one->target_sql($pass_over);
$one->source_sql('INSERT INTO era VALUES (7, 7)');
$one->poll(sub { $one->target_sql($ids) =~ /^1 6 7 / });
is($one->target_sql($ids), $one->source_sql($ids), '... and no row is lost');
$one->source_sql('TRUNCATE era_n');
$one->wait_state('failed');
like($one->target_sql('SELECT last_error_detail FROM livemigrate.migrations'), qr/one was detached/,
    'siblings: nor is one truncated where the rows of a detached one may be');
($pass_over) = $one->status_row->{hint} =~ /(SELECT livemigrate\.skip_transaction\(.*)/;
$one->target_sql("DELETE FROM era WHERE at < 10; $pass_over");
$one->source_sql('CREATE TABLE era_5 (LIKE era INCLUDING ALL)');
$one->source_sql('INSERT INTO era_5 VALUES (40, 40)');
$one->source_sql('ALTER TABLE era ATTACH PARTITION era_5 FOR VALUES FROM (40) TO (50); INSERT INTO era VALUES (41, 41)');
$one->wait_state('failed');
$failed = $one->status_row;
like($failed->{message}, qr/^the rows of partition "public"\."era_5", which the source has since the migration began, cannot go through "public"\."era"/,
    'siblings: one that was filled and attached stops apply');
$one->abort;
$one->cleanup;

# --- one that is left out, and partitions that are changed while they are copied
$one = $pair->database('left_out');
$one->source_sql(<<'SQL');
CREATE TABLE log (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE log_old PARTITION OF log FOR VALUES FROM (0) TO (10);
CREATE TABLE log_new PARTITION OF log FOR VALUES FROM (10) TO (20);
INSERT INTO log SELECT g, g FROM generate_series(0, 19) g;
SQL
$one->start(pause_after => ['schema'], exclude_table_data => ['public.log_old']);
$one->wait_state('paused');
my $halves = 'DROP TABLE log_new; CREATE TABLE log_15 PARTITION OF log FOR VALUES FROM (10) TO (15);
    CREATE TABLE log_20 PARTITION OF log FOR VALUES FROM (15) TO (20)';
my $same = 'DROP TABLE log_15, log_20; CREATE TABLE log_new PARTITION OF log FOR VALUES FROM (10) TO (20)';
$one->target_sql("INSERT INTO log VALUES (5, 5); $halves");
$one->resume([]);
$one->wait_state('failed');
like($one->status_row->{message}, qr/^partition "public"\."log_old" is left out of the migration, and "public"\."log" has not the same partitions/,
    'left out: rows could not be told from the others');
$one->target_sql($same);
my $copy = $one->lock_table($pair->target, "public.log_new");
$one->resume;
$one->wait_blocked($pair->target);
$one->pause;
$one->wait_state('paused');
$one->end_session($copy);
$one->target_sql($halves);
$one->resume;
$one->wait_state('failed');
like($one->status_row->{message}, qr/^partitions of the target were changed while their rows are copied/, 'left out: nor may they change then');
$one->target_sql($same);
$one->resume;
$one->wait_stage('streaming');
$one->set_endpos;
$one->wait_stage('done');
is($one->target_sql(q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM log}), join(' ', 5, 10 .. 19),
    'left out: with the same ones each has its rows');
$one->cleanup;

# --- the same partitions on both sides, be it that they were changed alike since, with a default one
# whose bounds are what the others leave
$one = $pair->database('default');
$one->source_sql(<<'SQL');
CREATE TABLE log (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE log_old PARTITION OF log FOR VALUES FROM (0) TO (10);
CREATE TABLE log_new PARTITION OF log FOR VALUES FROM (10) TO (20);
CREATE TABLE log_rest PARTITION OF log DEFAULT;
CREATE TABLE area (id int, k int) PARTITION BY LIST (k);
CREATE TABLE area_1 PARTITION OF area (PRIMARY KEY (id)) FOR VALUES IN (1);
CREATE TABLE area_2 PARTITION OF area (PRIMARY KEY (id)) FOR VALUES IN (2);
CREATE TABLE area_rest PARTITION OF area (PRIMARY KEY (id)) DEFAULT;
INSERT INTO log SELECT g, g FROM generate_series(0, 29) g;
INSERT INTO area SELECT g, g % 4 FROM generate_series(0, 19) g;
SQL
$one->start(exclude_table_data => ['public.log_old'], exclude_tables => ['public.area_2'],
    options => { apply_jobs => 2 });
$one->wait_stage('streaming');
my $new = 'CREATE TABLE log_3 PARTITION OF log FOR VALUES FROM (30) TO (40);';
$one->target_sql($new);
$one->source_sql("$new INSERT INTO log VALUES (30, 30); INSERT INTO area VALUES (30, 7)");
$one->poll(sub { $one->target_sql('SELECT count(*) FROM log WHERE at = 30') });
$one->pause;
$one->wait_state('paused');
my $renamed = 'ALTER TABLE log RENAME at TO moment; ALTER TABLE area RENAME k TO kind;';
$one->target_sql($renamed);
$one->source_sql("$renamed UPDATE log SET id = id + 100 WHERE moment BETWEEN 10 AND 12");
$one->resume;
$one->source_sql('TRUNCATE log_rest; INSERT INTO log VALUES (20, 20), (31, 31);
    UPDATE area SET kind = 9 WHERE id = 5; DELETE FROM area WHERE kind = 3; UPDATE log SET moment = 32 WHERE moment = 19');
$one->set_endpos;
$one->wait_stage('done');
my %rows = (log => 'moment >= 10', area => 'kind <> 2');
is( $one->target_sql("SELECT string_agg(tableoid::regclass || t::text, ' ' ORDER BY t) FROM $_ t"),
    $one->source_sql("SELECT string_agg(tableoid::regclass || t::text, ' ' ORDER BY t) FROM $_ t WHERE $rows{$_}"),
    "default: rows of $_ lie where they do on the source") for sort keys %rows;
is($one->target_sql("SELECT string_agg(message, ',') FROM livemigrate.events WHERE message ~ 'go through it'"), '',
    'default: and none went through the root');
$one->cleanup;

# --- a table that was filled before it was attached under the name of another
$one = $pair->database('replaced');
$one->source_sql(<<'SQL');
CREATE TABLE era (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (0) TO (10);
SQL
$one->target_sql('CREATE TABLE era (id int, at int, PRIMARY KEY (id, at))');
$one->start(on_existing => 'truncate');
$one->wait_stage('streaming');
$one->source_sql('CREATE TABLE other (LIKE era INCLUDING ALL); INSERT INTO other VALUES (11, 11)');
$one->source_sql('ALTER TABLE era_1 RENAME TO era_0; ALTER TABLE other RENAME TO era_1;
    ALTER TABLE era ATTACH PARTITION era_1 FOR VALUES FROM (10) TO (20)');
$one->source_sql('INSERT INTO era VALUES (12, 12)');
$one->wait_state('failed');
like($one->status_row->{message}, qr/^the rows of partition "public"\."era_1", which the source has since the migration began, cannot go through "public"\."era"/,
    'replaced: its rows are not taken for all of its rows');
$one->abort;
$one->cleanup;

done_testing();
