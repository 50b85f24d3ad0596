# I01-I14: how a changed row is found on the target: keys, other indexes, whole rows, or not at all.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;

# --- I01-I03: no usable identity is refused beforehand, with SQL that mends it.
my $none = $pair->database('none');
$none->source_sql(<<'SQL');
CREATE TABLE no_key (a int, b text);
CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE, b text);
CREATE TABLE identity_nothing (id int PRIMARY KEY, b text);
ALTER TABLE identity_nothing REPLICA IDENTITY NOTHING;
CREATE TABLE unique_only (id int NOT NULL UNIQUE, b text);
CREATE TABLE "Odd no key" (a int);
CREATE TABLE fine (id int PRIMARY KEY, b text);
INSERT INTO no_key SELECT g, 'x' FROM generate_series(1, 10) g; INSERT INTO no_key VALUES (1, 'x');
INSERT INTO fine SELECT g, 'x' FROM generate_series(1, 10) g;
INSERT INTO deferrable_key TABLE fine; INSERT INTO identity_nothing TABLE fine;
INSERT INTO unique_only TABLE fine; INSERT INTO "Odd no key" VALUES (1);
CREATE TABLE empty_log (at timestamptz, what text);
SQL
my @without = ('no_key', 'deferrable_key', 'identity_nothing', 'unique_only', 'Odd no key');
my @errors  = $none->check_errors;
for my $table (@without) {
    ok(scalar(grep {/\Q$table\E/} @errors), "I01-I03 migration_check refuses $table");
}
ok(!grep({/fine/} @errors), 'I01 migration_check accepts a primary key');
ok(!grep({/empty_log/} @errors), 'I01 and an empty table that was only ever written by INSERT');
$none->assert_error($none->start_sql, 'I01 migration_start refuses', message => qr/./);
is($none->target_sql('SELECT count(*) FROM livemigrate.migrations'), '0', 'I01 and starts nothing');
ok($none->poll(sub { $none->source_sql('SELECT count(*) FROM pg_replication_slots') eq '0' }), 'I01 and makes no slot');

# The fixes run as they are, and afterwards the table is accepted.
for my $table ('identity_nothing', 'unique_only', 'deferrable_key') {
    my $source = LiveMigrate::Test::quote_literal($none->conninfo);
    my $fix    = $none->target_sql("SELECT fix FROM livemigrate.migration_check($source)"
            . " WHERE severity = 'error' AND object ~ '$table'");
    my ($rc, $out, $err) = $none->source->psql('none', $fix);
    ok($fix =~ /^ALTER TABLE/ && $rc == 0, "I01 the fix for $table runs as it is")
      or diag "$fix\n$err";
    ok(!grep({/$table/} $none->check_errors), "I01 $table is accepted after it");
}

# Accepted as insert-only: INSERT and TRUNCATE flow, and the source application keeps working.
for my $plugin (qw(pgoutput wal2json)) {
    my $accepted = $pair->database("accepted_$plugin");
    $accepted->source_sql(<<'SQL');
CREATE TABLE no_key (a int, b text); CREATE TABLE "Odd no key" (a int);
CREATE TABLE fine (id int PRIMARY KEY);
CREATE TABLE emptied (a int); INSERT INTO emptied VALUES (1);
INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (NULL, NULL);
SQL
    $accepted->start(
        plugin  => $plugin,
        options =>
            { insert_only_tables => [ 'public.no_key', 'public.Odd no key', 'public.emptied' ] });
    $accepted->wait_stage('streaming');
    $accepted->source_sql(
        'INSERT INTO no_key VALUES (1, \'x\'), (2, NULL); INSERT INTO "Odd no key" VALUES (1), (1);'
            . ' TRUNCATE emptied; INSERT INTO emptied VALUES (2); INSERT INTO fine VALUES (1)');
    ok($accepted->poll(sub { $accepted->target_sql('SELECT count(*) FROM fine') eq '1' }),
        "I01 $plugin: insert-only streams");
    $accepted->assert_equal_tables("I01 $plugin: insert-only tables are equal", rows_only => 1);
    my ($rc, $out, $err)
        = $accepted->source->psql($accepted->dbname, "UPDATE no_key SET b = 'new' WHERE a = 2");
    is($rc, 0, "I01 $plugin: the application's UPDATE does not fail") or diag $err;
    $accepted->source_sql("UPDATE no_key SET b = NULL WHERE a = 2");

    # What was promised did not hold, so cutover asks a person, who finds the rows equal.
    $accepted->set_endpos;
    $accepted->wait_state('failed');
    my $status = $accepted->status_row;
    is($status->{stage}, 'cutover', "I01 $plugin: an UPDATE of an insert-only table stops cutover");
    ok($status->{last_error} =~ /updated or deleted/ && $status->{hint} =~ /resume/,
        "I01 $plugin: with the reason and what to do");
    $accepted->resume;
    $accepted->finish("I01 $plugin: insert-only", endpos => 0);
}

