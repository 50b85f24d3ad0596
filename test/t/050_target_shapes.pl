# Batches of changes for tables that are not on the target what they are on the source: other
# columns, other indexes, triggers and rules; and for shapes that the shortest path does not take.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use Test::More;

my $pair = LiveMigrate::Batch->new(dbname => 'unused');

my $setup = <<'SQL';
CREATE TABLE extra (id int PRIMARY KEY, v text);
CREATE TABLE turned (id int PRIMARY KEY, a text, b int, c bigint);
CREATE TABLE gaps (x int, id int PRIMARY KEY, y int, v text); ALTER TABLE gaps DROP COLUMN x;
CREATE TABLE computed (id int PRIMARY KEY, a int, twice int);
CREATE TABLE wider (id int PRIMARY KEY, n int, v varchar(10));
CREATE TABLE other_key (id int PRIMARY KEY, v text);
CREATE TABLE no_index (id int PRIMARY KEY, v text);
CREATE TABLE watched (id int PRIMARY KEY, n int);
CREATE TABLE seen (id int PRIMARY KEY, n bigint);
CREATE TABLE ruled (id int PRIMARY KEY, n int);
CREATE TABLE secured (id int PRIMARY KEY, n int);
CREATE TABLE always_identity (id int PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY, v text);
CREATE TABLE always_key (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text, u int UNIQUE);
CREATE TABLE indexed (id int PRIMARY KEY, k uuid UNIQUE, n bigint, tags int[], v text);
CREATE TABLE nothing ();
CREATE DOMAIN small AS int CHECK (VALUE < 1000);
CREATE TABLE checked (id int PRIMARY KEY, n small, m int CHECK (m > 0), total int GENERATED ALWAYS
    AS (m * 2) STORED);
INSERT INTO extra SELECT g, 'v' FROM generate_series(1, 20) g;
INSERT INTO turned SELECT g, 'a' || g, g, g FROM generate_series(1, 20) g;
INSERT INTO gaps SELECT g, g, 'v' FROM generate_series(1, 20) g;
INSERT INTO computed SELECT g, g, 2 * g FROM generate_series(1, 20) g;
INSERT INTO wider SELECT g, g, 'v' FROM generate_series(1, 20) g;
INSERT INTO other_key SELECT g, 'v' FROM generate_series(1, 20) g;
INSERT INTO no_index SELECT g, 'v' FROM generate_series(1, 20) g;
INSERT INTO watched SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO seen SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO ruled SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO secured SELECT g, g FROM generate_series(1, 20) g;
INSERT INTO always_identity (id, v) SELECT g, 'v' FROM generate_series(1, 20) g;
INSERT INTO always_key (v, u) SELECT 'v', g FROM generate_series(1, 20) g;
INSERT INTO checked SELECT g, g, g FROM generate_series(1, 20) g;
INSERT INTO nothing DEFAULT VALUES;
SQL

# Before the data comes: another order of columns.
my $before_data = <<'SQL';
DROP TABLE turned;
CREATE TABLE turned (gone int, c bigint, b int, a text, id int NOT NULL);
ALTER TABLE turned DROP COLUMN gone;
SQL

# Once changes are streaming.
my $on_target = <<'SQL';
CREATE INDEX indexed_partial ON indexed (n) WHERE n > 1000;
CREATE INDEX indexed_expression ON indexed (md5(v), n DESC NULLS FIRST) INCLUDE (v);
CREATE INDEX indexed_tags ON indexed USING gin (tags);
CREATE INDEX indexed_hash ON indexed USING hash (v);
CREATE INDEX indexed_range ON indexed USING brin (id);
CREATE EXTENSION amcheck;
ALTER TABLE extra ADD COLUMN more text NOT NULL DEFAULT 'default', ADD COLUMN at timestamptz DEFAULT
    now();
ALTER TABLE gaps ADD COLUMN z int, ADD COLUMN w int; ALTER TABLE gaps DROP COLUMN z, DROP COLUMN w;
ALTER TABLE computed DROP COLUMN twice;
ALTER TABLE computed ADD COLUMN twice int GENERATED ALWAYS AS (a * 2) STORED;
ALTER TABLE wider ALTER n TYPE numeric, ALTER v TYPE text; ALTER TABLE wider ADD UNIQUE (v, id);
ALTER TABLE other_key DROP CONSTRAINT other_key_pkey; ALTER TABLE other_key ADD PRIMARY KEY (v, id);
CREATE UNIQUE INDEX other_key_by_id ON other_key (id) INCLUDE (v);
ALTER TABLE no_index DROP CONSTRAINT no_index_pkey;
CREATE TABLE noted (at serial, id int, n int, others bigint);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    INSERT INTO public.noted (id, n, others)
        SELECT NEW.id, NEW.n, (SELECT sum(s.n) FROM public.seen s);
    RETURN NEW; END$$;
