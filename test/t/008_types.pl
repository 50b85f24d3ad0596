# T and D groups: every kind of value through the copy and through the stream (INSERT, UPDATE and
# DELETE), with both plugins, on servers whose settings would mangle text images.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

# One line a type: name | type | SQL expressions.  Each becomes a table (id, v) with a row for each
# value and one for NULL.  The names are the labels of hard-cases.md where there is one.
my $types = <<'TYPES';
boolean | boolean | true; false
D07 int2 | int2 | 0; -32768; 32767
D07 int4 | int4 | -2147483648; 2147483647
D07 int8 | int8 | -9223372036854775808; 9223372036854775807; 9007199254740993
D04 float4 | float4 | 'NaN'; 'Infinity'; '-Infinity'; 0.1; '-0'; 3.4028235e38; 1e-45
D04 float8 | float8 | 'NaN'; 'Infinity'; '-Infinity'; 0.1::float8 + 0.2; '-0'; 1.7976931348623157e308; 5e-324
D04 T04 numeric | numeric | 'NaN'; 'Infinity'; '-Infinity'; 1.00; 12345678901234567890123456789012345678.9; 1e-130; 1e400; -0.5
numeric(40,20) | numeric(40,20) | 1; -12345678901234567890.12345678901234567890; 'NaN'
T06 money | money | '12.34'; '-92233720368547758.08'; 1234567.89; -0.01; 0
T07 oid | oid | 0; 4294967295
T08 char type | "char" | 'a'; ''; '\377'
T08 name | name | 'x'; repeat('n', 63); ''
text | text | ''; 'a'; 'null'; 'NULL'; '\N'; '\.'; repeat('long ', 5000); 'true'; '{}'; '""'
D11 text, odd characters | text | E'q" b\\ nl\n cr\r tab\t'; E'\u0001\u001f\u007f'; E'\u2028\u2029\ufeff'; E'\U0001F600 \u00c4\u6f22'; E'\\u0000 \\ud800'; E'\b\f\v'; ''''; '$$ $1 %s'
varchar | varchar(10) | ''; 'abc  '; E'\u00e4\u00f6\u00fc'
T08 char(n) | char(5) | 'a'; ''; 'abcde'; E'\u00e4'
D06 bytea | bytea | ''; '\x00ff5c78'; decode(repeat('00ff5c', 5000), 'hex'); '\x5c7830'
T08 bit | bit(9) | B'101010101'; B'000000000'
T08 varbit | bit varying | B''; B'1'; repeat('10', 300)::bit varying
T03 date | date | 'infinity'; '-infinity'; '4713-01-01 BC'; '5874897-12-31'; '2026-02-28'
T03 time | time | '00:00'; '24:00'; '23:59:59.999999'
T03 timetz | timetz | '24:00-15:59:59'; '00:00+15:59:59'; '12:00:00.000001+02'
T03 timestamp | timestamp | 'infinity'; '-infinity'; '4713-01-01 BC'; '294276-12-31 23:59:59.999999'; '2026-11-22 10:11:12.000001'; '2026-03-05'
T03 timestamptz | timestamptz | 'infinity'; '-infinity'; '0044-03-15 12:00 BC'; '294276-12-31 23:59:59.999999+00'; '1883-11-18 12:03:57-04:56:02'; '2026-03-05 12:00+14'
T03 interval | interval | '1 mon -1 day +00:00:00.000001'; '-178000000 years'; '1 year -3 hours'; '-1 mon 2 days -3 hours'; '0'; '1 day'
uuid | uuid | '00000000-0000-0000-0000-000000000000'; 'ffffffff-ffff-ffff-ffff-ffffffffffff'
inet | inet | '10.0.0.1/8'; '::ffff:1.2.3.4'; 'fe80::1/64'; '1.2.3.4'
cidr | cidr | '10.0.0.0/8'; '::/0'
macaddr | macaddr | '08:00:2b:01:02:03'
T08 macaddr8 | macaddr8 | '08:00:2b:01:02:03:04:05'
T10 json | json | '{"a":1, "a" : 2 }'; '  [1,  null]'; '"\u0000\ud800"'; 'null'; '1e400'; E'"\\u2028\u2028"'
jsonb | jsonb | '{"a": {"b": [1, null, "x\"y"]}}'; 'null'; '"\ud83d\ude00"'; '1.00'; '[]'
jsonpath | jsonpath | '$.a[*] ? (@ > 1)'; 'strict $."b c"'
T10 xml | xml | '<a b="c">&lt;</a>'; 'text only'; '<?xml version="1.0"?><a/>'; '<a/><b/>'
point | point | '(1e-300,NaN)'; '(0.1,-0)'; '(Infinity,0)'
line | line | '{1,-1,0}'
lseg | lseg | '[(0,0),(1,0.1)]'
box | box | '(1,1),(0,0)'
path | path | '[(0,0),(1,1)]'; '((0,0),(1,1))'
polygon | polygon | '((0,0),(1,1),(1,0))'
circle | circle | '<(0,0),1.5>'
tsvector | tsvector | 'a:1A,2B ''b c'':3'; ''
tsquery | tsquery | 'a & !b | ''c d'':*A'; 'a <2> b'
T02 int4range | int4range | 'empty'; '(,)'; '[1,5)'; '[,0)'
T02 int8range | int8range | '[-9223372036854775808,0)'
T02 numrange | numrange | '(1.0,2.00]'; '[NaN,]'
T02 daterange | daterange | '[2026-01-01,infinity)'; '[2026-01-01,infinity]'
T02 tsrange | tsrange | '["2026-01-01 00:00","infinity"]'
T02 tstzrange | tstzrange | '["2026-01-01 00:00+02",)'; 'empty'
T02 int4multirange | int4multirange | '{}'; '{[1,3),[5,7)}'; '{(,)}'
T02 tstzmultirange | tstzmultirange | '{["2026-01-01 00:00+02","2026-01-02 00:00+02"),["2026-03-01",)}'
T02 own range | tt.textrange | '["a b","c,d"]'; '(,"""")'; 'empty'
T08 pg_lsn | pg_lsn | '0/0'; 'FFFFFFFF/FFFFFFFF'
T08 xid8 | xid8 | '0'; '18446744073709551615'
T08 pg_snapshot | pg_snapshot | '10:20:10,14,15'
T08 txid_snapshot | txid_snapshot | '10:20:10,14,15'
T07 regclass | regclass | 'pg_class'; 0
T07 regtype | regtype | 'int4'; 'tt.mood'
T01 enum | tt.mood | 'sad'; 'so so'; '"'; ''''; E'\u00e4'
T01 enum array | tt.mood[] | '{sad,"so so",NULL,"\""}'; '{}'
T01 composite | tt.pair | '(1,)'; '(,"a,b\"")'; '(,)'; ROW(1, NULL)
T01 nested composite | tt.nest | ROW(ROW(1, 'x'), ARRAY[ROW(2, NULL)::tt.pair, NULL], 'sad'); ROW(NULL, NULL, NULL)
T01 composite array | tt.pair[] | ARRAY[ROW(1, 'a "b"')::tt.pair, NULL]
T01 domain over int | tt.positive | 1; 2147483647
T01 domain over array | tt.short_list | '{1,2}'; '{}'
T01 domain over composite | tt.pair_domain | ROW(1, 'x')
T01 domain with a table in its check | tt.known | 'listed'
D06 domain over bytea | tt.bytes | '\x00ff'; ''
D06 bytea array | bytea[] | ARRAY['\x00ff'::bytea, '', NULL]
D04 domain over numeric | tt.amount | 'NaN'; 1.50
D04 numeric array | numeric[] | '{NaN,Infinity,1.00,NULL}'; '{}'
D04 float8 array | float8[] | '{NaN,-Infinity,0.1,5e-324}'
T09 int array | int[] | '[0:1]={1,2}'; '[-2:-1][3:4]={{1,2},{3,NULL}}'; '{}'; '{NULL}'; '{{1},{2}}'
T09 text array | text[] | '{NULL,"NULL","",a,"b c","{}",",","\"","\\"}'; '{{a,b},{c,d}}'
timestamptz array | timestamptz[] | '{infinity,"2026-01-01 00:00+00",NULL}'
jsonb array | jsonb[] | ARRAY['{"a": [1]}'::jsonb, NULL, '"x"']
interval array | interval[] | '{"1 mon -1 day","-00:00:01"}'
hstore array | tt.hstore[] | ARRAY['a=>"b c"'::tt.hstore]
D08 quoted type | "Odd Schema"."odd ""type" | 'a'; 'b"c'
D08 quoted type array | "Odd Schema"."odd ""type"[] | ARRAY['a', 'b"c']::"Odd Schema"."odd ""type"[]
T05 hstore | tt.hstore | 'a=>NULL,"b c"=>"d\"e"'; ''
T05 citext | tt.citext | 'AbC'
T05 ltree | tt.ltree | 'Top.Science'
T05 cube | tt.cube | '(0.1,2),(3,4)'
TYPES