# What a session has not reported yet is waited for, by a role that is not shown what others do; from
# one that stays in a transaction it does not come.
{
    my $one = $pair->database('unreported');
    $one->source_sql(<<'SQL');
CREATE ROLE limited LOGIN REPLICATION; CREATE TABLE no_key (a int); INSERT INTO no_key VALUES (1);
GRANT SELECT ON no_key TO limited;
SQL
    my $application = $one->source->background_psql($one->dbname);
    $one->start(
        source  => $one->conninfo(user => 'limited'),
        plugin  => 'wal2json',
        options => { insert_only_tables => ['public.no_key'] });
    $one->wait_stage('streaming');
    # After a report none is made for a second.
    $application->query_safe('SELECT FROM no_key; UPDATE no_key SET a = a;');
    $one->set_endpos;
    $one->wait_state('failed');
    like($one->status_row->{last_error}, qr/updated or deleted/, 'I01 an UPDATE not yet reported');

    $application->query_safe('SELECT FROM no_key; UPDATE no_key SET a = a; BEGIN; SELECT 1;');
    $one->resume;
    $one->wait_stage('done');
    my $pid = $application->query_safe('SELECT pg_backend_pid()');
    like($one->target_sql(q(SELECT message || ': ' || detail FROM livemigrate.events
            WHERE severity = 'warning' AND message ~ 'may lack' ORDER BY at DESC LIMIT 1)),
        qr/may lack what \d+ sessions? changed.*\b$pid of .*pg_read_all_stats.*compare_data/,
        'I01 it is named');
    $application->quit;
    $one->finish('I01 a session that does not report', endpos => 0);
}

# --- identities that work, through copy and stream, with both plugins
my $setup = <<'SQL';
CREATE EXTENSION citext;
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE i04 (a int NOT NULL, b int NOT NULL, c text, PRIMARY KEY (a));
CREATE UNIQUE INDEX i04_other ON i04 (b); ALTER TABLE i04 REPLICA IDENTITY USING INDEX i04_other;
CREATE TABLE i04_order (a int NOT NULL, b int NOT NULL, c int NOT NULL, d text);
CREATE UNIQUE INDEX i04_reverse ON i04_order (c, a);
ALTER TABLE i04_order REPLICA IDENTITY USING INDEX i04_reverse;
CREATE TABLE i05 (a int, b text); ALTER TABLE i05 REPLICA IDENTITY FULL;
CREATE TABLE i07 (a json, b xml, c point, d box, e int[], f jsonb);
ALTER TABLE i07 REPLICA IDENTITY FULL;
CREATE TABLE i08 (gone int, a int); ALTER TABLE i08 REPLICA IDENTITY FULL;
CREATE TABLE i09 (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text);
ALTER TABLE i09 REPLICA IDENTITY FULL;
CREATE TABLE i09_key (id int PRIMARY KEY, v text);
CREATE TABLE i09_part (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE i09_low PARTITION OF i09_part FOR VALUES FROM (0) TO (10);
CREATE TABLE i09_high PARTITION OF i09_part FOR VALUES FROM (10) TO (20);
CREATE TABLE i11 (id int PRIMARY KEY, n int, big text, list text[], doc jsonb, bin bytea);
CREATE TABLE i11_full (id int, n int, big text); ALTER TABLE i11_full REPLICA IDENTITY FULL;
CREATE TABLE i12_citext (id citext PRIMARY KEY, v int);
CREATE TABLE i12_char (id char(5) PRIMARY KEY, v int);
CREATE TABLE i12_nocase (id text COLLATE nocase PRIMARY KEY, v int);
CREATE TABLE i_composite (a text, b date, c uuid, v int, PRIMARY KEY (c, a, b));
INSERT INTO i04 SELECT g, -g, 'c' FROM generate_series(1, 10) g;
INSERT INTO i04_order SELECT g, g % 3, g * 2, 'd' FROM generate_series(1, 10) g;
INSERT INTO i05 VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL), (NULL, 'y'),
    (2, NULL);
INSERT INTO i07 SELECT '{"a": 1}', '<a/>', '(1,2)', '(1,1),(0,0)', '{1,NULL}',
    '{"b": 1}' FROM generate_series(1, 3);
