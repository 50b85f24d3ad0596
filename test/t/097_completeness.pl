# What a migration brings besides tables and rows, on request or always: settings of the database,
# default privileges, statistics objects, event triggers, publications, subscriptions, comments
# of large objects; what it leaves out, and says so.  C16, C18, C20, N06, N07, N09, N10, R05.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

# R05: commits of apply stay in memory for longer than this test leaves them there.
my $pair = LiveMigrate::Test->new(target_conf => "wal_writer_delay = 10s\n");
my ($source, $target) = ($pair->source, $pair->target);

sub paused_after {
    my ($one, $stage) = @_;
    $one->wait_stage($stage);
    $one->wait_state('paused');
}

sub events {
    my ($one, $severity) = @_;
    return $one->target_sql("SELECT string_agg(message, E'\\n') FROM livemigrate.events
        WHERE severity = '$severity'");
}

my $everything = <<'SQL';
CREATE ROLE comp_owner; CREATE ROLE comp_reader; CREATE ROLE comp_writer;
CREATE SCHEMA s; CREATE SCHEMA left_out;
-- N06
ALTER DEFAULT PRIVILEGES FOR ROLE comp_owner IN SCHEMA s GRANT SELECT ON TABLES TO comp_reader;
ALTER DEFAULT PRIVILEGES FOR ROLE comp_owner GRANT USAGE ON SEQUENCES TO comp_writer;
CREATE TABLE s.t (id int PRIMARY KEY, a int, b int, v text);
INSERT INTO s.t SELECT g, g % 10, g % 5, 'v' || g FROM generate_series(1, 1000) g;
CREATE STATISTICS s.ab (ndistinct, dependencies) ON a, b FROM s.t;
ALTER STATISTICS s.ab SET STATISTICS 300; COMMENT ON STATISTICS s.ab IS 'a and b';
CREATE TABLE s.ddl_log (id bigserial PRIMARY KEY, tag text);
CREATE FUNCTION s.log_ddl() RETURNS event_trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO s.ddl_log (tag) VALUES (tg_tag); END$$;
CREATE PUBLICATION of_t FOR TABLE s.t WHERE (id > 5) WITH (publish = 'insert, update');
COMMENT ON PUBLICATION of_t IS 'of the application';
CREATE SUBSCRIPTION from_elsewhere CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION p
    WITH (connect = false);
-- materialized views whose names are in the wrong order, with a view between them
CREATE MATERIALIZED VIEW s.z_base AS SELECT count(*) AS n FROM s.t;
CREATE VIEW s.y_between AS SELECT n + 1 AS n FROM s.z_base;
CREATE MATERIALIZED VIEW s.a_top AS SELECT n + 1 AS n FROM s.y_between;
-- include and exclude
CREATE TABLE left_out.parent (id int PRIMARY KEY); INSERT INTO left_out.parent VALUES (1);
CREATE TABLE s.child (id int PRIMARY KEY, parent int CONSTRAINT to_parent REFERENCES left_out.parent,
    t int CONSTRAINT to_t REFERENCES s.t);
INSERT INTO s.child VALUES (1, 1, 1);
-- C20
CREATE UNLOGGED TABLE s.unlogged (id int PRIMARY KEY); INSERT INTO s.unlogged VALUES (1), (2);
-- C16: types whose numbers differ on the two servers
CREATE TYPE s.mood AS ENUM ('low', 'high'); CREATE TYPE s.pair AS (n int, m s.mood, l s.mood[]);
CREATE DOMAIN s.moods AS s.mood[] CHECK (array_length(VALUE, 1) < 5);
CREATE TYPE s.span AS RANGE (subtype = numeric);
CREATE TABLE s.typed (id int PRIMARY KEY, m s.mood, p s.pair, ps s.pair[], d s.moods, r s.span,
    rs s.span[], mr s.span_multirange);
INSERT INTO s.typed SELECT g, 'high'::s.mood, ROW(g, 'low'::s.mood, '{low,high}'::s.mood[])::s.pair, ARRAY[ROW(g, NULL, NULL)::s.pair],
    '{high,low}'::s.moods, s.span(g, g + 1), ARRAY[s.span(1, 2), 'empty'::s.span],
    s.span_multirange(s.span(g, g + 1), s.span(g + 5, NULL)) FROM generate_series(1, 50) g;
-- N09
SET allow_in_place_tablespaces = true; CREATE TABLESPACE only_here LOCATION '';
CREATE TABLE s.elsewhere (id int PRIMARY KEY USING INDEX TABLESPACE only_here) TABLESPACE only_here;
CREATE INDEX elsewhere_index ON s.elsewhere (id) TABLESPACE only_here;
INSERT INTO s.elsewhere SELECT generate_series(1, 10);
-- N10
SET check_function_bodies = off;
CREATE FUNCTION s.broken() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM s.does_not_exist';
CREATE FUNCTION s.early() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM s.zz_later';
CREATE TABLE s.zz_later (id int PRIMARY KEY DEFAULT s.early());
SET check_function_bodies = on;
CREATE TABLE s.wider (id int PRIMARY KEY, v text);
INSERT INTO s.wider SELECT g, 'v' FROM generate_series(1, 100) g;
SELECT lo_from_bytea(4711, 'owned'), lo_from_bytea(4712, 'mine');
ALTER LARGE OBJECT 4711 OWNER TO comp_owner; COMMENT ON LARGE OBJECT 4711 IS 'its comment';
GRANT SELECT ON LARGE OBJECT 4711 TO comp_reader;
ALTER DATABASE app SET work_mem = '7MB';
ALTER DATABASE app SET search_path = s, "Odd, schema", public;
ALTER DATABASE app SET app.tenant = 'it''s "one"';
ALTER ROLE comp_reader IN DATABASE app SET statement_timeout = '77s';
CREATE EVENT TRIGGER log_ddl ON ddl_command_end EXECUTE FUNCTION s.log_ddl();
COMMENT ON EVENT TRIGGER log_ddl IS 'logs';
SQL
$pair->source_sql($everything);
my $lo = "SELECT oid, obj_description(oid, 'pg_largeobject')
    FROM pg_largeobject_metadata WHERE oid = 4711";
my %same = (
    'N06 default privileges' => "SELECT defaclobjtype, defaclnamespace::regnamespace, defaclacl
        FROM pg_default_acl ORDER BY 1",
    'N06 a statistics object' => "SELECT pg_get_statisticsobjdef(oid), stxstattarget,
        obj_description(oid, 'pg_statistic_ext') FROM pg_statistic_ext",
    "N06 the application's publication" => "SELECT p.pubname, pubinsert, pubdelete,
            pg_get_expr(prqual, prrelid), obj_description(p.oid, 'pg_publication')
        FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
        WHERE pubname = 'of_t'",
    'N06 an event trigger' => "SELECT evtname, evtenabled, obj_description(oid, 'pg_event_trigger')
        FROM pg_event_trigger WHERE evtname = 'log_ddl'",
    'N10 functions that refer to what is missing, or comes later' =>
        "SELECT proname, prosrc FROM pg_proc WHERE proname IN ('broken', 'early') ORDER BY 1",
    'database_settings' => "SELECT coalesce(rolname, ''), setconfig
        FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase
        LEFT JOIN pg_roles r ON r.oid = setrole WHERE datname = 'app' ORDER BY 1",
    "a large object's comment" => $lo);

my @start = (
    owner          => \'true',
    privileges     => \'true',
    pause_after    => ['schema'],
    exclude_tables => ['left_out.*'],
    options        => { database_settings => \1, unlogged => \0 });
$pair->start(@start);
paused_after($pair, 'schema');
$pair->target_sql('ALTER TABLE s.wider ADD twice int GENERATED ALWAYS AS (id * 2) STORED');
$pair->resume([]);
$pair->wait_stage('streaming');

is($pair->target_sql('SELECT count(*) FROM s.unlogged'), '0', 'C20 unlogged => false: no rows');
is( $pair->target_sql("SELECT state FROM livemigrate.table_progress WHERE table_name = 'unlogged'"),
    'skipped', 'C20 and it is shown');
like(
    $pair->target_sql("SELECT message FROM livemigrate.checks WHERE check_id = 'unlogged_tables'"),
    qr/rows are not copied/, 'C20 a check says so');
like(events($pair, 'notice'),
    qr/foreign key "to_parent" of "s"\."child" is left out: it references "left_out"\."parent"/,
    'a foreign key to a table that is left out is left out, and said');
is( $pair->target_sql("SELECT conname FROM pg_constraint WHERE conrelid = 's.child'::regclass
        AND contype = 'f'"),
    'to_t', 'the other foreign key is there');
is($pair->target_sql("SELECT count(*) FROM pg_event_trigger WHERE evtname = 'log_ddl'"),
    '0', 'N06 no event trigger before cutover');

# --- R05: the target crashes when apply has committed and nothing of it is on disk
$pair->source_sql("UPDATE s.t SET v = 'new' WHERE id <= 500; INSERT INTO s.wider VALUES (500, 'x');
    UPDATE s.wider SET v = 'y' WHERE id = 3; DELETE FROM s.t WHERE id > 990");
$pair->poll(sub { $pair->target_sql('SELECT max(id) FROM s.wider') eq '500' }) or die 'not applied';
$target->stop('immediate');
$target->start;
$pair->wait_for_connections($target);
$pair->source_sql('DELETE FROM s.t WHERE id = 1 AND false; INSERT INTO s.wider VALUES (501, NULL);
    REFRESH MATERIALIZED VIEW s.z_base; REFRESH MATERIALIZED VIEW s.a_top');
$pair->set_endpos;
$pair->wait_stage('done');
$pair->assert_equal_tables('R05, C16, N06, N09 equal tables, and no DDL of ours was logged',
    skip => qr/left_out|unlogged/, relations => 0);
is($pair->target_sql('SELECT count(*), sum(twice) = sum(id * 2) FROM s.wider'),
    '102|t', 'a column that only the target generates');
is($pair->target_sql('SELECT n FROM s.a_top'), '992', 'materialized views in dependency order');
is($pair->target_sql("SELECT count(*) FROM pg_class WHERE reltablespace <> 0
        AND relnamespace = 's'::regnamespace"),
    '0', 'N09 everything is in the default tablespace');
is( $pair->target_sql("SELECT subname, subenabled FROM pg_subscription"),
    'from_elsewhere|f', 'N06 a subscription is there and not enabled');
is($pair->target_sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'logical replication worker'"),
    '0', 'N06 and nothing of it runs');
for my $what (sort keys %same) {
    is($pair->target_sql($same{$what}), $pair->source_sql($same{$what}), $what);
}
$pair->cleanup;

# --- N07: rows of an extension's configuration table: only the user's are copied
my $config = $pair->database('config');
for my $sql (qw(source_sql target_sql)) {
    $config->$sql("CREATE EXTENSION tcn; CREATE TABLE settings (name text PRIMARY KEY, v text,
        ours boolean DEFAULT true);
        ALTER EXTENSION tcn ADD TABLE settings;
        UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid],
            extcondition = ARRAY['WHERE NOT ours'] WHERE extname = 'tcn';
        CREATE TABLE t (id int PRIMARY KEY)");
}
$config->source_sql("INSERT INTO settings VALUES ('made by', 'extension', true), ('a', '1', false), ('b', '2', false)");
$config->start(on_existing => 'skip_schema');
$config->wait_stage('streaming');
is($config->target_sql("SELECT string_agg(name || v, ' ' ORDER BY name) FROM settings"),
    'a1 b2', "N07 the user's rows, not those that come with CREATE EXTENSION");
$config->set_endpos;
$config->wait_stage('done');
$config->cleanup;

# --- C18: more tables than the source's lock table holds is found beforehand
$source->append_conf('postgresql.conf', "max_locks_per_transaction = 10\nmax_connections = 20");
$source->restart;
my $many = $pair->database('many');
$many->source_sql(q{SELECT format('CREATE TABLE many_%s (id int PRIMARY KEY)', g)
    FROM generate_series(1, 400) g \gexec});
like(
    $many->target_sql('SELECT severity || $$ $$ || message || $$ $$ || fix FROM livemigrate.migration_check('
          . LiveMigrate::Test::quote_literal($many->conninfo) . ") WHERE check_id = 'source_locks'"),
    qr/^(?:warning|error) .*max_locks_per_transaction = \d+/s,
    'C18 the lock table is too small, with the value it needs');

done_testing();
