# I04-I13 in batches: rows are found by every kind of identity when many changes to the same rows,
# and to their keys, reach the target together and are reduced to what they come to.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use Test::More;

my $pair = LiveMigrate::Batch->new(dbname => 'unused');

# Label; what is there before the migration; what comes in one batch.  TOAST is a text that is
# stored out of line.
my @cases = (
    'I04 an index that is not the primary key, other columns NULL' => <<'SQL' => <<'SQL',
CREATE TABLE i04 (a int PRIMARY KEY, b int NOT NULL, c text, d int);
CREATE UNIQUE INDEX i04_b ON i04 (b); ALTER TABLE i04 REPLICA IDENTITY USING INDEX i04_b;
INSERT INTO i04 SELECT g, -g FROM generate_series(1, 10) g;
SQL
UPDATE i04 SET c = 'x', a = a + 100; UPDATE i04 SET d = 1 WHERE b > -5; UPDATE i04 SET c = NULL
    WHERE b = -2; UPDATE i04 SET b = b - 100, c = NULL WHERE b < -7; DELETE FROM i04 WHERE d = 1;
INSERT INTO i04 VALUES (1, -1, NULL, NULL), (2, -2, 'y', 2); UPDATE i04 SET a = a - 100 WHERE a > 104;
BEGIN; UPDATE i04 SET b = 0 WHERE b = -1; UPDATE i04 SET b = -1 WHERE b = -2;
UPDATE i04 SET b = -2 WHERE b = 0; COMMIT;
SQL
    'I04 FULL although there is a primary key' => <<'SQL' => <<'SQL',
CREATE TABLE i04_full (a int PRIMARY KEY, b int, c text, d json);
ALTER TABLE i04_full REPLICA IDENTITY FULL;
INSERT INTO i04_full SELECT g, -g, repeat('x', g), '{ }' FROM generate_series(1, 10) g;
SQL
UPDATE i04_full SET b = b + 1; UPDATE i04_full SET b = NULL, a = a + 100 WHERE a < 5;
UPDATE i04_full SET d = '{}' WHERE a > 5; DELETE FROM i04_full WHERE a IN (6, 101);
INSERT INTO i04_full VALUES (1, 1, 'x', '1'), (6, NULL, NULL, '[]');
UPDATE i04_full SET a = 20 WHERE a = 8; UPDATE i04_full SET a = 8 WHERE a = 9;
UPDATE i04_full SET a = 9 WHERE a = 20;
SQL
    'I04 FULL by and by' => <<'SQL' => <<'SQL',
CREATE TABLE i04_later (a int NOT NULL, b text);
CREATE UNIQUE INDEX i04_later_a ON i04_later (a);
ALTER TABLE i04_later REPLICA IDENTITY USING INDEX i04_later_a;
INSERT INTO i04_later SELECT g FROM generate_series(1, 10) g;
SQL
UPDATE i04_later SET b = 'x'; ALTER TABLE i04_later REPLICA IDENTITY FULL;
UPDATE i04_later SET b = 'y' WHERE a = 1; UPDATE i04_later SET b = NULL WHERE a = 2;
INSERT INTO i04_later VALUES (20, NULL); DELETE FROM i04_later WHERE a = 20;
SQL
    'I05 equal rows' => <<'SQL' => <<'SQL',
CREATE TABLE i05 (a int, b text); ALTER TABLE i05 REPLICA IDENTITY FULL;
INSERT INTO i05 SELECT 1 + g % 2, 'x' FROM generate_series(1, 10) g;
SQL
DELETE FROM i05 WHERE ctid = (SELECT min(ctid) FROM i05 WHERE a = 1);
INSERT INTO i05 VALUES (1, 'x'), (1, 'x'), (3, 'x'), (3, 'x'), (3, 'x');
UPDATE i05 SET b = 'y' WHERE ctid IN (SELECT min(ctid) FROM i05 GROUP BY a);
UPDATE i05 SET a = 3, b = 'x' WHERE a = 1; UPDATE i05 SET b = 'y' WHERE b = 'y';
DELETE FROM i05 WHERE ctid IN (SELECT max(ctid) FROM i05 GROUP BY a);
SQL
    'I06 NULLs in whole rows' => <<'SQL' => <<'SQL',
CREATE TABLE i06 (a int, b int, c text); ALTER TABLE i06 REPLICA IDENTITY FULL;
CREATE INDEX ON i06 (a);
INSERT INTO i06 VALUES (1, NULL, NULL), (1, NULL, 'x'), (NULL, 1, NULL), (NULL, NULL, 'x'),
    (NULL, NULL, NULL), (NULL, NULL, NULL);
SQL
UPDATE i06 SET b = 2 WHERE a = 1 AND c IS NULL; UPDATE i06 SET a = NULL WHERE c = 'x';
DELETE FROM i06 WHERE ctid = (SELECT min(ctid) FROM i06 WHERE i06 IS NULL);
INSERT INTO i06 VALUES (NULL, NULL), (NULL, 1); UPDATE i06 SET c = 'y' WHERE b = 1;
UPDATE i06 SET b = NULL WHERE b = 2; DELETE FROM i06 WHERE a = 1 AND b IS NULL AND c IS NULL;
SQL
    'I07 types without equality in whole rows' => <<'SQL' => <<'SQL',
CREATE TABLE i07 (a json, b xml, c point, d box, e json[], f int[], g tsvector);
ALTER TABLE i07 REPLICA IDENTITY FULL;
INSERT INTO i07 SELECT '{"a": 1}', '<a/>', '(0,-0)', '(1,1),(0,0)', '{"[ ]"}', '[0:0]={1}', 'a b'
    FROM generate_series(1, 4);
INSERT INTO i07 SELECT '{"a":1}', '<a />', '(0,0)', '(1,1),(0,0)', '{"[]"}', '{1}', 'a b'
    FROM generate_series(1, 4);
SQL
DELETE FROM i07 WHERE ctid = (SELECT min(ctid) FROM i07); UPDATE i07 SET g = 'c' WHERE f = '{1}';
UPDATE i07 SET c = '(-0,0)' WHERE ctid = (SELECT max(ctid) FROM i07); UPDATE i07 SET f = NULL;
UPDATE i07 SET e = NULL, a = '{ }' WHERE b::text = '<a/>'; INSERT INTO i07 VALUES (NULL), (NULL);
DELETE FROM i07 WHERE ctid = (SELECT max(ctid) FROM i07);
SQL
    'I08 fast defaults and dropped columns' => <<'SQL' => <<'SQL',
CREATE TABLE i08 (gone int, a int, gone_too text); ALTER TABLE i08 REPLICA IDENTITY FULL;
INSERT INTO i08 SELECT g, g / 2, 'x' FROM generate_series(1, 20) g;
ALTER TABLE i08 DROP COLUMN gone, ADD COLUMN b int DEFAULT 7, ADD COLUMN c text DEFAULT 'c';
ALTER TABLE i08 DROP COLUMN gone_too;
CREATE TABLE i08_key (gone int, id int, v text); INSERT INTO i08_key SELECT g, g, 'v'
    FROM generate_series(1, 20) g;
ALTER TABLE i08_key DROP COLUMN gone, ADD PRIMARY KEY (id), ADD COLUMN d int NOT NULL DEFAULT 3;
SQL
UPDATE i08 SET b = 8 WHERE a < 5; DELETE FROM i08 WHERE ctid = (SELECT min(ctid) FROM i08 WHERE
    b = 7);
INSERT INTO i08 VALUES (1, 8, 'd'), (1, 8, 'c'); UPDATE i08 SET a = 0 WHERE a = 1;
UPDATE i08_key SET v = 'w' WHERE id < 10; UPDATE i08_key SET d = d + 1; UPDATE i08_key SET d = d + 1
    WHERE id > 5; DELETE FROM i08_key WHERE id = 7; INSERT INTO i08_key (id) VALUES (7);
SQL
    'I09 keys change places, rows their partition' => <<'SQL' => <<'SQL',
CREATE TABLE i09 (id int PRIMARY KEY, v text); INSERT INTO i09 SELECT g, 'v' || g
    FROM generate_series(1, 30) g;
CREATE TABLE i09_deferred (id int PRIMARY KEY DEFERRABLE, v text);
ALTER TABLE i09_deferred REPLICA IDENTITY FULL; INSERT INTO i09_deferred TABLE i09;
CREATE TABLE i09_part (id int, k int, v text, PRIMARY KEY (id, k)) PARTITION BY RANGE (k);
CREATE TABLE i09_low PARTITION OF i09_part FOR VALUES FROM (0) TO (10);
CREATE TABLE i09_high (v text, gone int, k int NOT NULL, id int NOT NULL);
ALTER TABLE i09_high DROP COLUMN gone;
ALTER TABLE i09_part ATTACH PARTITION i09_high FOR VALUES FROM (10) TO (20);
CREATE TABLE i09_rest PARTITION OF i09_part DEFAULT PARTITION BY HASH (id);
CREATE TABLE i09_rest_0 PARTITION OF i09_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE i09_rest_1 PARTITION OF i09_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO i09_part SELECT g, g % 25, 'v' FROM generate_series(1, 50) g;
SQL
BEGIN; UPDATE i09 SET id = 0 WHERE id = 1; UPDATE i09 SET id = 1 WHERE id = 2;
UPDATE i09 SET id = 2 WHERE id = 0; COMMIT;
UPDATE i09 SET id = id + 100; UPDATE i09 SET v = v || '!'; UPDATE i09 SET id = 140 - id
    WHERE id < 120; UPDATE i09 SET id = id - 110 WHERE id > 115; DELETE FROM i09 WHERE id = 38;
UPDATE i09_deferred SET id = 31 - id; UPDATE i09_deferred SET v = 'w' WHERE id < 3;
UPDATE i09_part SET k = (k + 10) % 30; UPDATE i09_part SET k = (k + 10) % 30 WHERE id < 20;
UPDATE i09_part SET k = (k + 20) % 30, v = 'w' WHERE id BETWEEN 10 AND 30;
DELETE FROM i09_part WHERE id % 7 = 0; INSERT INTO i09_part SELECT 7, g, 'n'
    FROM generate_series(0, 29) g; UPDATE i09_part SET k = k + 100 WHERE id = 7; UPDATE i09_part SET id = id + 900 WHERE id = 7;
SQL
    'I11 values out of line that do not change' => <<'SQL' => <<'SQL',
CREATE FUNCTION long(int) RETURNS text LANGUAGE sql AS
    $$SELECT string_agg(md5($1::text || h::text), '') FROM generate_series(1, 300) h$$;
CREATE TABLE i11 (id int PRIMARY KEY, n int, big text, list text[], doc jsonb, bin bytea, c text
    GENERATED ALWAYS AS (left(big, 3) || n) STORED);
ALTER TABLE i11 ALTER big SET STORAGE EXTERNAL;
INSERT INTO i11 SELECT g, 0, long(g), ARRAY[long(g), 'x'], jsonb_build_object('x', long(g)),
    long(g)::bytea FROM generate_series(1, 20) g;
CREATE TABLE i11_key (id text PRIMARY KEY, n int, big text);
ALTER TABLE i11_key ALTER id SET STORAGE EXTERNAL;
INSERT INTO i11_key SELECT repeat(chr(64 + g), 2200), g, long(g) FROM generate_series(1, 10) g;
CREATE TABLE i11_full (id int, n int, big text); ALTER TABLE i11_full REPLICA IDENTITY FULL;
INSERT INTO i11_full SELECT g / 2, 0, long(g / 2) FROM generate_series(1, 20) g;
SQL
UPDATE i11 SET n = n + 1; UPDATE i11 SET n = n + 1, big = long(100 + id) WHERE id < 5;
UPDATE i11 SET n = n + 1 WHERE id < 10; UPDATE i11 SET big = NULL, list = NULL WHERE id = 5;
UPDATE i11 SET n = n + 1 WHERE id = 5; UPDATE i11 SET bin = 'short' WHERE id = 6;
UPDATE i11 SET doc = doc || '{"y": 1}', n = 9 WHERE id = 7; UPDATE i11 SET n = 10 WHERE id = 7;
DELETE FROM i11 WHERE id = 8; INSERT INTO i11 VALUES (8, 1, long(200), NULL),
    (30, 1, long(30), ARRAY[long(30)]);
UPDATE i11 SET n = 2 WHERE id IN (8, 30); UPDATE i11 SET n = 3 WHERE id IN (8, 30);
UPDATE i11_key SET n = n + 100; UPDATE i11_key SET n = n + 100; UPDATE i11_key SET big = 'x'
    WHERE n = 201; DELETE FROM i11_key WHERE n = 202;
UPDATE i11_full SET n = 1 WHERE ctid = (SELECT min(ctid) FROM i11_full WHERE id = 1);
UPDATE i11_full SET n = n + 1; UPDATE i11_full SET big = NULL WHERE id = 3;
DELETE FROM i11_full WHERE ctid IN (SELECT min(ctid) FROM i11_full GROUP BY id);
SQL
    'I11 values out of line, and the key changes' => '' => <<'SQL',
UPDATE i11 SET id = 50 WHERE id = 1; UPDATE i11 SET n = 50 WHERE id = 50;
UPDATE i11 SET n = 51, big = long(51) WHERE id = 2; UPDATE i11 SET id = 52 WHERE id = 2;
UPDATE i11 SET id = 2 WHERE id = 52; UPDATE i11 SET id = 53, big = 'x' WHERE id = 3;
UPDATE i11_key SET id = 'short' WHERE n = 203; UPDATE i11_key SET id = repeat('z', 2300)
    WHERE n = 204; UPDATE i11_key SET n = 0 WHERE id ~ '^z';
SQL
    'I12 keys that are equal and not the same' => <<'SQL',
CREATE EXTENSION citext;
CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE i12_citext (id citext PRIMARY KEY, v int);
CREATE TABLE i12_char (id char(5) PRIMARY KEY, v int);
CREATE TABLE i12_nocase (id text COLLATE nocase PRIMARY KEY, v int);
INSERT INTO i12_citext VALUES ('abc', 1), ('x', 1), ('y', 1);
INSERT INTO i12_char VALUES ('abc', 1), ('x', 1), ('y', 1);
INSERT INTO i12_nocase VALUES ('abc', 1), ('x', 1), ('y', 1);
SQL
);
my $fold = <<'SQL';
UPDATE T SET id = 'Abc' WHERE id = 'abc'; UPDATE T SET v = v + 3;
UPDATE T SET id = 'ABC' WHERE id = 'Abc'; DELETE FROM T WHERE id = 'ABC';
INSERT INTO T VALUES ('abC', 5), ('Z', 5); UPDATE T SET v = v + 1;
UPDATE T SET id = 'z' WHERE id = 'Z'; UPDATE T SET v = 7 WHERE id = 'z';
UPDATE T SET id = 'X' WHERE id = 'x'; UPDATE T SET v = 8 WHERE id = 'X';
DELETE FROM T WHERE id = 'y'; INSERT INTO T VALUES ('Y', 9);
SQL
push @cases, join '', map {
    my $table = $_;
    $fold =~ s/\bT\b/$table/gr
} qw(i12_citext i12_char i12_nocase);