INSERT INTO i07 VALUES ('{"a":1}', '<b/>', '(1,3)', '(1,1),(0,0)', NULL, 'null');
INSERT INTO i08 VALUES (1, 1), (2, 2); ALTER TABLE i08 ADD COLUMN fast int DEFAULT 7;
ALTER TABLE i08 DROP COLUMN gone;
INSERT INTO i09 VALUES (1, 'a'), (2, 'b'); INSERT INTO i09_key VALUES (1, 'a'), (2, 'b');
INSERT INTO i09_part SELECT g, g % 20, 'v' FROM generate_series(1, 40) g;
INSERT INTO i11 SELECT g, 0, x, ARRAY[x, x], jsonb_build_object('x', x), x::bytea
    FROM generate_series(1, 6) g, (SELECT string_agg(md5(h::text), '') AS x FROM generate_series(1,
        3000) h) t;
INSERT INTO i11_full SELECT id, n, big FROM i11;
INSERT INTO i12_citext VALUES ('Abc', 1), ('x', 1); INSERT INTO i12_char VALUES ('a', 1), ('b ', 1);
INSERT INTO i12_nocase VALUES ('Abc', 1), ('x', 1);
INSERT INTO i_composite SELECT 'k' || g, date '2026-01-01' + g, md5(g::text)::uuid,
    g FROM generate_series(1, 20) g;
SQL
my $floats = <<'SQL';
CREATE TABLE i13_float (id float8 PRIMARY KEY, v int);
CREATE TABLE i13_numeric (id numeric PRIMARY KEY, v int);
INSERT INTO i13_float VALUES ('NaN', 1), ('0', 1), ('Infinity', 1), (0.1::float8 + 0.2, 1);
INSERT INTO i13_numeric VALUES ('NaN', 1), (1.0, 1), (1e-30, 1);
SQL
my $changes = <<'SQL';
UPDATE i04 SET c = 'new' WHERE a < 4; UPDATE i04 SET b = 100 WHERE a = 4;
DELETE FROM i04 WHERE a = 5; UPDATE i04 SET a = 50 WHERE a = 6;
UPDATE i04_order SET d = 'new', b = 9 WHERE a < 4; DELETE FROM i04_order WHERE a = 5;
UPDATE i04_order SET c = 77 WHERE a = 6;
DELETE FROM i05 WHERE ctid = (SELECT min(ctid) FROM i05 WHERE a = 1);
UPDATE i05 SET b = 'z' WHERE ctid = (SELECT min(ctid) FROM i05 WHERE a = 1);
DELETE FROM i05 WHERE ctid = (SELECT min(ctid) FROM i05 WHERE a IS NULL AND b IS NULL);
UPDATE i05 SET a = 5 WHERE a IS NULL AND b = 'y'; UPDATE i05 SET b = 'was null' WHERE a = 2;
DELETE FROM i07 WHERE ctid = (SELECT min(ctid) FROM i07);
UPDATE i07 SET c = '(5,5)' WHERE b::text = '<b/>';
UPDATE i07 SET a = '[]' WHERE ctid = (SELECT min(ctid) FROM i07 WHERE b::text = '<a/>');
UPDATE i08 SET a = 10 WHERE a = 1; DELETE FROM i08 WHERE a = 2;
UPDATE i09 SET id = 3 - id; BEGIN; UPDATE i09_key SET id = 0 WHERE id = 1;
UPDATE i09_key SET id = 1 WHERE id = 2; UPDATE i09_key SET id = 2 WHERE id = 0; COMMIT;
UPDATE i09_part SET k = k + 10 WHERE k < 5; UPDATE i09_part SET id = id + 1000 WHERE id > 30;
DELETE FROM i09_part WHERE id = 7;
UPDATE i11 SET n = n + 1; UPDATE i11 SET big = NULL, list = NULL WHERE id = 2;
UPDATE i11 SET id = 33 WHERE id = 3;
UPDATE i11 SET list[1] = 'small' WHERE id = 4; UPDATE i11 SET doc = doc || '{"y": 1}' WHERE id = 5;
DELETE FROM i11 WHERE id = 6;
UPDATE i11_full SET n = 1 WHERE id = 1; UPDATE i11_full SET id = 22 WHERE id = 2;
UPDATE i11_full SET big = NULL WHERE id = 3; DELETE FROM i11_full WHERE id = 4;
UPDATE i12_citext SET id = 'aBC' WHERE id = 'abc'; UPDATE i12_citext SET v = 2 WHERE id = 'X';
UPDATE i12_char SET id = 'A' WHERE id = 'a'; UPDATE i12_char SET v = 2 WHERE id = 'b';
UPDATE i12_nocase SET id = 'aBC' WHERE id = 'abc'; UPDATE i12_nocase SET v = 2 WHERE id = 'X';
UPDATE i_composite SET v = -v WHERE v < 5; UPDATE i_composite SET a = a || 'x' WHERE v = 10;
DELETE FROM i_composite WHERE v = 11;
SQL
my $float_changes = <<'SQL';
UPDATE i13_float SET v = 2 WHERE id IN ('NaN', 'Infinity', 0.1::float8 + 0.2);
UPDATE i13_float SET id = '-0' WHERE id = 0;
UPDATE i13_numeric SET id = 1.00 WHERE id = 1; UPDATE i13_numeric SET v = 2 WHERE id = 'NaN';
DELETE FROM i13_numeric WHERE id = 1e-30;
SQL
for my $plugin (qw(pgoutput wal2json)) {
    my $floats_too = $plugin eq 'pgoutput' || $pair->wal2json_is_lossless;
    my $one        = $pair->database("works_$plugin");
    $one->source_sql($floats_too ? $setup . $floats : $setup);
    $one->migrate(
        "I04-I13 $plugin",
        start  => { plugin => $plugin },
        stream => $floats_too ? $changes . $float_changes : $changes);
}

