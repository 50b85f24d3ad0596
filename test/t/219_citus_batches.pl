# Batches of changes to Citus's tables: a statement for the rows of each shard, over arrays.  Values of every
# kind arrive as they are, and whatever a batch cannot do is done change by change.  Skipped where Citus is
# not installed for the server under test.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Citus;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Citus->new_or_skip(worker_nodes => 2);
my ($node) = $pair->worker_nodes;
my @tables = qw(thing place named noted listed);

my $schema = <<'SQL';
CREATE TYPE mood AS ENUM ('low', 'so so', 'high');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(5) CHECK (value <> 'no');
CREATE DOMAIN numbers AS int[];
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE thing (tenant int NOT NULL, id bigint GENERATED ALWAYS AS IDENTITY, small smallint, yes boolean,
    real real, double float8, amount numeric(12, 3), any_amount numeric, text text, short varchar(7),
    fixed char(6), name name, bytes bytea, bits bit(3), more_bits varbit(9), day date, at timestamptz, plain timestamp,
    clock time, zoned timetz, span interval, uuid uuid, json json, jsonb jsonb, xml text, host inet, net cidr,
    mac macaddr, place point, box box, range int4range, many int8multirange, words tsvector, mood mood, pair pair,
    domain short, numbers numbers, ints int[], texts text[], moods mood[], pairs pair[], stamps timestamptz[],
    "Odd ""name" text, twice int GENERATED ALWAYS AS (small * 2) STORED, folded text COLLATE folded,
    PRIMARY KEY (tenant, id));