my $setup = <<'SQL';
CREATE SCHEMA tt;
CREATE SCHEMA "Odd Schema";
CREATE EXTENSION hstore SCHEMA tt; CREATE EXTENSION citext SCHEMA tt;
CREATE EXTENSION ltree SCHEMA tt; CREATE EXTENSION cube SCHEMA tt;
CREATE TYPE tt.mood AS ENUM ('sad', 'so so', '"', '''', U&'\00e4');
CREATE TYPE tt.pair AS (a int, b text);
CREATE TYPE tt.nest AS (p tt.pair, list tt.pair[], m tt.mood);
CREATE TYPE tt.textrange AS RANGE (subtype = text, collation = "C");
CREATE TYPE "Odd Schema"."odd ""type" AS ENUM ('a', 'b"c');
CREATE DOMAIN tt.positive AS int CHECK (VALUE > 0);
CREATE DOMAIN tt.short_list AS int[] CHECK (cardinality(VALUE) < 5);
CREATE DOMAIN tt.pair_domain AS tt.pair CHECK ((VALUE).a IS DISTINCT FROM 99);
CREATE DOMAIN tt.bytes AS bytea;
CREATE DOMAIN tt.amount AS numeric;
CREATE TABLE tt.list (word text PRIMARY KEY); INSERT INTO tt.list VALUES ('listed');
CREATE FUNCTION tt.is_listed(text) RETURNS boolean STABLE LANGUAGE plpgsql
    AS $$BEGIN PERFORM FROM tt.list WHERE word = $1; RETURN true; END$$;
CREATE DOMAIN tt.known AS text CHECK (VALUE IS NULL OR tt.is_listed(VALUE));
SQL

# D05: text images as bad as settings can make them, for every session of both databases.
my @hostile = (
    "bytea_output = 'escape'",
    "DateStyle = 'SQL, DMY'",
    "IntervalStyle = 'sql_standard'",
    "TimeZone = 'Asia/Kathmandu'",
    "extra_float_digits = 0",
    "xmloption = 'document'",
    "standard_conforming_strings = off",
    "escape_string_warning = off",
    "search_path = 'tt'",
    "array_nulls = off",
    "statement_timeout = '10min'",
    "default_transaction_isolation = serializable");

my (@names, %type, %values);

sub add_types {
    for my $line (split /\n/, $_[0]) {
        my ($name, $type, $values) = split / +\| +/, $line, 3;
        push @names, $name;
        $type{$name}   = $type;
        $values{$name} = [ split(/; /, $values), 'NULL' ];
    }
    return;
}
add_types($types);

# With reference systems, and three and four dimensions; where the package is installed.
my $postgis = '';

sub add_postgis {
    my ($servers) = @_;
    my $there = "SELECT count(*) FROM pg_available_extensions WHERE name = 'postgis'";
  SKIP: {
        skip 'T05 PostGIS is not installed (Debian: postgresql-*-postgis-3)', 1
          if grep { !$servers->$_->safe_psql('postgres', $there) } qw(source target);
        pass('T05 PostGIS is installed');
        $postgis = 'CREATE EXTENSION postgis SCHEMA tt;';
        add_types(<<'TYPES');
T05 geometry | tt.geometry | 'SRID=4326;POINT(0.1 -0)'; 'POINT Z (1 2 3)'; 'SRID=3857;LINESTRING M (0 0 1,1e-300 1 2)'; 'POLYGON ZM ((0 0 1 2,1 0 1 2,1 1 1 2,0 0 1 2))'; 'POINT EMPTY'; 'SRID=4326;GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))'
T05 geometry with a modifier | tt.geometry(PointZM,4326) | 'SRID=4326;POINT ZM (1 2 3 4)'
T05 geometry array | tt.geometry[] | ARRAY['SRID=4326;POINT(1 2)'::tt.geometry, NULL]
T05 geography | tt.geography | 'POINT(-110 30)'; 'SRID=4267;POINT Z (1 2 3)'
TYPES
    }
    return;
}

sub table_of { my ($name) = @_; return 'tt.' . LiveMigrate::Test::quote_identifier($name) }

# The same values come as INSERT in the stream; UPDATE moves each row to the next value; DELETE goes
# through the key.  A second column must survive every UPDATE untouched.
sub stream_sql {
    my ($name) = @_;
    my ($table, $type, @values) = (table_of($name), $type{$name}, @{ $values{$name} });
    my @sql = map {"INSERT INTO $table VALUES (100 + $_, CAST($values[$_] AS $type), 'streamed')"}
        0 .. $#values;
    push @sql, map {
        my $next = $values[ ($_ + 1) % @values ];
        ("UPDATE $table SET v = CAST($next AS $type) WHERE id = $_")
    } 0 .. $#values;
    push @sql, "INSERT INTO $table VALUES (200, NULL, 'gone')", "DELETE FROM $table WHERE id = 200",
        "DELETE FROM $table WHERE id = 101", "UPDATE $table SET note = note || '!' WHERE id = 100";
    return join ";\n", @sql, '';
}

# Binary images of all values, where neither arrays of our types nor composites put type numbers in.
sub binary_images {
    my ($pair, $side) = @_;
    my %image;
    my $functions = $pair->source_sql(<<'SQL');
SELECT c.relname || E'\t' || t.typsend::oid::regproc FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'v' JOIN pg_type t ON t.oid = a.atttypid
WHERE c.relnamespace = 'tt'::regnamespace AND c.relkind = 'r' AND t.typsend <> 0
    AND t.typsend <> 'record_send'::regproc AND t.typname !~ '^reg'
    AND NOT (t.typsend = 'array_send'::regproc AND (t.typelem >= 16384 OR t.typbasetype <> 0))
ORDER BY c.relname
SQL
    my @queries = map {
        my ($relation, $send) = split /\t/;
        sprintf "SELECT %s, id, encode(%s(v), 'hex') FROM %s ORDER BY id",
            LiveMigrate::Test::quote_literal($relation), $send,
            table_of($relation)
    } split /\n/, $functions;
    return $pair->$side->safe_psql($pair->dbname,
        join ";\n",
        "SET standard_conforming_strings = on; SET bytea_output = 'hex'; SET search_path = tt",
        @queries);
}

# T06: money that is written without decimals here, and with a comma there.
sub monetary_locales {
    if (my $missing = LiveMigrate::Test::make_locales(qw(ja_JP de_DE))) {
      SKIP: { skip "T06 no definition of the locale $missing (Debian: locales)", 1 }
        return;
    }
    return (source_conf => "lc_monetary = 'ja_JP.UTF-8'\n", target_conf => "lc_monetary = 'de_DE.UTF-8'\n");
}

# An amount in definitions, which the migration reads and writes as text, too.
my $amounts = <<'SQL';
CREATE TABLE tt."T06 amounts" (id int PRIMARY KEY, v money DEFAULT '1234', CHECK (v > '-5678'));
INSERT INTO tt."T06 amounts" VALUES (1);
SQL

my $servers  = LiveMigrate::Test->new(dbname => 'unused', monetary_locales());
my $lossless = $servers->wal2json_is_lossless;
add_postgis($servers);

sub test_plugin {
    my ($plugin, $encoding) = @_;
    my $label = $plugin . ($encoding ? " from $encoding" : '');
    my $pair  = $servers->database(lc "types_$plugin" . ($encoding // ''), encoding => $encoding);
    my @used  = $encoding ? (qw(text varchar), 'T08 char(n)', 'T01 enum', 'T05 hstore') : @names;

    $pair->source_sql($setup . ($encoding ? '' : $postgis . $amounts));
    $pair->source_sql(
        join '',
        map {
            my ($table, $type, @values) = (table_of($_), $type{$_}, @{ $values{$_} });
            (   "CREATE TABLE $table (id int PRIMARY KEY, v $type, note text NOT NULL);\n",
                map {"INSERT INTO $table VALUES ($_, CAST($values[$_] AS $type), 'copied');\n"}
                    0 .. $#values)
        } @used);
    for my $setting (@hostile) {
        $servers->$_->safe_psql('postgres', 'ALTER DATABASE ' . $pair->dbname . " SET $setting")
            for qw(source target);
    }

    # D03: a plugin that turns NaN into null is refused for the tables that could hold one.
    my @excluded;
    if ($plugin eq 'wal2json' && !$lossless) {
        @excluded = grep {/float|numeric/} @used;
    }
    if (@excluded) {
        my @refused = $pair->check_errors(plugin => 'wal2json');
        for my $name ('D04 float4', 'D04 float8', 'D04 T04 numeric') {
            ok(scalar(grep { index($_, $name) >= 0 } @refused), "D03 $label: check refuses $name");
        }
        $pair->assert_error($pair->start_sql(plugin => 'wal2json'), "D03 $label: start refuses");
    }
    my %excluded = map { $_ => 1 } @excluded;
    @used = grep { !$excluded{$_} } @used;

    $pair->start(plugin => $plugin, exclude_tables => [ map {"tt.$_"} @excluded ]);
    $pair->wait_stage('streaming');
    $pair->source_sql(
        join "\n",
        'SET standard_conforming_strings = on; SET array_nulls = on; SET xmloption = content;',
        map { stream_sql($_) } @used);
    # A serializable transaction would fail if the coordinator changed the migration's row meanwhile.
    $pair->target_sql("SET default_transaction_isolation = 'read committed'; SELECT livemigrate.set_endpos()");
    $pair->wait_stage('done');

    my @statements = $pair->fingerprint_statements;
    for my $name (@used) {
        my ($statement) = grep { index($_, "'name', 'tt.$name'") >= 0 } @statements;
        my ($want, $got)
            = map { (values %{ $pair->fingerprint($pair->$_, $statement) })[0] } qw(source target);
        is($got, $want, "$label: $name") or diag join "\n", $pair->first_differences($statement);
    }
    if (!@excluded && !$encoding) {
        my ($want, $got) = map { binary_images($pair, $_) } qw(source target);
        cmp_ok(length $want, '>', 10_000, "$label: binary images to compare");
        ok($got eq $want, "$label: binary images are equal");
        $pair->target_sql('UPDATE tt."T06 amounts" SET v = DEFAULT');
        my $amount = q{SET lc_monetary = 'C'; SELECT v FROM tt."T06 amounts"};
        is($pair->target_sql($amount), $pair->source_sql($amount), "T06 $label: an amount in a default");
    }
    $pair->cleanup;
}

test_plugin('pgoutput');
test_plugin('wal2json');
test_plugin('pgoutput', 'LATIN1');    # D09
test_plugin('wal2json', 'LATIN1');

# D10: bytes of an unknown encoding are refused, not guessed.
my $ascii = $servers->database('ascii', encoding => 'SQL_ASCII');
$ascii->source_sql(
    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, E'\\xff')");
$ascii->assert_error($ascii->start_sql, 'D10 SQL_ASCII is refused');

$servers->assert_nothing_left('nothing left');
done_testing();
