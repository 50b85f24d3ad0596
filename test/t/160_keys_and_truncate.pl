# What names rows and tables in the stream, and does not name what it should: keys with generated
# columns, keys that the target lets several rows have, TRUNCATE of partitioned tables with foreign
# keys, and tables whose owner may not use their schema.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP ();
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# --- a generated column in the key: pgoutput sends the rest of it, which names other rows, too
$pair->source_sql(<<'SQL');
CREATE TABLE account (tenant int, email text, folded text GENERATED ALWAYS AS (lower(email)) STORED,
    v int, PRIMARY KEY (tenant, folded));
INSERT INTO account VALUES (1, 'A@x', DEFAULT, 1), (1, 'B@x', DEFAULT, 2), (1, 'C@x', DEFAULT, 3);
CREATE TABLE document (doc jsonb, id text GENERATED ALWAYS AS (doc ->> 'id') STORED UNIQUE NOT NULL,
    serial int UNIQUE NOT NULL);
ALTER TABLE document REPLICA IDENTITY USING INDEX document_id_key;
INSERT INTO document VALUES ('{"id": "a"}', DEFAULT, 1), ('{"id": "b"}', DEFAULT, 2);
CREATE TABLE plain (id int PRIMARY KEY, twice int GENERATED ALWAYS AS (id * 2) STORED);
SQL
my $conninfo = LiveMigrate::Test::quote_literal($pair->conninfo);