CREATE TABLE place (code varchar(8) COLLATE "C" PRIMARY KEY, seats int, body text);
CREATE TABLE named (mood mood NOT NULL, key text NOT NULL, value text, PRIMARY KEY (mood, key));
CREATE TABLE noted (tenant int NOT NULL, id int NOT NULL, body text);
CREATE UNIQUE INDEX noted_id ON noted (id); ALTER TABLE noted REPLICA IDENTITY USING INDEX noted_id;
CREATE TABLE listed (id int PRIMARY KEY, body text);
CREATE FUNCTION fill(tenants int, things int) RETURNS void LANGUAGE sql AS $$
    INSERT INTO thing (tenant, small, yes, real, double, amount, any_amount, text, short, fixed, name, bytes,
        bits, more_bits, day, at, plain, clock, zoned, span, uuid, json, jsonb, xml, host, net, mac, place, box, range,
        many, words, mood, pair, domain, numbers, ints, texts, moods, pairs, stamps, "Odd ""name", folded)
    SELECT g % tenants, g, g % 2 = 0, CASE g % 5 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE g / 7.0 END,
        1e-300 * g / 3, g / 3.0, CASE g % 9 WHEN 0 THEN 'NaN' WHEN 1 THEN NULL ELSE 1.100 * g END,
        CASE g % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'{"a\\,b\n\t' || g ELSE 'NULL' END,
        'sh' || g, 'f' || g, 'n' || g, decode(md5(g::text), 'hex') || '\x005c27', (g % 8)::bit(3), B'101',
        CASE g % 3 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 BC' ELSE date '2024-02-29' + g END,
        CASE g % 3 WHEN 0 THEN '-infinity' ELSE timestamptz '1999-12-31 23:59:59.999999-11' + g * interval '1 hour' END,
        timestamp '2024-03-31 02:30' + g * interval '1 minute', '24:00:00', '23:59:59.5+14:30',
        interval '-1 mon 3 days -00:00:00.000001' * g, md5(g::text)::uuid, '{"a" : [1,  2], "a": null}',
        jsonb_build_object('n', g, 't', 'ü"' || g), '<a/>', '10.0.0.1/24', '10.0.0.0/8', '08:00:2b:01:02:03',
        point(g, -0.0), box(point(1, 2), point(3, g)), int4range(g, g + 5), int8multirange(int8range(1, 2), int8range(g + 5, NULL)),
        to_tsvector('simple', 'a b''s c' || g), (ARRAY['low', 'so so', 'high']::mood[])[1 + g % 3],
        CASE WHEN g % 2 = 0 THEN ROW(g, NULL)::pair ELSE ROW(NULL, 'x,"(' || g)::pair END, 'dom' || g % 10,
        ARRAY[[g, 2], [NULL, 4]], CASE g % 3 WHEN 0 THEN '{}' WHEN 1 THEN NULL ELSE '[2:3]={7,8}' END::int[],
        ARRAY['', 'NULL', NULL, '"', '\', '{a,b}'], ARRAY['high', NULL]::mood[], ARRAY[ROW(g, '"')::pair, NULL],
        ARRAY[timestamptz '2024-01-01' + g * interval '1 s'], CASE WHEN g % 2 = 0 THEN 'odd' END, 'Fold' || g
    FROM generate_series(1, things) g;
$$;
SELECT fill(6, 160);
INSERT INTO place SELECT 'c ' || g, g, NULL FROM generate_series(1, 300) g;
INSERT INTO named SELECT m, 'k' || g, 'v' FROM generate_series(1, 40) g, unnest(enum_range(NULL::mood)) m;
INSERT INTO noted SELECT g % 5, g, 'n' FROM generate_series(1, 60) g;
INSERT INTO listed SELECT g, 'l' FROM generate_series(1, 60) g;
SQL

# How many statements over arrays the first node has executed: each for one shard, since what Citus sends to
# several it keeps as an intermediate result.
sub batches {
    my ($command) = @_;
    return scalar(() = slurp_file($node->logfile) =~ /\b$command[^\n]*\bunnest\(/gi);
}

for my $plugin ($pair->wal2json_is_lossless ? qw(pgoutput wal2json) : qw(pgoutput)) {
    my $one = $plugin eq 'pgoutput' ? $pair : $pair->database($plugin);
    $one->source_sql($schema);
    $one->start(plugin => $plugin, pause_after => ['schema']);
    $one->wait_state('paused');
    $one->target_sql("SELECT create_distributed_table('thing', 'tenant');
        SELECT create_distributed_table('place', 'code'); SELECT create_distributed_table('named', 'mood');
        SELECT create_distributed_table('noted', 'tenant'); SELECT create_reference_table('listed')");
    $one->resume([]);
    $one->wait_state('failed');
    $one->target_sql($one->status_row->{hint}); # the key of noted gets the tenant: on the target alone
    $one->wait_stage('streaming', 180);
    my @commands = map { my $table = $_; map { "$_ public\\.${table}_" } 'UPDATE', 'DELETE FROM' } qw(thing place listed);
    my %before = map { $_ => batches($_) } @commands;
    # One batch, of one transaction: nothing of it is applied before its commit.
    $one->source_sql(<<'SQL');
BEGIN; SELECT fill(4, 200);
UPDATE thing SET text = text || '+', amount = -amount, ints = NULL, pair = ROW(id, 'new'), at = at + interval '1 us'
    WHERE id <= 160;
UPDATE thing SET bytes = NULL, moods = '{low}', "Odd ""name" = '', double = 'Infinity' WHERE id % 2 = 1;
DELETE FROM thing WHERE id BETWEEN 10 AND 55;
UPDATE place SET seats = -seats, code = code; DELETE FROM place WHERE seats < -200;
INSERT INTO place SELECT 'd ' || g, g, repeat('x', 3000) FROM generate_series(1, 50) g;
UPDATE named SET value = key WHERE mood <> 'low'; DELETE FROM named WHERE mood = 'low';
INSERT INTO named SELECT 'low', 'new ' || g, NULL FROM generate_series(1, 30) g;
UPDATE noted SET body = body || '+' WHERE id < 40; DELETE FROM noted WHERE id > 45;
INSERT INTO noted SELECT g % 3, g, NULL FROM generate_series(100, 130) g;
UPDATE listed SET body = 'b' || id WHERE id < 30; DELETE FROM listed WHERE id > 30;
INSERT INTO listed SELECT g, g::text FROM generate_series(100, 130) g; COMMIT;
SQL
    my $equal = sub {
        my ($label) = @_;
        my $end = $one->source_sql('SELECT pg_current_wal_lsn()');
        ok($one->poll(sub {
            $one->target_sql("SELECT applied_lsn >= '$end' FROM livemigrate.migration_status()") eq 't'
        }), "$plugin, $label: applied") or $one->diagnose($label);
        $one->assert_equal_rows("$plugin, $label", @tables);
    };
    my $in_order = sub {
        return $one->target_sql("SELECT value::int FROM livemigrate.metrics
            WHERE name = 'livemigrate_changes_in_source_order_total'");
    };
    $equal->('one batch');
    is($in_order->(), '0', "$plugin: nothing had to be done in the source's order");
    cmp_ok(batches($_), '>', $before{$_}, "$plugin: $_ over arrays") for @commands;

    # A value that a unique key holds is passed on; rows move to other shards; few rows among many.
    $one->source_sql(<<'SQL');
BEGIN; UPDATE listed SET id = id + 1000 WHERE id < 20; UPDATE listed SET id = id - 1001 WHERE id > 1000;
UPDATE thing SET tenant = tenant + 10 WHERE id % 5 = 0; UPDATE noted SET tenant = 7 WHERE id % 4 = 0;
SELECT fill(3, 40); COMMIT;
BEGIN; SELECT fill(50, 60); UPDATE thing SET texts = '{}' WHERE id IN (1, 2, 3); DELETE FROM thing WHERE id = 4;
UPDATE place SET code = 'e' || seats WHERE seats < 0; COMMIT;
SQL
    $equal->('keys that move');

    # A row that was there first: the conflict is named, and the batch is not lost with it.
    my ($free) = $one->source_sql('SELECT max(id) + 1 FROM listed');
    $one->target_sql("INSERT INTO listed VALUES ($free, 'in the way')");
    $one->source_sql("INSERT INTO listed SELECT g, 'next' FROM generate_series($free - 0, $free + 20) g");
    $one->wait_state('failed');
    like($one->status_row->{message}, qr/duplicate key/, "$plugin: a conflict");
    like($one->target_sql('SELECT key FROM livemigrate.conflicts'), qr/=\($free\)/, '... names its row');
    $one->target_sql("DELETE FROM listed WHERE id = $free");
    $one->resume;
    $equal->('behind a conflict');
    $one->set_endpos;
    $one->wait_stage('done', 180);
    is($one->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
            WHERE NOT equal'), '', "$plugin: compare_data finds no difference");
    $one->cleanup;
}

done_testing();
