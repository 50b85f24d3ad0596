# TRUNCATE on the source of tables with foreign keys, of which the stream does not name all tables:
# partitioned ones with triggers of their own, unlogged ones, and those without their rows.  And
# partitions whose rows are routed through the topmost table.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP ();
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
my $conninfo = LiveMigrate::Test::quote_literal($pair->conninfo);

# --- partitions by the hash of an enum, whose own keys lack the partition key
my $partitions = <<'SQL';
CREATE TYPE mood AS ENUM ('low', 'mid', 'high', 'calm');
CREATE TABLE felt (id int NOT NULL, m mood NOT NULL, v text) PARTITION BY HASH (m);
CREATE TABLE felt_0 PARTITION OF felt FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE felt_1 PARTITION OF felt FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE felt_0 ADD UNIQUE (id); ALTER TABLE felt_0 REPLICA IDENTITY USING INDEX felt_0_id_key;
ALTER TABLE felt_1 ADD PRIMARY KEY (id, m);
INSERT INTO felt SELECT 1, m, 'v' FROM unnest(enum_range(NULL::mood)) m WHERE m IN ('low', 'mid');
CREATE TABLE felt_not (id int PRIMARY KEY) PARTITION BY HASH (id);
CREATE TABLE felt_not_0 PARTITION OF felt_not FOR VALUES WITH (MODULUS 1, REMAINDER 0);
SQL
$pair->source_sql($partitions);
my $identity = "SELECT coalesce(json_agg(c ORDER BY object), '[]') FROM livemigrate.migration_check($conninfo) c
    WHERE check_id = 'replica_identity' AND severity = 'error'";
my @rows = @{ JSON::PP->new->decode($pair->target_sql($identity)) };
is(join(' ', map { $_->{object} } @rows), '"public"."felt_0"', 'a key without the partition key is refused');
like($rows[0]{message}, qr/replica identity without the partition key.*hash of an enum/, 'and why');
$pair->source_sql($rows[0]{fix});
is($pair->target_sql($identity), '[]', 'the fix mends it');

# --- whom TRUNCATE takes along
my $tables = <<'SQL';
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE cut (id int PRIMARY KEY, parent int REFERENCES parent) PARTITION BY RANGE (id);
CREATE TABLE cut_1 PARTITION OF cut FOR VALUES FROM (0) TO (10);
CREATE UNLOGGED TABLE cut_2 PARTITION OF cut FOR VALUES FROM (10) TO (20);
CREATE TABLE cut_3 PARTITION OF cut DEFAULT;
CREATE UNLOGGED TABLE fast (id int PRIMARY KEY, parent int REFERENCES parent);
CREATE TABLE below (id int PRIMARY KEY, cut int, FOREIGN KEY (cut) REFERENCES cut);
CREATE TABLE large (id int PRIMARY KEY, parent int REFERENCES parent);
CREATE TABLE moody (id int, m mood, PRIMARY KEY (id, m)) PARTITION BY HASH (m);
CREATE TABLE moody_0 PARTITION OF moody FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE UNLOGGED TABLE moody_1 PARTITION OF moody FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parent SELECT generate_series(1, 30);
INSERT INTO cut SELECT g, g FROM generate_series(1, 30) g; INSERT INTO fast VALUES (1, 1);
INSERT INTO below SELECT g, g FROM generate_series(1, 30) g; INSERT INTO large VALUES (1, 1);
INSERT INTO moody SELECT g, m FROM generate_series(1, 5) g, unnest(enum_range(NULL::mood)) m;
CREATE SCHEMA closed; CREATE SCHEMA code AUTHORIZATION one; GRANT USAGE ON SCHEMA code TO PUBLIC;
CREATE TABLE closed.parent (id int PRIMARY KEY);
CREATE TABLE closed.cut (id int PRIMARY KEY, parent int REFERENCES closed.parent) PARTITION BY RANGE (id);
CREATE TABLE closed.cut_1 PARTITION OF closed.cut DEFAULT;
INSERT INTO closed.parent VALUES (1); INSERT INTO closed.cut VALUES (1, 1);
ALTER TABLE closed.parent OWNER TO one; ALTER TABLE closed.cut_1 OWNER TO one;
CREATE FUNCTION code.attack() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('cluster_name') = 'target' THEN ALTER ROLE other SUPERUSER; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER attack AFTER TRUNCATE ON closed.cut EXECUTE FUNCTION code.attack();
ALTER TABLE closed.cut ENABLE ALWAYS TRIGGER attack; ALTER TABLE closed.cut OWNER TO other;
SQL