sub identity_rows {
    return @{ JSON::PP->new->decode($pair->target_sql(
        "SELECT coalesce(json_agg(c ORDER BY object), '[]') FROM livemigrate.migration_check($conninfo) c
            WHERE check_id = 'replica_identity'")) };
}
my @rows = identity_rows();
is(join(' ', map {"$_->{severity} $_->{object}"} @rows), 'error "public"."account" error "public"."document"',
    'generated columns in a replica identity are errors, elsewhere none');
like($rows[0]{message}, qr/generated column in its replica identity/, 'the message says why');
like($rows[0]{fix}, qr/^ALTER TABLE "public"\."account" REPLICA IDENTITY FULL;/, 'the fix of a primary key');
like($rows[1]{fix}, qr/USING INDEX "document_serial_key";/, 'an index without such a column will do');
$pair->source_sql($_->{fix}) for @rows;
is(join(' ', map { $_->{severity} } identity_rows()), 'ok', 'the fixes mend it');

$pair->source_sql(<<'SQL');
CREATE TABLE one (id int NOT NULL UNIQUE, v text);
ALTER TABLE one REPLICA IDENTITY USING INDEX one_id_key;
INSERT INTO one VALUES (1, 'first'), (2, 'second');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int, parent int REFERENCES parent, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE child_1 PARTITION OF child FOR VALUES FROM (0) TO (100) PARTITION BY LIST (id);
CREATE TABLE child_1_rest PARTITION OF child_1 DEFAULT;
CREATE TABLE child_2 PARTITION OF child DEFAULT;
CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree) PARTITION BY HASH (id);
CREATE TABLE tree_0 PARTITION OF tree FOR VALUES WITH (MODULUS 1, REMAINDER 0);
INSERT INTO parent SELECT generate_series(1, 200);
INSERT INTO child SELECT g, g FROM generate_series(1, 200) g;
INSERT INTO tree VALUES (1, NULL), (2, 1);
SQL
$pair->start;
$pair->wait_stage('streaming');
$pair->source_sql(<<'SQL');
DELETE FROM account WHERE folded = 'a@x';
UPDATE account SET v = 20, email = 'b2@x' WHERE folded = 'b@x';
DELETE FROM document WHERE id = 'a';
UPDATE document SET doc = '{"id": "c"}';
TRUNCATE parent CASCADE;
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (1, 1), (150, 1);
TRUNCATE tree;
INSERT INTO tree VALUES (3, NULL);
SQL
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM tree WHERE id = 3') == 1 }),
    'TRUNCATE of partitioned tables with foreign keys is applied')
  or $pair->diagnose('truncate');

# --- the target lost its unique index, and got a second row of the same key: neither is taken
$pair->target_sql("ALTER TABLE one DROP CONSTRAINT one_id_key; INSERT INTO one VALUES (1, 'another')");
$pair->source_sql('DELETE FROM one WHERE id = 1');
$pair->wait_state('failed');
my $status = $pair->status_row;
like($status->{last_error}, qr/2 rows of the target have the key of one row of the source: table "public"\."one"/,
    'a key that names two rows stops apply');
is($pair->target_sql('SELECT count(*), min(c.key), min(c.sqlstate) FROM one o, livemigrate.conflicts c WHERE o.id = 1'),
    '2|(id)=(1)|21000', 'both rows are there, and the conflict names the key');
$pair->target_sql("DELETE FROM one WHERE v = 'another'; ALTER TABLE one ADD UNIQUE (id)");
$pair->resume;
$pair->finish('keys and TRUNCATE');

# --- the owner of the tables may not use their schema: a right that was granted on the source
my $owned = $pair->database('owned');
$owned->source_sql(<<'SQL');
CREATE ROLE keeper; CREATE ROLE service;
CREATE SCHEMA closed AUTHORIZATION keeper; GRANT USAGE ON SCHEMA closed TO service;
CREATE TABLE closed.emptied (id int PRIMARY KEY);
CREATE TABLE closed.by_statement (id int, v text);
ALTER TABLE closed.by_statement REPLICA IDENTITY FULL;
CREATE TABLE closed.guarded (id int, v text);
ALTER TABLE closed.guarded REPLICA IDENTITY FULL, ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON closed.guarded USING (false);
ALTER TABLE closed.emptied OWNER TO service; ALTER TABLE closed.by_statement OWNER TO service;
ALTER TABLE closed.guarded OWNER TO service; INSERT INTO closed.guarded VALUES (1, 'a'), (2, 'b');
INSERT INTO closed.emptied VALUES (1); INSERT INTO closed.by_statement VALUES (1, 'a'), (2, 'b');
SQL
$owned->start(owner => \'true');
$owned->wait_stage('streaming');
is($owned->target_sql("SELECT has_schema_privilege('service', 'closed', 'USAGE')"), 'f',
    'the right was not taken over');
$owned->source_sql("TRUNCATE closed.emptied; UPDATE closed.by_statement SET v = 'c' WHERE id = 1");
ok($owned->poll(sub { $owned->target_sql("SELECT count(*) FROM closed.by_statement WHERE v = 'c'") == 1 }),
    'TRUNCATE of a table whose owner may not use its schema')
  or $owned->diagnose('owned');
# Every kept statement is planned anew behind this.
$owned->target_sql('CREATE SCHEMA later');
$owned->source_sql("UPDATE closed.by_statement SET v = 'd' WHERE id = 1");
$owned->source_sql("UPDATE closed.guarded SET v = 'd' WHERE id = 1; DELETE FROM closed.guarded WHERE id = 2;
    INSERT INTO closed.guarded VALUES (3, 'c')");
$owned->finish('tables of an owner without rights on the schema', relations => 0);

# --- a trigger of a single partition comes while rows are deleted through the root
my $raced = $pair->database('raced');
$raced->source_sql(<<'SQL');
CREATE TABLE era (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (0) TO (10);
CREATE TABLE era_2 PARTITION OF era FOR VALUES FROM (10) TO (20);
INSERT INTO era VALUES (1), (11);
SQL
$raced->target_sql(<<'SQL');
CREATE TABLE era (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE era_all PARTITION OF era FOR VALUES FROM (0) TO (20);
CREATE TABLE seen (who name);
GRANT INSERT ON seen TO PUBLIC;
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.seen VALUES (current_user); RETURN OLD; END $$;
CREATE TRIGGER see BEFORE DELETE ON era_all FOR EACH ROW EXECUTE FUNCTION see();
ALTER TABLE era OWNER TO keeper;
REVOKE DELETE ON era FROM keeper;
SQL
$raced->start(on_existing => 'truncate');
$raced->wait_stage('streaming');
my $late = $raced->session($raced->target, 'BEGIN; ALTER TABLE era_all ENABLE ALWAYS TRIGGER see');
$raced->source_sql('TRUNCATE era_1');
$raced->wait_blocked($raced->target);
$late->query_safe('COMMIT');
$raced->end_session($late);
$raced->wait_state('failed');
like($raced->status_row->{message}, qr/permission denied for table era/, 'a trigger that comes meanwhile: rows are deleted as the owner');
$raced->target_sql('GRANT DELETE ON era TO keeper');
$raced->resume;
$raced->poll(sub { $raced->target_sql('SELECT string_agg(id::text, $$ $$) FROM era') eq '11' }) or $raced->diagnose('raced');
is($raced->target_sql('SELECT string_agg(who, $$ $$) FROM seen'), 'keeper', '... for whom it runs');
$raced->abort;

done_testing();
