# X group, D13, D14, D22: transactions of every shape arrive whole, once, in commit order.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(
    source_conf => "max_prepared_transactions = 10\nlogical_decoding_work_mem = 64kB\n",
    dbname      => 'unused');

my $setup = <<'SQL';
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT g, 'copied' FROM generate_series(1, 100) g;
CREATE TABLE hot (id int PRIMARY KEY, n int NOT NULL);
INSERT INTO hot SELECT g, 0 FROM generate_series(1, 5) g;
CREATE TABLE swap (id int PRIMARY KEY, u int UNIQUE);
INSERT INTO swap SELECT g, g FROM generate_series(1, 10) g;
CREATE TABLE hen (id int PRIMARY KEY, egg int);
CREATE TABLE egg (id int PRIMARY KEY, hen int REFERENCES hen DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE hen ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE ON UPDATE
    CASCADE);
CREATE TABLE grandchild (id serial PRIMARY KEY, child int REFERENCES child ON DELETE SET NULL);
INSERT INTO parent SELECT generate_series(1, 10);
INSERT INTO child SELECT g, g FROM generate_series(1, 10) g;
INSERT INTO grandchild (child) SELECT generate_series(1, 10);
CREATE TABLE cut_a (id serial PRIMARY KEY, v text);
CREATE TABLE cut_b (id int PRIMARY KEY, a int REFERENCES cut_a);
INSERT INTO cut_a (v) SELECT 'x' FROM generate_series(1, 10);
INSERT INTO cut_b SELECT g, g FROM generate_series(1, 10) g;
CREATE TABLE cut_root (id int, k int, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
CREATE TABLE cut_one PARTITION OF cut_root FOR VALUES IN (1);
CREATE TABLE cut_two PARTITION OF cut_root FOR VALUES IN (2);
INSERT INTO cut_root SELECT g, 1 + g % 2 FROM generate_series(1, 20) g;
CREATE TABLE watched (id int PRIMARY KEY, n int DEFAULT 0);
CREATE TABLE watched_log (id serial PRIMARY KEY, what text);
CREATE FUNCTION note_it() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO watched_log (what) VALUES (TG_OP); RETURN NEW; END$$;
CREATE TRIGGER origin_only AFTER INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION
    note_it();
CREATE RULE doubled AS ON INSERT TO watched WHERE NEW.id < 1000 DO ALSO INSERT INTO watched_log
    (what) VALUES ('rule');
SQL

# Each comment is a label, and an entry of the catalogue; what follows is run on the source.
my $cases = <<'SQL';
-- X01 savepoint rollback
BEGIN;
INSERT INTO t VALUES (201, 'kept'); SAVEPOINT a; INSERT INTO t VALUES (202, 'gone');
UPDATE t SET v = 'gone' WHERE id = 1; SAVEPOINT b; DELETE FROM t WHERE id = 2; ROLLBACK TO a;
INSERT INTO t VALUES (202, 'again'); RELEASE a;
COMMIT;
-- X01 10000 subtransactions, every second one aborted
DO $$BEGIN
    FOR i IN 1..10000 LOOP
        BEGIN INSERT INTO t VALUES (20000 + i, 'sub'); IF i % 2 = 0 THEN RAISE 'abort'; END IF;
        EXCEPTION WHEN raise_exception THEN NULL; END;
    END LOOP;
END$$;
-- X01 subtransaction aborted after a catalog change
BEGIN; SAVEPOINT a;
CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1);
ALTER TABLE t ADD COLUMN gone int; INSERT INTO t VALUES (301, 'gone', 1);
ROLLBACK TO a; INSERT INTO t VALUES (302, 'kept');
COMMIT;
-- X01 rolled back whole
BEGIN; DELETE FROM t; TRUNCATE hot; ROLLBACK;
-- one row changed many times in a transaction
BEGIN;
INSERT INTO t VALUES (401, 'a'); UPDATE t SET v = 'b' WHERE id = 401; DELETE FROM t WHERE id = 401;
INSERT INTO t VALUES (401, 'c'); UPDATE t SET id = 402 WHERE id = 401;
INSERT INTO t VALUES (401, 'd'); DELETE FROM t WHERE id = 402;
UPDATE t SET v = v || 'e' WHERE id = 401;
COMMIT;
-- X10 hot rows over many transactions
SELECT format('UPDATE hot SET n = n + 1 WHERE id = %s', 1 + g % 5) FROM generate_series(1, 200) g
\gexec
-- X10 unique values move round
UPDATE swap SET u = 100 WHERE id = 1; UPDATE swap SET u = 1 WHERE id = 2;
UPDATE swap SET u = 2 WHERE id = 1;
BEGIN;
DELETE FROM swap WHERE id = 3; INSERT INTO swap VALUES (30, 3);
UPDATE swap SET id = 3 WHERE id = 30;
COMMIT;
BEGIN; UPDATE swap SET u = -u WHERE id > 4; UPDATE swap SET u = 15 + u WHERE id > 4; COMMIT;
-- X05 deferrable foreign key cycle
BEGIN; INSERT INTO hen VALUES (1, 1); INSERT INTO egg VALUES (1, 1); COMMIT;
BEGIN; INSERT INTO egg VALUES (2, 2); INSERT INTO hen VALUES (2, 2); COMMIT;
BEGIN; DELETE FROM egg WHERE id = 2; DELETE FROM hen WHERE id = 2; COMMIT;
-- X07 cascades on the source
DELETE FROM parent WHERE id < 4; UPDATE parent SET id = id + 100 WHERE id > 7;
DELETE FROM child WHERE id = 5;
-- X08 TRUNCATE of tables with foreign keys
TRUNCATE cut_a, cut_b; INSERT INTO cut_a VALUES (1, 'new'); INSERT INTO cut_b VALUES (1, 1);
-- X08 TRUNCATE CASCADE RESTART IDENTITY
BEGIN;
INSERT INTO cut_a VALUES (500, 'gone'); TRUNCATE cut_a RESTART IDENTITY CASCADE;
INSERT INTO cut_a (v) VALUES ('one');
COMMIT;
INSERT INTO cut_a (v) VALUES ('two');
-- X08 TRUNCATE of one partition
TRUNCATE cut_one; INSERT INTO cut_root VALUES (100, 1);
-- X08 TRUNCATE of a partitioned table
TRUNCATE cut_root; INSERT INTO cut_root VALUES (200, 1), (200, 2);
-- X06 triggers and rules fire once, on the source
INSERT INTO watched VALUES (1), (2000); UPDATE watched SET n = 5;
-- D13 logical messages
SELECT pg_logical_emit_message(true, 'livemigrate', 'DROP TABLE t');
SELECT pg_logical_emit_message(false, 'x', '\000\001'::bytea);
BEGIN;
INSERT INTO t VALUES (501, 'message');
SELECT pg_logical_emit_message(true, 'x', repeat('m', 100000));
SELECT pg_logical_emit_message(false, 'x', '');
INSERT INTO t VALUES (502, 'message');
COMMIT;
-- D14 empty transactions
SELECT 'SELECT pg_current_xact_id()' FROM generate_series(1, 300)
\gexec
-- D17 rewritten and temporary tables
CREATE TEMP TABLE scratch AS SELECT * FROM t; UPDATE scratch SET v = 'temp';
VACUUM FULL t; CLUSTER hot USING hot_pkey; CREATE INDEX later ON t (v); DROP INDEX later;
UPDATE t SET v = 'after rewrite' WHERE id = 7;
-- UPDATE and DELETE that change nothing
UPDATE t SET v = v WHERE id = 8; UPDATE t SET v = 'x' WHERE id = -1; DELETE FROM t WHERE id = -1;
-- X02 200000 rows in one transaction
BEGIN;
INSERT INTO t SELECT g, repeat('big ', 5) || g FROM generate_series(100001, 300000) g;
UPDATE t SET v = 'changed' WHERE id BETWEEN 150000 AND 160000; DELETE FROM t WHERE id > 290000;
COMMIT;
SQL
my @cases = $cases =~ /^-- ([^\n]+)\n(.*?)(?=^-- |\z)/gms;

