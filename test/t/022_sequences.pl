# E09 and E10: sequences of every kind stand on the target where they stand on the source; one that
# is ahead on the target is kept; what cannot be read or set is an error before anything is set.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
$pair->source_sql(<<'SQL');
CREATE ROLE mover LOGIN SUPERUSER;
CREATE SCHEMA "Odd ""S"; CREATE SCHEMA s;
CREATE SEQUENCE s.never_called;
CREATE SEQUENCE s.set_not_called;           SELECT setval('s.set_not_called', 42, false);
CREATE SEQUENCE s.down INCREMENT -3 MINVALUE -1000 MAXVALUE 10 START 10;
CREATE SEQUENCE s.exhausted MAXVALUE 2;     SELECT nextval('s.exhausted'), nextval('s.exhausted');
CREATE SEQUENCE s.round AS smallint MAXVALUE 3 CYCLE;
CREATE SEQUENCE s.largest;                  SELECT setval('s.largest', 9223372036854775807);
CREATE SEQUENCE s.cached CACHE 1000;        SELECT nextval('s.cached');
CREATE SEQUENCE s.ahead;                    CREATE SEQUENCE s.ahead_down INCREMENT -1;
CREATE UNLOGGED SEQUENCE s.unlogged;        SELECT nextval('s.unlogged');
CREATE SEQUENCE "Odd ""S"."it's \ a %s ""seq"" ü"; SELECT nextval('"Odd ""S"."it''s \ a %s ""seq"" ü"');
CREATE TABLE s.owned (id serial PRIMARY KEY, n int GENERATED ALWAYS AS IDENTITY (START 100 INCREMENT 10));
CREATE TABLE s.left_out (id serial PRIMARY KEY);
INSERT INTO s.owned DEFAULT VALUES; INSERT INTO s.left_out DEFAULT VALUES;
DO $$ BEGIN FOR i IN 1..250 LOOP
    EXECUTE format('CREATE SEQUENCE s.many_%s', i); PERFORM setval('s.many_' || i, i); END LOOP; END $$;
SQL
$pair->start(
    plugin         => 'pgoutput',
    source         => $pair->conninfo(user => 'mover'),
    exclude_tables => ['s.left_out']);
$pair->wait_stage('streaming');

# name => "last_value is_called"
sub states {
    my ($node) = @_;
    my $statements = $node->safe_psql('app',
        "SELECT format('SELECT %L, last_value, is_called FROM %I.%I;', schemaname || '.'
            || sequencename, schemaname, sequencename) FROM pg_sequences
            WHERE schemaname <> 'livemigrate' AND sequencename !~ '^left_out'");
    return { map { /^(.*)\|(.*)\|(.*)$/ ? ($1 => "$2 $3") : () }
            split /\n/, $node->safe_psql('app', $statements) };
}
sub assert_same_sequences {
    my ($label) = @_;
    is_deeply(states($pair->target), states($pair->source), $label);
}

my $sequences = 12 + 1 + 250;    # with the serial's and the identity's
is($pair->call('copy_sequences'), $sequences, 'copy_sequences returns how many');
assert_same_sequences('E09 every kind of sequence');
is($pair->target_sql("SELECT nextval('s.set_not_called'), nextval('s.down')"),
    '42|10', 'E09 is_called = false is kept');
$pair->target_sql("SELECT setval('s.set_not_called', 42, false), setval('s.down', 10, false)");
is($pair->target_error("SELECT nextval('s.exhausted')")->{sqlstate},
    '2200H', 'E09 an exhausted sequence is exhausted');

