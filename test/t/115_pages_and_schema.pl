# V08: compare_schema finds one difference of each kind and names it. And pages of doc/: the commands
# of large_tables, tables_without_key and resuming as they stand there, every state and stage in the
# runbook, and no page that names a function, view or setting which is not there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
my $doc = "$FindBin::RealBin/../../doc";

# --- V08
$pair->source_sql(<<'SQL');
CREATE EXTENSION hstore VERSION '1.8';
CREATE ROLE reader; CREATE ROLE other_owner;
CREATE SCHEMA s;
CREATE TYPE s.mood AS ENUM ('good', 'bad'); CREATE DOMAIN s.small AS int CHECK (VALUE < 10);
CREATE SEQUENCE s.numbers INCREMENT 2;
CREATE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION s.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TABLE s.t (id int PRIMARY KEY, type int, "default" int DEFAULT 1, "null" int NOT NULL, gone int,
    "collate" text, checked int CONSTRAINT positive CHECK (checked > 0), storage text, always int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE s.child (id int PRIMARY KEY, t int CONSTRAINT parent REFERENCES s.t);
CREATE INDEX t_type ON s.t (type); CREATE INDEX t_other ON s.t ("default"); CREATE INDEX t_lost ON s.t (gone, type);
CREATE TRIGGER fires BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.fire();
CREATE TRIGGER lost BEFORE INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION s.fire();
CREATE TABLE s.root (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE s.part PARTITION OF s.root FOR VALUES FROM (0) TO (9); CREATE TABLE s.rest PARTITION OF s.root DEFAULT;
CREATE TRIGGER rooted BEFORE INSERT ON s.root FOR EACH ROW EXECUTE FUNCTION s.fire();
ALTER TABLE s.rest DISABLE TRIGGER rooted;
SELECT lo_create(4711); GRANT SELECT ON LARGE OBJECT 4711 TO reader;
CREATE FOREIGN DATA WRAPPER away; CREATE SERVER far FOREIGN DATA WRAPPER away; GRANT USAGE ON FOREIGN SERVER far TO reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT SELECT ON TABLES TO reader;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
CREATE RULE nothing AS ON DELETE TO s.child DO ALSO SELECT 1;
CREATE VIEW s.v AS SELECT id FROM s.t; CREATE MATERIALIZED VIEW s.m AS SELECT id FROM s.t;
CREATE STATISTICS s.stat ON type, gone FROM s.t;
CREATE POLICY few ON s.t USING (id < 10); ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
COMMENT ON TABLE s.t IS 'a table'; COMMENT ON COLUMN s.t.type IS 'a column';
GRANT SELECT ON s.t TO reader; GRANT USAGE ON SCHEMA s TO reader; GRANT SELECT (id) ON s.child TO reader;
CREATE FUNCTION s.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watcher ON sql_drop EXECUTE FUNCTION s.watch();
INSERT INTO s.t (id, "null") VALUES (1, 1);
SQL
$pair->start(owner => \'true', privileges => \'true');
$pair->wait_stage('streaming');
$pair->set_endpos;
$pair->wait_stage('done');
is($pair->target_sql('SELECT * FROM livemigrate.compare_schema()'), '', 'V08 no difference after a migration');

$pair->target_sql('DROP EXTENSION hstore; CREATE EXTENSION hstore VERSION \'1.7\'');

# The statement on the target, and what the row says of the source and of the target.
my @difference = (
    [ 'extension hstore',              undef,                                                    qr/1\.8/,    qr/1\.7/ ], # above
    [ 'schema extra',                  'CREATE SCHEMA extra',                                    qr/^$/,      qr/exists/ ],
    [ 'table extra.t',                 'CREATE TABLE extra.t ()',                                qr/^$/,      qr/^table/ ],
    [ 'table s.child',                 'ALTER TABLE s.child REPLICA IDENTITY FULL',              qr/^table$/, qr/replica identity full/ ],
    [ 'table s.t',                     'ALTER TABLE s.t DISABLE ROW LEVEL SECURITY',             qr/row level/, qr/^table$/ ],
    [ 'column s.t.type',               'ALTER TABLE s.t ALTER type TYPE bigint',                 qr/^integer/, qr/^bigint/ ],
    [ 'column s.t."default"',          'ALTER TABLE s.t ALTER "default" SET DEFAULT 2',          qr/default 1/, qr/default 2/ ],
    [ 'column s.t."null"',             'ALTER TABLE s.t ALTER "null" DROP NOT NULL',             qr/not null/, qr/^integer$/ ],
    [ 'column s.t.gone',               'ALTER TABLE s.t DROP gone CASCADE',                      qr/integer/, qr/^$/ ],
    [ 'column s.t.added',              'ALTER TABLE s.t ADD added int',                          qr/^$/,      qr/integer/ ],
    [ 'column s.t."collate"',          'ALTER TABLE s.t ALTER "collate" TYPE text COLLATE "C"',  qr/^text$/,  qr/collate/ ],
    [ 'column s.t.storage',            'ALTER TABLE s.t ALTER storage SET STORAGE EXTERNAL',     qr/^text$/,  qr/storage e/ ],
    [ 'column s.t.always',             'ALTER TABLE s.t ALTER always DROP EXPRESSION',           qr/generated/, qr/^integer$/ ],
    [ 'constraint positive on s.t',    'ALTER TABLE s.t DROP CONSTRAINT positive, ADD CONSTRAINT positive CHECK (checked > 1)', qr/> 0/, qr/> 1/ ],
    [ 'constraint parent on s.child',  'ALTER TABLE s.child DROP CONSTRAINT parent, ADD CONSTRAINT parent FOREIGN KEY (t) REFERENCES s.t NOT VALID', qr/REFERENCES/, qr/NOT VALID/ ],
    [ 'constraint small_check on domain s.small', 'ALTER DOMAIN s.small DROP CONSTRAINT small_check', qr/CHECK/, qr/^$/ ],
    [ 'index s.t_type',                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 's.t_type'::regclass", qr/\)$/, qr/\(invalid\)/ ],
    [ 'index s.t_other',               'DROP INDEX s.t_other; CREATE INDEX t_other ON s.t ("default" DESC)', qr/\("default"\)/, qr/DESC/ ],
    [ 'index s.t_lost',                undef,                                                    qr/INDEX/,   qr/^$/ ], # went with its column
    [ 'sequence s.numbers',            'ALTER SEQUENCE s.numbers INCREMENT 3',                   qr/increment 2/, qr/increment 3/ ],
    [ 'function s.f()',                q{CREATE OR REPLACE FUNCTION s.f() RETURNS int LANGUAGE sql AS 'SELECT 2'}, qr/md5/, qr/md5/ ],
    [ 'trigger fires on s.t',          'ALTER TABLE s.t DISABLE TRIGGER fires',                  qr/\)$/,     qr/\(disabled\)/ ],
    [ 'trigger lost on s.t',           'DROP TRIGGER lost ON s.t',                               qr/TRIGGER/, qr/^$/ ],
    [ 'trigger rooted on s.part',      'ALTER TABLE s.part DISABLE TRIGGER rooted',              qr/^$/,      qr/^trigger of its parent \(disabled\)$/ ],
    [ 'trigger rooted on s.rest',      'ALTER TABLE s.rest ENABLE TRIGGER rooted',               qr/^trigger of its parent \(disabled\)$/, qr/^$/ ],
    [ 'rule nothing on s.child',       'DROP RULE nothing ON s.child',                           qr/RULE/,    qr/^$/ ],
    [ 'policy few on s.t',             'ALTER POLICY few ON s.t USING (id < 11)',                qr/< 10/,    qr/< 11/ ],
    [ 'statistics s.stat',             undef,                                                    qr/STATISTICS/, qr/^$/ ], # went with its column
    [ 'view s.v',                      'CREATE OR REPLACE VIEW s.v AS SELECT id FROM s.t WHERE id > 0', qr/FROM/, qr/WHERE/ ],
    [ 'materialized view s.m',         'REFRESH MATERIALIZED VIEW s.m WITH NO DATA',             qr/^materialized view, as/, qr/not populated/ ],
    [ 'type s.mood',                   q{ALTER TYPE s.mood ADD VALUE 'so so'},                   qr/'bad'\)/, qr/so so/ ],
    [ 'comment on table s.t',          q{COMMENT ON TABLE s.t IS 'another'},                     qr/a table/, qr/another/ ],
    [ 'comment on table column s.t.type', 'COMMENT ON COLUMN s.t.type IS NULL',                  qr/a column/, qr/^$/ ],
    [ 'event trigger watcher',         'ALTER EVENT TRIGGER watcher DISABLE',                    qr/^on sql_drop execute \S+$/, qr/\(disabled\)/ ],
    [ 'owner of s.t',                  'ALTER TABLE s.t OWNER TO other_owner',                   qr/./,       qr/other_owner/ ],
    [ 'privileges on table s.t of reader', 'GRANT INSERT ON s.t TO reader',                      qr/^SELECT$/, qr/INSERT, SELECT/ ],
    [ 'privileges on schema s of reader', 'REVOKE USAGE ON SCHEMA s FROM reader',                qr/USAGE/,   qr/^$/ ],
    [ 'privileges on column s.child.id of reader', 'REVOKE SELECT (id) ON s.child FROM reader',  qr/SELECT/,  qr/^$/ ],
    [ 'privileges on function s.f() of public', 'REVOKE EXECUTE ON FUNCTION s.f() FROM PUBLIC',  qr/EXECUTE/, qr/^$/ ],
    [ 'privileges on type s.mood of public', 'REVOKE USAGE ON TYPE s.mood FROM PUBLIC',          qr/USAGE/,   qr/^$/ ],
    [ 'privileges on domain s.small of reader', 'GRANT USAGE ON DOMAIN s.small TO reader',       qr/^$/,      qr/USAGE/ ],
    [ 'privileges on language plpgsql of public', 'REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC', qr/USAGE/,  qr/^$/ ],
    [ 'privileges on foreign-data wrapper away of reader', 'GRANT USAGE ON FOREIGN DATA WRAPPER away TO reader', qr/^$/, qr/USAGE/ ],
    [ 'privileges on foreign server far of reader', 'REVOKE USAGE ON FOREIGN SERVER far FROM reader', qr/USAGE/, qr/^$/ ],
    [ 'privileges on large object 4711 of reader', 'GRANT UPDATE ON LARGE OBJECT 4711 TO reader', qr/^SELECT$/, qr/^SELECT, UPDATE$/ ],
    [ 'default privileges of postgres in schema s on tables', 'ALTER DEFAULT PRIVILEGES IN SCHEMA s GRANT UPDATE ON TABLES TO reader',
        qr/^reader: SELECT$/, qr/^reader: SELECT, UPDATE$/ ],
    [ 'default privileges of postgres on functions', 'ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO PUBLIC',
        qr/^postgres: EXECUTE$/, qr/^$/ ]);
$pair->target_sql('DROP MATERIALIZED VIEW s.m; DROP VIEW s.v; CREATE VIEW s.v AS SELECT id FROM s.t;
    CREATE MATERIALIZED VIEW s.m AS SELECT id FROM s.t');
for my $one (@difference) {
    $pair->target_sql("SET allow_system_table_mods = on; $one->[1]") if defined $one->[1];
}
my %found;
for my $line (split /\x02/, $pair->target_sql("SELECT string_agg(concat_ws(chr(1), regexp_replace(object, '\"(s|t|v|m|child|mood|extra)\"', '\\1', 'g'),
        coalesce(source, ''), coalesce(target, '')), chr(2)) FROM livemigrate.compare_schema()")) {
    my ($object, @side) = split /\x01/, $line, -1;
    $found{$object} = \@side;
}
for my $one (@difference) {
    my ($object, undef, @want) = @$one;
    my $row = $found{$object};
    ok($row && $row->[0] =~ $want[0] && $row->[1] =~ $want[1], "V08 $object")
      or diag $row ? "source: $row->[0]\ntarget: $row->[1]" : 'not found among: ' . join(' | ', sort keys %found);
}
$pair->cleanup;

# --- tables_without_key: each way, with its command, on the source
my $keyless = $pair->database('keyless');
$keyless->source_sql('CREATE TABLE t (id int NOT NULL, number int NOT NULL CONSTRAINT t_number_key UNIQUE);
    INSERT INTO t SELECT g, g FROM generate_series(1, 20) g; CREATE TABLE log (v int); INSERT INTO log VALUES (1), (1)');
sub on_page {
    my ($one, $sql) = @_;
    my $conninfo = $one->conninfo =~ s/'/''/gr;
    return $sql =~ s/'host=old[^']*'/'$conninfo'/r;
}
my $page  = slurp_file("$doc/tables_without_key.md");
my %check = LiveMigrate::Test::page_commands('tables_without_key.md');
like($keyless->target_sql(on_page($keyless, $check{check})), qr/"public"\."t".*REPLICA IDENTITY/s, 'tables_without_key: the check');
my @way = $page =~ /`((?:ALTER TABLE|CREATE UNIQUE)[^`]*;)`/g;
is(scalar @way, 5, 'tables_without_key: the commands');
for my $command (@way) {
    $source->safe_psql('keyless', $command);
    next if $command =~ /CREATE UNIQUE|DEFAULT/;
    unlike($keyless->target_sql(on_page($keyless, $check{check})), qr/"public"\."t"/, "tables_without_key: $command");
}
my ($options) = $page =~ /`(options => '[^`]*')`/;
$keyless->target_sql($keyless->start_sql =~ s/\)$/, $options)/r);
$keyless->wait_stage('streaming');
$keyless->source_sql('INSERT INTO log VALUES (2)');

# --- large_tables
my %large = LiveMigrate::Test::page_commands('large_tables.md');
like($keyless->target_sql(on_page($keyless, $large{estimate}) =~ s/\)\s*;/, sample_seconds => 0);/r), qr/^downtime\|/m,
    'large_tables: the estimate');

# --- resuming: the source's table is altered
my %look = LiveMigrate::Test::page_commands('resuming.md');
my $text = slurp_file("$doc/resuming.md");
my ($resume) = $text =~ /`(SELECT livemigrate\.migration_resume\(\);)`/;
$keyless->source_sql('ALTER TABLE t ADD extra int; INSERT INTO t VALUES (30, 30, 30)');
$keyless->wait_state('failed');
my $shown = $keyless->target_sql($look{look});
like($shown, qr/^streaming\|failed\|.*extra/m, 'resuming: what is shown');
my ($add) = $keyless->status_row->{hint} =~ /(ALTER TABLE [^;]*;)/;
$keyless->target_sql($add // 'ALTER TABLE t ADD extra int');
ok(defined $add, 'resuming: the hint has the statement') or diag $keyless->status_row->{hint};
$keyless->target_sql($resume);
ok($keyless->poll(sub { $keyless->target_sql('SELECT count(*) FROM t WHERE extra = 30') eq '1' }), 'resuming: it goes on');
$keyless->abort;

# --- the runbook
my $states  = slurp_file("$FindBin::RealBin/../../src/core/migration_state.cpp");
my @named   = map {/"(\w+)"/g} $states =~ /k(?:Stage|State)Names = \{(.*?)\};/gs;
my $runbook = slurp_file("$doc/runbook.md");
cmp_ok(scalar @named, '>=', 15, 'states and stages of the source');
is_deeply([ grep { $runbook !~ /^\|[^|]*`$_`/m } @named ], [], 'the runbook has a row for each');

# --- what pages name is there
my %known = map { $_ => 1 } split /\n/, $pair->target_sql("SELECT proname FROM pg_proc WHERE pronamespace = 'livemigrate'::regnamespace
    UNION SELECT relname FROM pg_class WHERE relnamespace = 'livemigrate'::regnamespace
    UNION SELECT substr(name, 13) FROM pg_settings WHERE name ~ '^livemigrate\\.'");
for my $file (glob("$doc/*.md")) {
    my %named = map { $_ => 1 } slurp_file($file) =~ /\blivemigrate\.(\w+)/g;
    delete @named{qw(so control sql git)};
    is_deeply([ grep { !$known{$_} } sort keys %named ], [], 'what ' . ($file =~ s{.*/}{}r) . ' names is there');
}
done_testing();