# --- I04 the identity is changed while streaming
my $changed = $pair->database('changed');
$changed->source_sql(
    'CREATE TABLE t (a int PRIMARY KEY, b int NOT NULL, c int); CREATE UNIQUE INDEX t_b ON t (b);'
        . ' INSERT INTO t SELECT g, -g, 0 FROM generate_series(1, 10) g');
$changed->migrate(
    'I04 identity changed mid-stream',
    stream => 'UPDATE t SET c = 1 WHERE a = 1;'
        . ' ALTER TABLE t REPLICA IDENTITY USING INDEX t_b; UPDATE t SET c = 2 WHERE a = 2;
            DELETE FROM t WHERE a = 3;'
        . ' ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET c = 4 WHERE a = 4;
            DELETE FROM t WHERE a = 5'
);

# --- partitions of publications: what the application writes on the source never fails by them, and a
# new partition is followed where it can be
{
    my $one = $pair->database('partitions');
    $one->source_sql(<<'SQL');
CREATE TABLE by_full (id int, k int, v text) PARTITION BY LIST (k);
CREATE TABLE by_full_1 PARTITION OF by_full FOR VALUES IN (1);
ALTER TABLE by_full REPLICA IDENTITY FULL; ALTER TABLE by_full_1 REPLICA IDENTITY FULL;
CREATE TABLE still_empty (id int, k int) PARTITION BY LIST (k);
CREATE TABLE still_empty_1 PARTITION OF still_empty FOR VALUES IN (1) PARTITION BY LIST (id);
CREATE TABLE still_empty_1_1 PARTITION OF still_empty_1 FOR VALUES IN (1);
ALTER TABLE still_empty REPLICA IDENTITY FULL; ALTER TABLE still_empty_1 REPLICA IDENTITY FULL;
CREATE TABLE left_out (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE left_out_1 PARTITION OF left_out FOR VALUES IN (1);
CREATE TABLE left_out_2 PARTITION OF left_out FOR VALUES IN (2);
ALTER TABLE left_out_2 REPLICA IDENTITY NOTHING;
CREATE TABLE by_key (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE by_key_1 PARTITION OF by_key FOR VALUES IN (1);
ALTER TABLE by_key REPLICA IDENTITY NOTHING;
INSERT INTO by_full VALUES (1, 1, 'v'); INSERT INTO by_key TABLE by_full;
INSERT INTO left_out VALUES (1, 1, 'v'), (1, 2, 'v');
SQL
    my $new = sub { "CREATE TABLE $_[0]_2 PARTITION OF $_[0] FOR VALUES IN (2)" };
    $one->start(plugin => 'pgoutput', exclude_tables => ['public.left_out_2']);
    $one->wait_stage('streaming');
    $one->target_sql($new->($_)) for qw(by_full by_key);
    $one->source_sql($new->($_)) for qw(by_full by_key);
    for my $change ('INSERT INTO by_full VALUES (2, 2, $$v$$)', 'UPDATE by_full SET v = $$new$$', 'UPDATE still_empty SET id = 1',
        'UPDATE left_out SET v = $$new$$', 'INSERT INTO by_key VALUES (2, 2, $$v$$), (3, 2, $$v$$)',
        'UPDATE by_key SET v = $$new$$ WHERE id < 3', 'DELETE FROM by_key WHERE id = 3') {
        my ($rc, $out, $err) = $one->source->psql($one->dbname, $change);
        is($rc, 0, "I05 the application's change goes through: $change") or diag $err;
    }
    $one->source_sql('DROP TABLE left_out_2');
    $one->set_endpos;
    $one->wait_state('failed');
    like($one->status_row->{last_error}, qr/rows were updated or deleted on the source in tables without replica identity/,
        'I05 cutover says that UPDATE of a new partition without identity did not come');
    is($one->target_sql('SELECT table_name, kind FROM livemigrate.conflicts'), 'by_full_2|insert_only', 'I05 and of which');
    is($one->target_sql('SELECT * FROM by_full ORDER BY id'), "1|1|new\n2|2|v", 'I05 INSERT did');
    $one->target_sql("UPDATE by_full SET v = 'new' WHERE id = 2");
    $one->resume;
    $one->finish('I05 partitions that are published and that are not', endpos => 0);
}

# --- I14, I15: the target was written to.  Nothing is passed over silently.
my $number = 0;
for my $case (
    [   'I14 a row to update is missing',
        'DELETE FROM t WHERE a = 1',
        'UPDATE t SET c = 1 WHERE a = 1',
        'INSERT INTO t VALUES (1, 0)' ],
    [   'I14 a row to delete is missing',
        'DELETE FROM t WHERE a = 1',
        'DELETE FROM t WHERE a = 1',
        'INSERT INTO t VALUES (1, 0)' ],
    [   'I15 a row to insert is there',
        'INSERT INTO t VALUES (100, 7)',
        'INSERT INTO t VALUES (100, 8)',
        'DELETE FROM t WHERE a = 100' ]
) {
    my ($label, $spoil, $change, $mend) = @$case;
    my $one = $pair->database('conflict' . ++$number);
    $one->source_sql(
        'CREATE TABLE t (a int PRIMARY KEY, c int);
            INSERT INTO t SELECT g, 0 FROM generate_series(1, 5) g'
    );
    $one->start;
    $one->wait_stage('streaming');
    $one->target_sql($spoil);
    $one->source_sql($change);
    ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM livemigrate.conflicts') > 0 }),
        "$label: a conflict is recorded");
    my $status;
    ok( $one->poll(sub { $status = $one->status_row; $status->{state} eq 'failed' || $status->{changes_skipped} > 0 }),
        "$label: it stops or counts, never silently");

    if ($status->{state} eq 'failed') {
        ok($status->{last_error} && $status->{hint}, "$label: with an error and a hint");
        $one->target_sql($mend);
        $one->resume;
        $one->source_sql('INSERT INTO t VALUES (7, 7)');
        $one->finish("$label: mended and resumed");
    } else {
        $one->abort;
    }
}

# --- I11 the key changes, and a value out of line does not: where the row is missing, the stream has not
# all that a new one would take
sub key_changes {
    my ($plugin) = @_;
    my $one = $pair->database("toast_$plugin");
    $one->source_sql(<<'SQL');
CREATE TABLE t (a int PRIMARY KEY, c int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
INSERT INTO t SELECT g, 0, repeat(md5(g::text), 200) FROM generate_series(1, 5) g;
SQL
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    my %change = (
        1 => 'UPDATE t SET a = 101 WHERE a = 1',
        2 => 'BEGIN; UPDATE t SET a = 50 WHERE a = 2; UPDATE t SET a = 102, c = 1 WHERE a = 50; COMMIT',
        3 => 'BEGIN; UPDATE t SET c = 1 WHERE a = 3; UPDATE t SET a = 103 WHERE a = 3; COMMIT');
    for my $row (sort keys %change) {
        my $label = "I11 $plugin: row $row is missing and its key changes";
        $one->target_sql("DELETE FROM t WHERE a = $row");
        $one->source_sql($change{$row});
        $one->wait_state('failed');
        is($one->target_sql("SELECT count(*), count(*) FILTER (WHERE big IS NULL OR length(big) < 6400) FROM t"),
            '4|0', "$label: nothing is made of what came");
        is($one->target_sql('SELECT count(*) FROM livemigrate.conflicts'), $row, "$label: a conflict");
        $one->target_sql("INSERT INTO t SELECT $row, 0, repeat(md5('$row'), 200)");
        $one->resume;
        ok($one->poll(sub { $one->target_sql("SELECT count(*) FROM t WHERE a = 100 + $row") eq '1' }),
            "$label: and then it is there");
    }
    $one->finish("I11 $plugin");
}
key_changes($_) for qw(pgoutput wal2json);

done_testing();
