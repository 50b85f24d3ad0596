# N01-N03: identifiers of every awkward kind, for schemas, tables, columns, types, sequences,
# indexes and constraints, through every stage; and migrations with such names.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my @odd = (
    'a"b',                       '""',
    'a b',                       ' leading',
    'trailing ',                 "it's",
    "''",                        'back\\slash',
    '\\',                        '\\n',
    "new\nline",                 "\ttab",
    '%s %n',                     '%%',
    '$$',                        '$1',
    '$body$',                    'select',
    'User',                      'UPPER',
    'a.b',                       '.',
    'a,b',                       '*',
    '?',                         '(x)',
    '{x}',                       '[x]',
    '<script>alert(1)</script>', '-- x',
    '/* x */',                   ';',
    '&amp;',                     ':x',
    '@',                         '0',
    '_',                         'null',
    "\xc3\x84",                  "\xe6\xbc\xa2\xe5\xad\x97",
    "\xf0\x9f\x98\x80",          "e\xcc\x81",
    'x' x 63,                    "\xc3\xa9" x 31 . 'x',
    'x' x 57 . '\\"%s\'$');

my $servers = LiveMigrate::Test->new(dbname => 'a "odd" \'database\' \\ %s', migration => 'odd');

# One table for each name, and every part of it is called so.
sub objects_sql {
    my $sql = '';
    for my $name (@odd) {
        my $id    = LiveMigrate::Test::quote_identifier($name);
        my $text  = LiveMigrate::Test::quote_literal($name);
        my $short = length $name > 62 ? substr $name, 0, 58 : $name;
        my ($other, $third) = map { LiveMigrate::Test::quote_identifier("$_$short") } qw(o p);
        my $sequence = LiveMigrate::Test::quote_literal("$third.$id");
        $sql .= <<"SQL";
CREATE SCHEMA $id;
CREATE SCHEMA $other;
CREATE SCHEMA $third;
CREATE TYPE $other.$id AS ENUM ($text, 'other');
CREATE SEQUENCE $third.$id;
CREATE TABLE $id.$id (
    $id int DEFAULT nextval($sequence), plain text, kind $other.$id DEFAULT $text,
    CONSTRAINT $other PRIMARY KEY ($id));
CREATE INDEX ON $id.$id (kind) WHERE kind = $text;
CREATE TABLE $other.child (id int PRIMARY KEY, parent int,
    CONSTRAINT $id FOREIGN KEY (parent) REFERENCES $id.$id);
CREATE VIEW $other.view AS SELECT $id FROM $id.$id;
COMMENT ON TABLE $id.$id IS $text;
COMMENT ON COLUMN $id.$id.$id IS $text;
INSERT INTO $id.$id (plain) SELECT $text || g FROM generate_series(1, 5) g;
INSERT INTO $other.child VALUES (1, 1);
SQL
    }
    return $sql;
}

sub changes_sql {
    my $sql = '';
    for my $name (@odd) {
        my ($id, $text)
            = (LiveMigrate::Test::quote_identifier($name), LiveMigrate::Test::quote_literal($name));
        $sql .= <<"SQL";
INSERT INTO $id.$id (plain, kind) VALUES ($text, 'other'), ($text, NULL);
UPDATE $id.$id SET plain = plain || $text, kind = $text WHERE $id = 2;
UPDATE $id.$id SET $id = 100 WHERE $id = 6;
DELETE FROM $id.$id WHERE $id = 3;
SQL
    }
    return $sql;
}

sub test_names {
    my ($pair, $plugin) = @_;
    $pair->source_sql(objects_sql());
    $pair->source_sql("CREATE ROLE \"odd %s 'role' $plugin\"");
    $pair->start(plugin => $plugin);
    $pair->wait_stage('streaming');
    $pair->source_sql(changes_sql());
    $pair->set_endpos;
    $pair->wait_stage('done');
    $pair->assert_equal_tables("N01 $plugin: equal tables");
    $pair->assert_same_schema("N01 $plugin: equal schema", '--no-owner', '--no-privileges');
    is( $pair->target_sql(
                  'SELECT count(*) FROM livemigrate.compare_data('
                . LiveMigrate::Test::quote_literal($pair->name)
                . ') WHERE NOT equal'),
        '0',
        "N01 $plugin: compare_data agrees");
    cmp_ok($pair->target_sql('SELECT count(*) FROM livemigrate.table_progress'),
        '>=', 2 * @odd, "N01 $plugin: table_progress has every table");
    $pair->cleanup;
}

test_names($servers,                           'pgoutput');
test_names($servers->database('odd_wal2json'), 'wal2json');