my @floats = (
    'I13 zeros, and numbers of several forms' => <<'SQL' => <<'SQL');
CREATE TABLE i13_float (id float8 PRIMARY KEY, v int);
CREATE TABLE i13_real (id float4 PRIMARY KEY, v int);
CREATE TABLE i13_numeric (id numeric PRIMARY KEY, v int);
INSERT INTO i13_float VALUES ('NaN', 1), (0, 1), ('-Infinity', 1), (0.1::float8 + 0.2, 1), (0.3, 1);
INSERT INTO i13_real SELECT id, v FROM i13_float WHERE id <> 0.3;
INSERT INTO i13_numeric VALUES ('NaN', 1), (1.0, 1), (2.00, 1), (1e-300, 1), ('Infinity', 1);
SQL
UPDATE i13_float SET v = v + 1; UPDATE i13_float SET id = '-0' WHERE id = 0;
UPDATE i13_float SET v = v + 1; UPDATE i13_float SET id = 0 WHERE id = 0;
UPDATE i13_float SET id = '-0' WHERE id = 0; DELETE FROM i13_float WHERE id = 'NaN';
INSERT INTO i13_float VALUES ('NaN', 7); UPDATE i13_float SET v = 8 WHERE id = 'NaN';
UPDATE i13_real SET v = 9; UPDATE i13_real SET id = '-0' WHERE id = 0; UPDATE i13_real SET v = 10;
UPDATE i13_numeric SET id = 1.00 WHERE id = 1; UPDATE i13_numeric SET v = v + 1;
UPDATE i13_numeric SET id = 1.000 WHERE id = 1; UPDATE i13_numeric SET v = v + 1 WHERE id = 1;
DELETE FROM i13_numeric WHERE id = 2; INSERT INTO i13_numeric VALUES (2, 5);
UPDATE i13_numeric SET id = 1 WHERE id = 1; DELETE FROM i13_numeric WHERE id = 1e-300;
UPDATE i13_numeric SET v = 9 WHERE id IN ('NaN', 'Infinity', 1);
SQL