# Two-phase commit (X03): prepared while buffering and while streaming, and ended later; 205 has one
# that is prepared before the snapshot.
sub prepare_sql {
    my ($gid, $id) = @_;
    return
          "BEGIN; INSERT INTO t VALUES ($id, 'prepared'); UPDATE hot SET n = n + 1000 WHERE id = 5;"
        . " PREPARE TRANSACTION '$gid';";
}

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("tx_$plugin");
    $one->source_sql($setup);

    # X04: begins before the slot, commits afterwards.
    my $early = $one->session($one->source, "BEGIN; INSERT INTO t VALUES (-1, 'early')");
    $one->start(plugin => $plugin, pause_after => ['indexes']);
    $one->poll(
        sub {
            $one->source_sql(
                "SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ 'livemigrate'");
        });
    $early->query_safe("INSERT INTO t VALUES (-2, 'early'); COMMIT");
    $one->wait_stage('indexes');
    $one->wait_state('paused');
    is($one->target_sql('SELECT count(*) FROM t WHERE id < 0'),
        '2', "X04 $plugin: what the slot waited for is in the snapshot");

    # X11: a long transaction with many short ones inside its time.
    my $long = $early;
    $long->query_safe(
        "BEGIN; INSERT INTO t SELECT g, 'long' FROM generate_series(5000, 7000) g;
            UPDATE hot SET n = -1 WHERE id = 4"
    );
    $one->source_sql(prepare_sql('buffered', 9001));
    $one->source_sql(join '', map {"INSERT INTO t VALUES ($_, 'short');"} 8001 .. 8100);
    $long->query_safe(
        "SAVEPOINT s; UPDATE t SET v = 'gone' WHERE id > 5000; ROLLBACK TO s;
            UPDATE t SET v = 'late' WHERE id = 8050; COMMIT"
    );

    $one->resume;
    $one->wait_stage('streaming');
    ok($one->poll(sub { $one->target_sql("SELECT count(*) FROM t WHERE v = 'late'") eq '1' }),
        "X11 $plugin: the long one is applied after the short ones");
    is($one->target_sql('SELECT count(*) FROM t WHERE id = 9001'),
        '0', "X03 $plugin: a prepared transaction is not applied");
    $one->source_sql("COMMIT PREPARED 'buffered'");
    $one->source_sql(prepare_sql('rolled back', 9002) . "ROLLBACK PREPARED 'rolled back'");
    $one->source_sql("BEGIN; PREPARE TRANSACTION 'empty'; COMMIT PREPARED 'empty'");
    $one->source_sql(prepare_sql('streamed', 9003));
    # A restart of the source between the two phases.
    $one->source->restart if $plugin eq 'pgoutput';
    $one->source_sql("COMMIT PREPARED 'streamed'");

    for (my $i = 0; $i < @cases; $i += 2) {
        my ($label, $sql) = @cases[ $i, $i + 1 ];
        $one->source_sql($sql);
        $one->source_sql(
            "INSERT INTO t VALUES (-100, 'marker') ON CONFLICT (id) DO UPDATE SET v = t.v || 'x'");
        my $marker = $one->source_sql('SELECT v FROM t WHERE id = -100');
        ok( $one->poll(sub { $one->target_sql('SELECT v FROM t WHERE id = -100') eq $marker }),
            "$label ($plugin) arrives") or
            $one->diagnose($label);
        $one->assert_equal_tables("$label ($plugin)", rows_only => 1);
    }
    is($one->target_sql("SELECT count(*) FROM t WHERE v = 'prepared'"),
        '2', "X03 $plugin: prepared transactions exactly once");
    cmp_ok($one->status_row->{changes_applied},
        '>', 200_000, "X02 $plugin: the changes are counted");
    is($one->status_row->{changes_skipped} // 0, 0, "X02 $plugin: none is skipped");
    $one->end_session($early);
    $one->finish("X $plugin");
}

done_testing();