# Patterns match names, not SQL.
my $patterns = $servers->database('patterns');
$patterns->source_sql(<<'SQL');
CREATE SCHEMA "a.b"; CREATE SCHEMA keep; CREATE SCHEMA "Drop Me";
CREATE TABLE keep.one (id int PRIMARY KEY); CREATE TABLE keep.two (id int PRIMARY KEY);
CREATE TABLE keep."Three %" (id int PRIMARY KEY); CREATE TABLE "Drop Me".four (id int PRIMARY KEY);
INSERT INTO keep.one VALUES (1); INSERT INTO keep.two VALUES (1);
INSERT INTO keep."Three %" VALUES (1); INSERT INTO "Drop Me".four VALUES (1);
SQL
$patterns->start(
    exclude_tables     => [ 'Drop Me.*', 'keep.t?o' ],
    exclude_table_data => ['keep.Three %']);
$patterns->wait_stage('streaming');
$patterns->source_sql(
    'INSERT INTO keep.one VALUES (2); INSERT INTO keep.two VALUES (2);
        INSERT INTO "Drop Me".four VALUES (2)'
);
$patterns->set_endpos;
$patterns->wait_stage('done');
is( $patterns->target_sql(
              "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'r'"
            . " AND relnamespace::regnamespace::text IN ('keep', '\"Drop Me\"')"),
    'Three %,one',
    'N01 exclude_tables takes names with blanks, * and ?');
is($patterns->target_sql('SELECT count(*) FROM keep."Three %"'), '0', 'N01 exclude_table_data');
is($patterns->target_sql('SELECT count(*) FROM keep.one'),
    '2', 'N01 the others are there and stream');
$patterns->cleanup;

# N02: one table name in many schemas.
my $schemas = $servers->database('many');
$schemas->source_sql(
    join '',
    map {
        my $schema = "\"s$_.t\"";
        "CREATE SCHEMA $schema; CREATE TABLE $schema.t (id int PRIMARY KEY, n int DEFAULT $_);
            INSERT INTO $schema.t VALUES (1);"
    } 1 .. 20);
$schemas->migrate(
    'N02 one name in twenty schemas',
    stream => join '',
    map {"INSERT INTO \"s$_.t\".t VALUES (2); UPDATE \"s$_.t\".t SET n = n + 100 WHERE id = 1;"}
        1 .. 20);

# N03: dropped columns; another order of columns and one more on the target.
my $columns = $servers->database('columns');
$columns->source_sql(<<'SQL');
CREATE TABLE t (gone1 int, id int PRIMARY KEY, gone2 text DEFAULT 'x', a int, "B b" text);
ALTER TABLE t DROP COLUMN gone1, DROP COLUMN gone2, ADD COLUMN late text DEFAULT 'late';
INSERT INTO t (id, a, "B b") SELECT g, g, 'b' || g FROM generate_series(1, 100) g;
SQL
$columns->start(pause_after => ['schema']);
$columns->wait_stage('schema');
$columns->wait_state('paused');
$columns->target_sql(
    q{DROP TABLE t; CREATE TABLE t ("B b" text, extra text DEFAULT 'target', late text, a bigint,
        id int NOT NULL)}
);
$columns->resume;
$columns->wait_stage('streaming');
$columns->source_sql(
    q{UPDATE t SET a = -a, "B b" = NULL WHERE id < 10; DELETE FROM t WHERE id = 50;
        INSERT INTO t VALUES (200, 1, 'new', NULL)}
);
$columns->set_endpos;
$columns->wait_stage('done');
$columns->assert_equal_tables('N03 columns go by name');
is($columns->target_sql("SELECT count(*) FROM t WHERE extra = 'target'"),
    '100', 'N03 the extra column has its default');
$columns->cleanup;

# The migration's own name: it works, or it is refused with a reason; nothing half made stays.
my $named = $servers->database('named');
$named->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
for my $name (grep {/^(?:a|it|back|new|%s|UPPER|<|\xc3|x)/} @odd) {
    my $one   = bless { %$named, migration => $name }, ref $named;
    my $error = $one->target_error(
        $one->start_sql(pause_after => ['slot']));
    (my $label = "migration named $name") =~ s/[^ -~]/?/g;
    if (%$error) {
        like($error->{sqlstate}, qr/^(?:42602|42622|22023)$/, "$label: refused as a name") or
            diag $error->{all};
        ok($error->{detail} && $error->{hint}, "$label: with a reason");
        next;
    }
    $one->wait_stage('slot');
    $one->abort;
    ok( $one->poll(sub { my $status = $one->status_row; $status && $status->{state} eq 'aborted' }),
        "$label: works");
}
$servers->assert_nothing_left('nothing left');

done_testing();