# Later calls on the source; the cycling one comes round.
$pair->source_sql(
    "SELECT nextval('s.down'), nextval('s.down'), nextval('s.round'), nextval('s.never_called');
     INSERT INTO s.owned DEFAULT VALUES; SELECT setval('s.set_not_called', 42)");
is($pair->call('copy_sequences'), $sequences, 'copy_sequences again');
assert_same_sequences('moved on');
$pair->source_sql("SELECT nextval('s.round'), nextval('s.round'), nextval('s.round')");
is($pair->source_sql('SELECT last_value FROM s.round'), '1', 'a sequence has cycled');
$pair->call('copy_sequences');
assert_same_sequences('E09 CYCLE: set back as on the source');

# E10
$pair->source_sql("SELECT nextval('s.ahead'), nextval('s.ahead_down')");
$pair->target_sql("SELECT setval('s.ahead', 50), setval('s.ahead_down', -50)");
my ($rc, $out, $err) = $pair->target->psql('app', 'SELECT livemigrate.copy_sequences()');
is($out, $sequences - 2, 'E10 two are not set');
like($err, qr/WARNING: .*"s"\."ahead" was kept at 50/,       'E10 a warning');
like($err, qr/WARNING: .*"s"\."ahead_down" was kept at -50/, 'E10 in the direction of the increment');
is($pair->target_sql('SELECT a.last_value, d.last_value FROM s.ahead a, s.ahead_down d'),
    '50|-50', 'E10 kept');
my ($set_back) = $err =~ /"s"\."ahead" .*?to set it back: (SELECT .*?;)/;
$pair->target_sql($set_back);
is($pair->target_sql('SELECT last_value, is_called FROM s.ahead'), '1|t', 'E10 the SQL given works');
$pair->target_sql("SELECT setval('s.ahead_down', -1)");
$pair->call('copy_sequences');
assert_same_sequences('E10 equal again');

# What fails names the sequence, and sets nothing.
$pair->source_sql("SELECT nextval('s.never_called'), nextval('s.cached')");
my $unchanged = states($pair->target);
$pair->target_sql('ALTER SEQUENCE s.many_7 RENAME TO many_7_renamed');
my $missing = $pair->assert_error(
    'SELECT livemigrate.copy_sequences()',
    'a sequence is missing on the target',
    sqlstate => qr/42P01/,
    message  => qr/"s"\."many_7" does not exist on the target/);
my ($create) = $missing->{hint} =~ /(CREATE SEQUENCE .*;)/;
$pair->target_sql($create);
is($pair->target_sql("SELECT count(*) FROM pg_sequences WHERE sequencename = 'many_7'"),
    '1', 'the SQL of the hint makes it');
$pair->target_sql('DROP SEQUENCE s.many_7; ALTER SEQUENCE s.many_7_renamed RENAME TO many_7');

$pair->target_sql('ALTER TABLE s.owned ALTER n DROP IDENTITY');
$missing = $pair->assert_error(
    'SELECT livemigrate.copy_sequences()',
    'an identity is missing on the target',
    message => qr/"s"\."owned_n_seq" does not exist on the target/);
my ($alter) = $missing->{hint} =~ /(ALTER TABLE .*;)/;
$pair->target_sql($alter);

# Rights are checked before the source's values are read.
$pair->source_sql('ALTER ROLE mover NOSUPERUSER REPLICATION; GRANT CONNECT ON DATABASE app TO mover;
    GRANT USAGE ON SCHEMA s, "Odd ""S" TO mover; GRANT SELECT ON ALL SEQUENCES IN SCHEMA s,
        "Odd ""S" TO mover; REVOKE SELECT ON SEQUENCE s.cached FROM mover');
my $unreadable = $pair->assert_error(
    'SELECT livemigrate.copy_sequences()',
    'E09 a sequence may not be read on the source',
    sqlstate => qr/42501/,
    message  => qr/"s"\."cached" on the source/);
like($unreadable->{hint}, qr/GRANT SELECT ON SEQUENCE "s"\."cached" TO "mover";/, 'the hint grants it');
is_deeply({ %{ states($pair->target) }, 's.owned_n_seq' => '' },
    { %$unchanged, 's.owned_n_seq' => '' }, 'nothing was set meanwhile');
my ($grants) = $unreadable->{hint} =~ /(GRANT .*;)/;
$pair->source_sql($grants);
$pair->call('copy_sequences');
assert_same_sequences('after the grant');

# The cutover stage does the same by itself.
$pair->source_sql("ALTER ROLE mover SUPERUSER; SELECT nextval('s.never_called'), nextval('s.unlogged');
    INSERT INTO s.owned DEFAULT VALUES");
$pair->set_endpos;
$pair->wait_stage('done');
assert_same_sequences('cutover sets them');
is($pair->target_sql('SELECT id, n FROM s.owned ORDER BY id DESC LIMIT 1'), '3|120', 'identity goes on');
$pair->target_sql('INSERT INTO s.owned DEFAULT VALUES');
is($pair->target_sql('SELECT id, n FROM s.owned ORDER BY id DESC LIMIT 1'), '4|130', 'on the target');
$pair->cleanup;
done_testing();
