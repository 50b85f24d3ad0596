# V and T groups: compare_data judges by values alone.  Types, shapes of tables, encodings and
# settings that make text images differ; what one side lacks; errors; and the caller's session is
# afterwards as it was.  (016_compare_data.pl has the spoilt rows.)
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;

# A column for each type; row n holds each type's n-th value, row 0 is all NULL.
my @types = (
    [ 'bool', "true", "false" ], [ 'int2', "-32768" ], [ 'int8', "9223372036854775807" ],
    [ 'float4', "'0.1'", "'NaN'", "'-Infinity'", "'1e-45'" ],
    [ 'float8', "'-0'", "0.1::float8 + 0.2", "-'NaN'::float8", "5e-324" ],
    [ 'numeric', "'NaN'", "1.00", "1.0", "'1e-130'", "'-Infinity'" ],
    [ 'numeric(10,2)', "1.005" ], [ 'money', "'1234.56'" ],
    [ 'text', "''", "'a,\"b\\c('", "E'tab\\tnew\\nline'", "'ü€\U+1F600'" ],
    [ 'varchar(20)', "'trailing '" ], [ 'char(7)', "'ab '", "''" ], [ 'name', "'a name'" ],
    [ '"char"', "'x'" ], [ 'bytea', "'\\x'", "'\\x00ff5c27'" ],
    [ 'date', "'infinity'", "'4713-01-01 BC'" ], [ 'time', "'24:00:00'" ],
    [ 'timetz', "'12:00+05:30'" ], [ 'timestamp', "'294276-12-31 23:59:59.999999'" ],
    [ 'timestamptz', "'-infinity'", "'2026-03-29 02:30:00.000001 Europe/Berlin'" ],
    [ 'interval', "'1 mon -3 days 04:05:06.000007'", "'-1 year'" ],
    [ 'json', "'{\"a\" : 1, \"a\":2}'" ], [ 'jsonb', "'{\"b\":1.50,\"a\":[null]}'" ],
    [ 'xml', "'<a b=\"c\">x</a>'" ], [ 'uuid', "'6f9619ff-8b86-d011-b42d-00c04fc964ff'" ],
    [ 'inet', "'::1/64'", "'10.0.0.1'" ], [ 'cidr', "'10.0.0.0/8'" ],
    [ 'macaddr8', "'08:00:2b:01:02:03:04:05'" ], [ 'bit(5)', "'10101'" ], [ 'varbit', "'1'" ],
    [ 'point', "'(1.1,0.30000000000000004)'" ], [ 'path', "'[(0,0),(1,1.1)]'" ],
    [ 'int[]', "'[0:1]={1,NULL}'", "'{}'", "'{{1,2},{3,4}}'" ],
    [ 'text[]', "'{NULL,\"NULL\",\"a,b\",\"\"}'" ], [ 'float8[]', "'{NaN,-Infinity,0.1}'" ],
    [ 'int4range', "'empty'", "'[1,)'" ], [ 'datemultirange', "'{[2020-01-01,2020-02-01)}'" ],
    [ 'tsvector', "'a:1A b:2'" ], [ 'tsquery', "'a & !b'" ], [ 'pg_lsn', "'16/B374D848'" ],
    [ 'xid8', "'18446744073709551615'" ], [ 'regclass', "'pg_class'", "'t.mood_table'" ],
    [ 't.mood', "'it''s \"\\'" ], [ 't.pair', "'(1,\"a,b\",\"{1.5,NULL}\")'", "'(,,)'" ],
    [ 't.pair[]', "'{\"(1,,)\"}'" ], [ 't.short', "'q'", "''" ], [ 't.bytes', "'\\x00'" ],
    [ 't.ratio', "0.1" ], [ 't.tags', "'{a}'" ],);