CREATE TRIGGER note AFTER INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION note();
ALTER TABLE watched ENABLE ALWAYS TRIGGER note;
CREATE TABLE rule_noted (at serial, id int, n int, others bigint);
CREATE RULE note AS ON UPDATE TO ruled DO ALSO INSERT INTO rule_noted (id, n, others)
    SELECT NEW.id, NEW.n, (SELECT sum(s.n) FROM seen s);
ALTER TABLE ruled ENABLE ALWAYS RULE note;
CREATE RULE ignored AS ON INSERT TO ruled DO INSTEAD NOTHING;
ALTER TABLE secured ENABLE ROW LEVEL SECURITY; ALTER TABLE secured FORCE ROW LEVEL SECURITY;
ALTER TABLE always_identity ADD COLUMN extra int DEFAULT 1;
SQL

# On the source, the same notes as the target's trigger and rule will take.
my $expected_notes = <<'SQL';
1|10|210
2|20|211
SQL

sub changes_of {
    my ($table, $column, $value) = @_;
    return <<"SQL";
INSERT INTO $table (id, $column) SELECT g, $value FROM generate_series(101, 120) g;
UPDATE $table SET $column = $value WHERE id < 5; UPDATE $table SET $column = NULL WHERE id = 3;
DELETE FROM $table WHERE id IN (5, 6, 105, 106); INSERT INTO $table (id, $column) VALUES (5, $value);
UPDATE $table SET id = 7000 + id WHERE id IN (7, 107); UPDATE $table SET id = 7 WHERE id = 7107;
UPDATE $table SET $column = $value WHERE id IN (7, 101, 7007);
DELETE FROM $table WHERE id IN (101, 8); BEGIN; INSERT INTO $table (id, $column) VALUES (8, $value);
SAVEPOINT s; DELETE FROM $table WHERE id < 20; ROLLBACK TO s; COMMIT;
SQL
}
my $changes = join '', changes_of('extra', 'v', "'new' || random()"),
    changes_of('turned', 'c', '(random() * 1e9)::bigint'),
    changes_of('gaps', 'v', "'new' || random()"), changes_of('wider', 'n', '17'),
    changes_of('no_index', 'v', "'new' || random()"), changes_of('secured', 'n', '99'),
    changes_of('checked', 'n', '999'), <<'SQL';
INSERT INTO computed SELECT g, g, 2 * g FROM generate_series(101, 120) g;
UPDATE computed SET a = a + 1, twice = 2 * (a + 1); DELETE FROM computed WHERE id = 3;
UPDATE computed SET a = 0, twice = 0 WHERE id = 4;
UPDATE turned SET a = a || b, b = NULL WHERE id > 10;
UPDATE other_key SET v = 'w' WHERE id < 10; UPDATE other_key SET id = -id WHERE id = 3;
DELETE FROM other_key WHERE id = 4; INSERT INTO other_key VALUES (4, 'again');
UPDATE checked SET m = m + 1; UPDATE checked SET m = m + 1; UPDATE checked SET m = NULL WHERE id = 2;
UPDATE watched SET n = 10 WHERE id = 1; UPDATE seen SET n = n + 1 WHERE id = 1;
UPDATE watched SET n = 20 WHERE id = 2; UPDATE seen SET n = n + 1 WHERE id = 2;
INSERT INTO nothing DEFAULT VALUES; INSERT INTO nothing DEFAULT VALUES;
SQL

# For a rule no row of a table with a trigger may be in the batch: that alone makes it ordered.
my $rule_changes = <<'SQL';
UPDATE ruled SET n = 10 WHERE id = 1; UPDATE seen SET n = n + 1 WHERE id = 1;
UPDATE ruled SET n = 20 WHERE id = 2; UPDATE seen SET n = n + 1 WHERE id = 2;
INSERT INTO ruled VALUES (100, 100);
SQL