sub takes_along {
    my ($one, $plugin) = @_;
    note "with $plugin";
    $one->source_sql($tables);
    $one->start(plugin => $plugin, owner => \'true', exclude_table_data => ['public.large']);
    $one->wait_stage('streaming');
    is($one->target_sql('SELECT (SELECT count(*) FROM cut), (SELECT count(*) FROM fast), (SELECT count(*) FROM large)'),
        '30|1|0', 'what the copy brought');
    $one->source_sql('TRUNCATE parent CASCADE; INSERT INTO parent VALUES (7); INSERT INTO cut VALUES (1, 7), (25, 7)');
    ok($one->poll(sub { $one->target_sql(
            'SELECT (SELECT count(*) FROM parent), (SELECT count(*) FROM cut WHERE parent = 7)') eq '1|2' }),
        'TRUNCATE takes along what must be empty on the source, too')
      or $one->diagnose('truncate');
    is($one->target_sql("SELECT (SELECT string_agg(id::text, ' ' ORDER BY id) FROM cut), (SELECT count(*) FROM fast),
            (SELECT count(*) FROM below), (SELECT count(*) FROM large)"), '1 25|0|0|0', 'unlogged tables and partitions, too');
    $one->source_sql("TRUNCATE moody; INSERT INTO moody VALUES (9, 'low'), (9, 'mid')");
    my $streamed = $one->source_sql('SELECT count(*) FROM moody_0');
    ok( $one->poll(sub { $one->target_sql('SELECT count(*), min(id) FROM moody') eq "$streamed|9" }),
        'TRUNCATE of routed partitions, one of them unlogged')
      or $one->diagnose('moody');
    is($one->target_sql('SELECT count(*) FROM moody'), $streamed, 'rows of the unlogged one do not come');

    # A table of which the target has rows of its own keeps them: the error is PostgreSQL's.
    $one->target_sql('INSERT INTO large VALUES (1, 7)');
    $one->source_sql('TRUNCATE parent CASCADE');
    $one->wait_state('failed');
    like($one->status_row->{last_error}, qr/cannot truncate a table referenced in a foreign key constraint/,
        'rows that the stream does not know of are not truncated');
    $one->target_sql('TRUNCATE large');
    $one->resume;
    ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM parent') == 0 }), 'and without them it goes on');

    # The trigger of the partitioned table, which the stream does not name, and whose owner is another.
    $one->source_sql('TRUNCATE closed.parent CASCADE');
    $one->wait_state('failed');
    like($one->status_row->{last_error}, qr/several owners at once: a trigger of theirs fires/, 'a trigger of the root');
    is($one->target_sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'other'"), 'f', 'does not run as the migrating role');
    $one->target_sql('ALTER TABLE closed.cut DISABLE TRIGGER attack');
    $one->resume;
    ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM closed.parent') == 0 }), 'without it, TRUNCATE is applied')
      or $one->diagnose('closed');
    $one->abort;
    $one->cleanup;
}

$source->safe_psql('postgres', 'CREATE ROLE one; CREATE ROLE other');
takes_along($pair, 'pgoutput');
my $other = $pair->database('other');
$other->source_sql($partitions);
$other->source_sql($rows[0]{fix});
takes_along($other, 'wal2json');

done_testing();
