# V group: compare_data finds one changed, one missing and one extra row, wherever they are, and
# says equal when nothing differs, whatever the settings of the two databases.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
$pair->create_ledger;
$pair->source_sql(<<'SQL');
CREATE SCHEMA "Odd ""schema";
CREATE TABLE "Odd ""schema"."t %s'" (id int PRIMARY KEY, v text);
INSERT INTO "Odd ""schema"."t %s'" VALUES (1, 'x');
CREATE TABLE no_key (a int, b json); INSERT INTO no_key VALUES (1, '{}'), (1, '{}'), (NULL, NULL);
CREATE TABLE floats (id int PRIMARY KEY, f float8, n numeric, i interval, t timestamptz, b bytea);
INSERT INTO floats VALUES (1, 'NaN', 'NaN', '1 mon -1 day', '2026-03-05 12:00+02', '\x00ff'),
    (2, 0.1::float8 + 0.2, 1.00, '1 day', 'infinity', '');
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (100) TO (200);
INSERT INTO part SELECT generate_series(1, 150);
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE nulls (id int PRIMARY KEY, a text, b text);
INSERT INTO nulls VALUES (1, NULL, 'x'), (2, '', 'x'), (3, 'a', 'bc');
SQL
$pair->start(options => { insert_only_tables => ['public.no_key'] });
$pair->wait_stage('streaming');
$pair->set_endpos;
$pair->wait_stage('done');

# V03: text images would differ under these; the comparison must not.
$pair->target_sql("ALTER DATABASE app SET $_")
    for "DateStyle = 'SQL, DMY'", "extra_float_digits = 0", "bytea_output = 'escape'",
    "IntervalStyle = 'sql_standard'", "TimeZone = 'Asia/Kathmandu'";

sub different {
    my ($arguments) = @_;
    return $pair->target_sql(
              "SELECT string_agg(relation, ',' ORDER BY relation) FROM livemigrate.compare_data("
            . ($arguments // '')
            . ') WHERE NOT equal');
}
is(different(), '', 'V01 V03 everything is equal');
my $all
    = $pair->target_sql(
    'SELECT count(*), count(source_rows), count(target_rows), count(source_checksum),
        count(target_checksum), count(equal) FROM livemigrate.compare_data()'
    );
like($all, qr/^(\d+)(\|\1){5}$/, 'every row is complete');
my ($tables) = split /\|/, $all;
cmp_ok($tables, '>=', 11, 'there is a row for each table');
is( $pair->target_sql(
        'SELECT source_rows, target_rows, source_checksum = target_checksum
            FROM livemigrate.compare_data() WHERE relation = \'ledger.bulk\''
    ),
    '50000|50000|t',
    'rows are counted');

# Each case spoils the target, is found, and is mended.
my @cases = (
    [   'V02 one changed row',
        'ledger.bulk',
        "UPDATE ledger.bulk SET filler = overlay(filler PLACING '#' FROM 5) WHERE id = 25000" ],
    [ 'a missing row', 'ledger.bulk', 'DELETE FROM ledger.bulk WHERE id = 50000' ],
    [ 'an extra row',  'ledger.bulk', "INSERT INTO ledger.bulk VALUES (-1, 'extra')" ],
    [   'two rows changed places',
        'ledger.bulk',
        "UPDATE ledger.bulk b SET filler = o.filler FROM ledger.bulk o WHERE b.id IN (1, 2)
            AND o.id = 3 - b.id"
    ],
    [ 'V04 a duplicate too many without key', 'no_key', "INSERT INTO no_key VALUES (1, '{}')" ],
    [   'V04 a different duplicate, same count',
        'no_key',
        'UPDATE no_key SET a = 2, b = NULL WHERE ctid = (SELECT min(ctid) FROM no_key WHERE a = 1)'
    ],
    [ 'NULL is not the empty string', 'nulls', "UPDATE nulls SET a = '' WHERE id = 1" ],
    [   'values move from one column to the next',
        'nulls',
        "UPDATE nulls SET a = 'ab', b = 'c' WHERE id = 3" ],
    [ 'V05 NaN is not NULL',           'floats', 'UPDATE floats SET f = NULL WHERE id = 1' ],
    [ 'V05 the last digit of a float', 'floats', 'UPDATE floats SET f = 0.3 WHERE id = 2' ],
    [   'V05 a timestamp by one microsecond',
        'floats', "UPDATE floats SET t = t + interval '1 microsecond' WHERE id = 1" ],
    [ 'a row in one partition',     'part_2', 'DELETE FROM part WHERE id = 150' ],
    [ 'an empty table that is not', 'empty',  'INSERT INTO empty VALUES (1)' ],
    [ 'an odd name',                't %s',   q{UPDATE "Odd ""schema"."t %s'" SET v = 'y'} ],);
for my $case (@cases) {
    my ($label, $relation, $spoil) = @$case;
    my $table = $relation =~ s/^\w+\.//r;
    $pair->target_sql($spoil);
    like(different(), qr/^[^,]*\Q$table\E[^,]*$/, "$label is found, and only there");
    # Back to the source's rows.
    my $quoted
        = $pair->target_sql(
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relname ~ '^\Q$table\E'
            AND relnamespace::regnamespace::text !~ '^pg_|livemigrate'"
        );
    my $rows = $pair->source->safe_psql('app', "COPY (SELECT * FROM $quoted) TO STDOUT");
    my $copy = length $rows ? "COPY $quoted FROM STDIN;\n$rows\n\\.\n" : '';
    $pair->target_sql(
        "BEGIN; SET session_replication_role = replica; DELETE FROM $quoted; ${copy}COMMIT");
}
is(different(),                             '', 'equal again');
is(different("tables => '{ledger.audit}'"), '', 'compare_data of some tables');
is( $pair->target_sql(
        "SELECT string_agg(relation, ',') FROM livemigrate.compare_data(tables =>
            '{ledger.account}')"
    ),
    'ledger.account',
    'only those are compared');
is($pair->target_sql("SELECT count(*) FROM livemigrate.compare_data(tables => '{ledger.*}')"),
    '5', 'patterns are taken');

# compare_schema sees what was changed on the target.
is($pair->target_sql('SELECT count(*) FROM livemigrate.compare_schema()'),
    '0', 'V08 compare_schema: equal') or
    diag $pair->target_sql('SELECT * FROM livemigrate.compare_schema()');
my %drift = (
    'an index is missing'   => [ 'DROP INDEX ledger.audit_tx_idx', qr/audit/ ],
    'a column type differs' =>
        [ 'ALTER TABLE ledger.account ALTER balance TYPE numeric', qr/account/ ],
    'a table is missing' => [ 'DROP TABLE public.empty', qr/empty/ ],
    'a default differs'  =>
        [ 'ALTER TABLE ledger.account ALTER version SET DEFAULT 5', qr/account/ ],
    'a foreign key is missing' =>
        [ 'ALTER TABLE ledger.audit DROP CONSTRAINT audit_account_fkey', qr/audit/ ]);
for my $label (sort keys %drift) {
    my ($sql, $object) = @{ $drift{$label} };
    my $found = $pair->target_sql(
        "BEGIN; $sql; SELECT string_agg(object, ',') FROM livemigrate.compare_schema(); ROLLBACK");
    like($found, $object, "V08 compare_schema: $label");
}
$pair->cleanup;
done_testing();