# A GENERATED ALWAYS identity is updated on the source by SET ... = DEFAULT.
my $identity_changes = <<'SQL';
UPDATE always_identity SET n = DEFAULT WHERE id < 5; UPDATE always_identity SET v = 'w' WHERE id < 8;
DELETE FROM always_identity WHERE id = 3; UPDATE always_identity SET n = DEFAULT, id = 99 WHERE id = 4;
INSERT INTO always_identity (id, v) VALUES (3, 'new');
UPDATE always_key SET id = DEFAULT WHERE id < 5; UPDATE always_key SET v = 'w' WHERE id > 18;
SQL
# The same where values of a unique column are passed on, so that there is no net effect to write.
my $identity_passing = <<'SQL';
UPDATE always_key SET u = 0 WHERE id = 9; UPDATE always_key SET u = 9 WHERE id = 10;
UPDATE always_key SET u = 10 WHERE id = 9; UPDATE always_key SET id = DEFAULT WHERE id IN (6, 8);
SQL

# Enough rows for their index entries to be sorted, in no order of any index.
my $indexed_changes = <<'SQL';
INSERT INTO indexed SELECT (g * 7919) % 5000, md5(g::text)::uuid, nullif(g % 2500, 7), ARRAY[g % 10, g],
    'v' || g % 400 FROM generate_series(0, 4999) g;
UPDATE indexed SET v = 'changed', n = n + 1 WHERE id % 3 = 0;
DELETE FROM indexed WHERE id % 5 = 0;
SQL
my $sound_indexes = <<'SQL';
SELECT count(public.bt_index_check(indexrelid, true)) FROM pg_index JOIN pg_class c ON c.oid = indexrelid
    WHERE relam = 403 AND indrelid::regclass::text IN ('indexed', 'extra', 'wider', 'other_key')
SQL
my %indexed_queries = (
    partial => 'SELECT count(*) FROM indexed WHERE n > 1200',
    tags => "SELECT count(*) FROM indexed WHERE tags @> '{3}'",
    hash => "SELECT count(*) FROM indexed WHERE v = 'v100'",
    range => 'SELECT count(*) FROM indexed WHERE id BETWEEN 1000 AND 1100');

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("shapes_$plugin");
    $one->create_gate;
    $one->source_sql($setup);
    $one->start(
        plugin      => $plugin,
        pause_after => ['schema'],
        options     => { insert_only_tables => ['public.nothing'] });
    $one->wait_stage('schema');
    $one->wait_state('paused');
    $one->target_sql($before_data);
    $one->resume;
    $one->wait_stage('streaming');
    $one->target_sql($on_target);

    $one->in_one_batch($changes);
    $one->assert_equal_tables("$plugin: tables of other shapes", rows_only => 1);
    is($one->target_sql('SELECT count(*) FROM extra WHERE more IS NULL OR at IS NULL'),
        '0', "$plugin: columns that only the target has take their defaults");
    is( $one->target_sql('SELECT id, n, others FROM noted ORDER BY at') . "\n",
        $expected_notes,
        "$plugin: an ALWAYS trigger sees the other tables as they were on the source");

    $one->source_sql('UPDATE seen SET n = id');
    $one->in_one_batch($rule_changes);
    is( $one->target_sql('SELECT id, n, others FROM rule_noted ORDER BY at') . "\n",
        $expected_notes,
        "$plugin: an ALWAYS rule sees the other tables as they were on the source");
    $one->assert_equal_tables("$plugin: rules", rows_only => 1);

    $one->in_one_batch($identity_changes);
    $one->assert_equal_tables("$plugin: GENERATED ALWAYS identities", rows_only => 1);
    my $in_source_order = "SELECT value FROM livemigrate.metrics "
        . "WHERE name = 'livemigrate_changes_in_source_order_total'";
    my $before = $one->target_sql($in_source_order);
    $one->in_one_batch($identity_passing);
    ok($one->poll(sub { $one->target_sql($in_source_order) > $before }),
        "$plugin: changes without a net effect are counted");
    $one->assert_equal_tables("$plugin: GENERATED ALWAYS identities in source order",
        rows_only => 1);

    $one->in_one_batch($indexed_changes);
    $one->assert_equal_tables("$plugin: many rows in indexes of every kind", rows_only => 1);
    is($one->target_sql($sound_indexes), '9', "$plugin: every row is in every B-tree");
    for my $index (sort keys %indexed_queries) {
        is( $one->target_sql("SET enable_seqscan = off; $indexed_queries{$index}"),
            $one->source_sql($indexed_queries{$index}),
            "$plugin: as many rows through index $index"
        );
    }
    $one->finish("$plugin: other shapes", relations => 0);
}

done_testing();