my $schema = <<'SQL';
CREATE SCHEMA t; SET search_path = public; SET TimeZone = 'UTC';
CREATE TYPE t.mood AS ENUM ('it''s "\'); CREATE TABLE t.mood_table (id int PRIMARY KEY);
CREATE TYPE t.pair AS (x int, y text, z float8[]);
CREATE DOMAIN t.text1 AS text; CREATE DOMAIN t.short AS t.text1 CHECK (length(VALUE) < 5);
CREATE DOMAIN t.bytes AS bytea; CREATE DOMAIN t.ratio AS float8; CREATE DOMAIN t.tags AS text[];
SQL
my @columns = map { "v$_ $types[$_][0]" } 0 .. $#types;
$schema .= 'CREATE TABLE t.types (id int PRIMARY KEY, ' . join(', ', @columns) . ");\n";
for my $row (0 .. 4) {
    my @values = map { $row > 0 && defined $_->[$row] ? "($_->[$row])::$_->[0]" : 'NULL' } @types;
    s/\\U\+1F600/\xf0\x9f\x98\x80/ for @values;
    $schema .= "INSERT INTO t.types VALUES ($row, " . join(', ', @values) . ");\n";
}
$schema .= "CREATE TABLE t.gap_$_ (id int PRIMARY KEY, v numeric); INSERT INTO t.gap_$_ VALUES (1, 1.50), (2, NULL);\n"
    for 0 .. 4;
$schema .= <<'SQL';
CREATE TABLE t."Odd ""T \ ' %s" (id int PRIMARY KEY, "Ü ""c" text, "a.b" int, "t" text, "ROW" int);
INSERT INTO t."Odd ""T \ ' %s" VALUES (1, 'x', 1, 't', 3);
CREATE TABLE t.no_columns (); INSERT INTO t.no_columns SELECT FROM generate_series(1, 3);
CREATE TABLE t.parent (id int PRIMARY KEY, v text);
CREATE TABLE t.child (more int, PRIMARY KEY (id)) INHERITS (t.parent);
INSERT INTO t.parent VALUES (1, 'p'); INSERT INTO t.child VALUES (2, 'c', 5), (3, 'c', NULL);
CREATE TABLE t.dropped (gone int, id int PRIMARY KEY, v text,
    g int GENERATED ALWAYS AS (id * 2) STORED);
INSERT INTO t.dropped VALUES (1, 1, 'v'); ALTER TABLE t.dropped DROP gone;
INSERT INTO t.dropped VALUES (2, NULL);
CREATE TABLE t.big (id int PRIMARY KEY, a text, b char(8), n numeric, at timestamptz);
INSERT INTO t.big SELECT g, CASE WHEN g % 3 > 0 THEN md5(g::text) END, g, g / 7.0,
    timestamptz 'epoch' + g * interval '1.000001 s' FROM generate_series(1, 200000) g;
DO $$ BEGIN EXECUTE (SELECT 'CREATE TABLE t.wide (id int PRIMARY KEY, '
    || string_agg(format('c%s text', g), ', ') || ')' FROM generate_series(1, 1599) g); END $$;
INSERT INTO t.wide (id, c1, c2, c1599) VALUES (1, 'a', NULL, 'z'), (2, NULL, 'a', '');
SQL
$pair->source_sql($schema);
$pair->start(
    plugin  => 'pgoutput',
    options => { insert_only_tables => ['t.no_columns'] });
$pair->wait_stage('streaming', 180);
$pair->set_endpos;
$pair->wait_stage('done');

sub compared {
    my ($columns, $arguments, $settings) = @_;
    return $pair->target_sql(($settings // '')
            . "SELECT $columns FROM livemigrate.compare_data(" . ($arguments // '') . ')');
}

my $not_equal = "coalesce(string_agg(relation, ',' ORDER BY relation) FILTER (WHERE NOT equal), '')";

is(compared($not_equal), '', 'T V03 every type and shape is equal');
is(compared('count(*)'), 14, 'each table is compared');
is(compared('source_rows, target_rows, equal', "tables => '{t.no_columns}'"),
    '3|3|t', 'C12 a table without columns');
is(compared('source_rows', "tables => '{t.parent}'"), '1', 'C10 a parent without its children');
is(compared('source_rows', "tables => '{t.wide}'"),   '2', 'C12 1600 columns');

# --- settings on either side
my @hostile = (
    "bytea_output = 'escape'", "DateStyle = 'SQL, DMY'", "IntervalStyle = 'sql_standard'",
    'extra_float_digits = -5', "TimeZone = 'Asia/Kathmandu'", "xmloption = 'document'",
    "search_path = t, pg_catalog", 'quote_all_identifiers = on', "client_encoding = 'LATIN1'");
my $hostile = join '', map { "SET $_; " } @hostile;
my @shown   = map { /^(\w+)/ } @hostile;
my $shown   = join ', ', map { "current_setting('$_')" } @shown;
my $before  = $pair->target_sql("$hostile SELECT $shown");
is(compared("$not_equal || '/'", '', $hostile), '/', 'V03 settings of the session do not matter');
is( $pair->target_sql("$hostile SELECT FROM livemigrate.compare_data(); SELECT $shown") =~ s/^\s+//r,
    $before,
    'and are as before afterwards');
$pair->source_sql("ALTER DATABASE app SET $_")
    for "bytea_output = 'escape'", "DateStyle = 'SQL, DMY'", 'quote_all_identifiers = on';
is(compared($not_equal), '', 'V03 nor do those of the source');

my $parallel = join '', map { "SET $_ = 0; " }
    qw(min_parallel_table_scan_size parallel_setup_cost parallel_tuple_cost);
my $figures = "source_checksum, target_checksum, source_rows, equal";
my $plain   = compared($figures, "tables => '{t.big}'", 'SET max_parallel_workers_per_gather = 0;');
like($plain, qr/^(-?\d+)\|\1\|200000\|t$/, 'a checksum is a number');
is(compared($figures, "tables => '{t.big}'", $parallel), $plain, 'parallel query makes no difference');

# --- what one side lacks
$pair->target_sql(
    'ALTER TABLE t.gap_0 ADD extra int; ALTER TABLE t.gap_1 DROP v; DROP TABLE t.gap_2;
     ALTER TABLE t.gap_3 ADD w numeric; UPDATE t.gap_3 SET w = v; ALTER TABLE t.gap_3 DROP v;
     ALTER TABLE t.gap_3 RENAME w TO v;
     ALTER TABLE t.gap_4 ALTER v TYPE text; ALTER TABLE t.dropped DROP g');
my ($rc, $out, $err) = $pair->target->psql('app',
    'SELECT relation, source_rows, target_rows FROM livemigrate.compare_data() WHERE NOT equal'
        . ' ORDER BY relation');
is($out,
    "t.dropped|2|2\nt.gap_0|2|2\nt.gap_1|2|2\nt.gap_2|2|",
    'missing tables and columns are differences; the order of columns and a type with the same text are none');
like($err, qr/t\.gap_0.*"extra" on the source/, 'the missing column of the source is named');
like($err, qr/t\.gap_1.*"v" on the target/,     'the missing column of the target is named');
like($err, qr/t\.gap_2.*does not exist on the target/, 'the missing table is named');

# --- errors
$pair->source_sql(
    'CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA t TO reader;
     GRANT SELECT ON ALL TABLES IN SCHEMA t TO reader; REVOKE SELECT ON t.big FROM reader');
my $own_conninfo = $pair->target_sql('SELECT source FROM livemigrate.migration');
my $as_reader    = LiveMigrate::Test::quote_literal($pair->conninfo(user => 'reader'));
$pair->target_sql("UPDATE livemigrate.migration SET source = $as_reader");
my $denied = $pair->assert_error(
    'SELECT * FROM livemigrate.compare_data()',
    'no right to read on the source',
    sqlstate => qr/42501/,
    bare     => 1);
like($denied->{hint}, qr/GRANT SELECT ON "t"\."big" TO "reader";/, 'the hint can be run');
$pair->target_sql('UPDATE livemigrate.migration SET source = '
        . LiveMigrate::Test::quote_literal($own_conninfo));

# Whoever compares is told whose lock is waited for, when the tables are planned or read.
my $locker = $pair->session($pair->source);
my $holder = $locker->query_safe('SELECT pg_backend_pid()');
$locker->query_safe('BEGIN; LOCK TABLE t.gap_0 IN ACCESS EXCLUSIVE MODE');
my $session = $pair->target->background_psql('app', on_error_stop => 0);
$session->query_until(qr/begins/, "\\echo begins\nSET log_min_messages = notice;"
        . " SELECT count(*) FROM livemigrate.compare_data(tables => '{t.gap_0}');\n");
ok( $pair->poll(sub { PostgreSQL::Test::Utils::slurp_file($pair->target->logfile) =~
        /NOTICE:  comparing waits for a lock on the source: held by process $holder \(\w+, since [\d:]+\)/ }),
    'a lock on the source is told');
$pair->end_session($locker);
eval { $session->quit };

my $blocker = $pair->lock_table($pair->target, 't.big');
($rc, $out, $err) = $pair->target->psql('app',
    "$hostile SET statement_timeout = '500ms';\nSELECT * FROM livemigrate.compare_data();\n"
        . "SET statement_timeout = 0; SELECT $shown;", on_error_stop => 0);
$pair->end_session($blocker);
like($err, qr/statement timeout/, 'a comparison can be cancelled');
is($out, $before, 'and leaves the settings as they were');
ok( $pair->source->poll_query_until('app',
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name = 'livemigrate'"),
    'no session stays behind on the source');
$pair->cleanup;

# --- V03 encodings: md5() of a server hashes its own bytes
my $latin = $pair->database('latin', encoding => 'LATIN1', target_encoding => 'UTF8');
$latin->source_sql(
    "SET client_encoding = 'UTF8';
     CREATE TABLE \"tä\" (id int PRIMARY KEY, \"cö\" text, b char(5), c bytea, a text[]);
     INSERT INTO \"tä\" VALUES (1, 'äöü', 'é', '\\xe4ff', '{ä,\"ö ü\"}'), (2, '', NULL, '', NULL);
     INSERT INTO \"tä\" SELECT g, 'ü' || g, 'ß' FROM generate_series(3, 1000) g");
$latin->start(plugin => 'pgoutput');
$latin->wait_stage('streaming', 180);
$latin->set_endpos;
$latin->wait_stage('done');
my $sql = 'SELECT relation, source_rows, target_rows, equal FROM livemigrate.compare_data()';
is($latin->target_sql($sql), 'public."tä"|1000|1000|t', 'V03 LATIN1 and UTF8 hold the same');
$latin->target_sql("UPDATE \"tä\" SET \"cö\" = 'äöu' WHERE id = 1");
is($latin->target_sql($sql), 'public."tä"|1000|1000|f', 'V02 one character differs');
is($latin->target_sql('SELECT count(*) FROM livemigrate.compare_schema()'),
    '0', 'V08 the schemas are the same in both encodings');
$latin->cleanup;
done_testing();