# I06: whole rows are found through an index where there is one, not by reading the table for each.
sub find_through_index {
    my ($one, $plugin) = @_;
    my $counted = sub {
        my ($what) = @_;
        return $one->target_sql("SELECT $what FROM pg_stat_user_tables WHERE relname = 'i06_index'");
    };
    # A worker that has built the index tells when it ends that it has read the table for that.
    ok($one->poll(sub { $one->target_sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
            AND backend_type ~ '^livemigrate (copy|index)'") == 0 }), "I06 only apply is left ($plugin)");
    my $read = $counted->('seq_scan');
    $one->in_one_batch(<<'SQL');
UPDATE i06_index SET b = b + 1 WHERE a <= 20; UPDATE i06_index SET b = 0 WHERE a IS NULL;
DELETE FROM i06_index WHERE a = 30;
SQL
    # Counts are told once a second at most, at a commit.
    ok($one->poll(sub { $one->knock; $counted->('n_tup_upd + n_tup_del') eq '22' }),
        "I06 whole rows are written ($plugin)");
    ok($one->poll(sub { $one->knock; $counted->('idx_scan >= 22') eq 't' }),
        "I06 whole rows are found through an index ($plugin)");
    is($counted->("seq_scan - $read"), '0', "I06 and the table is not read for that ($plugin)");
    return;
}

for my $plugin (qw(pgoutput wal2json)) {
    my $one  = $pair->database("identity_$plugin");
    my @used = @cases;
    push @used, @floats if $plugin eq 'pgoutput' || $pair->wal2json_is_lossless;
    $one->create_gate;
    for (my $i = 0; $i < @used; $i += 3) {
        $one->source_sql($used[ $i + 1 ]);
    }
    $one->source_sql(<<'SQL');
CREATE TABLE i06_index (a int, b int, c text); ALTER TABLE i06_index REPLICA IDENTITY FULL;
CREATE INDEX ON i06_index (a);
INSERT INTO i06_index SELECT nullif(g, 2000), g FROM generate_series(1, 2000) g;
SQL
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    find_through_index($one, $plugin);
    for (my $i = 0; $i < @used; $i += 3) {
        $one->in_one_batch($used[ $i + 2 ]);
        $one->assert_equal_tables("$used[$i] ($plugin)", rows_only => 1);
    }

    # I05 a table whose identity became FULL while streaming may get equal rows from then on.
    $one->source_sql('DROP INDEX i04_later_a');
    $one->target_sql('DROP INDEX i04_later_a');
    $one->in_one_batch(<<'SQL');
INSERT INTO i04_later VALUES (1, 'same'), (1, 'same'), (1, 'same');
DELETE FROM i04_later WHERE ctid = (SELECT min(ctid) FROM i04_later WHERE b = 'same');
UPDATE i04_later SET b = 'other' WHERE ctid = (SELECT min(ctid) FROM i04_later WHERE b = 'same');
SQL
    $one->assert_equal_tables("I05 equal rows under an identity that became FULL ($plugin)",
        rows_only => 1);
    $one->finish("I $plugin", relations => 0);
}

# I10: replica role does not check deferrable constraints.  A duplicate does not go unseen.
for my $plugin (qw(pgoutput wal2json)) {
    my $deferrable = $pair->database("deferrable_$plugin");
    $deferrable->create_gate;
    $deferrable->source_sql(<<'SQL');
CREATE TABLE i10 (id int PRIMARY KEY, u int UNIQUE DEFERRABLE INITIALLY DEFERRED);
INSERT INTO i10 SELECT g, g FROM generate_series(1, 10) g;
SQL
    $deferrable->start(plugin => $plugin);
    $deferrable->wait_stage('streaming');
    $deferrable->in_one_batch(
        'UPDATE i10 SET u = 11 - u; BEGIN; UPDATE i10 SET u = 5 WHERE u = 6;'
            . ' UPDATE i10 SET u = 6 WHERE id = 6; COMMIT');
    $deferrable->assert_equal_tables("I10 deferred checks ($plugin)", rows_only => 1);
    $deferrable->target_sql(
        "SET session_replication_role = replica; UPDATE i10 SET u = 1 WHERE id = 5");
    $deferrable->set_endpos;
    $deferrable->wait_stage('done');
    is( $deferrable->target_sql('SELECT relation FROM livemigrate.compare_data() WHERE NOT equal'),
        'public.i10', "I10 compare_data finds the duplicate ($plugin)");
    $deferrable->target_sql('UPDATE i10 SET u = 5 WHERE id = 5');
    $deferrable->finish("I10 duplicates mended ($plugin)", endpos => 0);
}

# Where new versions go: not each to a page of its own, as the free space map would have it when every
# page has a gap for a few, and not behind the end while there are pages with room for many.
my $cramped = $pair->database('cramped');
$cramped->create_gate;
$cramped->source_sql(<<'SQL');
CREATE TABLE cramped (id int PRIMARY KEY, v text);
INSERT INTO cramped SELECT g, repeat('x', 288) FROM generate_series(1, 10000) g;
SQL
$cramped->start;
$cramped->wait_stage('streaming');
my $vacuum = 'VACUUM (DISABLE_PAGE_SKIPPING) cramped';
$cramped->target_sql($vacuum);
$cramped->in_one_batch("UPDATE cramped SET v = 'y' || id WHERE id % 1000 < 100");
my $pages = $cramped->target_sql(
    "SELECT count(DISTINCT (ctid::text::point)[0]) FROM cramped WHERE v ~ '^y'");
cmp_ok($pages, '<', 120, 'versions of 1000 rows from 40 pages go to few');
$cramped->in_one_batch('DELETE FROM cramped WHERE id BETWEEN 2000 AND 7000');
$cramped->target_sql($vacuum);
my $size = $cramped->target_sql("SELECT pg_relation_size('cramped')");
$cramped->in_one_batch("UPDATE cramped SET v = repeat('z', 250) WHERE id > 8000");
is($cramped->target_sql("SELECT pg_relation_size('cramped')"), $size, 'pages that VACUUM has freed are used');
$cramped->finish('updates in a table without room');

done_testing();
