# What the copy stages do in single cases, in one migration: C12 a table of generated columns only,
# typed tables, N02 a schema named like a qualified name, N04 columns named like names of ours, N09
# tablespaces on request, and how far indexes and materialized views are.  Then changes that do not
# fit: N03 a narrower type, N02 a schema renamed in a transaction.  N03 is told from the types alone
# where values would be changed without a word.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
my @columns = ('livemigrate', 'migration', 't', 'r', 'n', 'k', 'row', 'rows', 'part', 'old', 'new', 'gone',
    'key', 'keys', 'position', 'ordinality', 'unnest', 'source', 'target', 'excluded', '$1', '?column?');
my $columns = join ', ', map {"\"$_\" int DEFAULT 1"} @columns;

my $make_tablespace = "SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"Fast disk\" LOCATION ''";
$pair->source_sql($make_tablespace);
my $names = <<"SQL";
CREATE TABLE generated_only (g int GENERATED ALWAYS AS (1 + 1) STORED, h text GENERATED ALWAYS AS ('x') STORED);
ALTER TABLE generated_only REPLICA IDENTITY FULL;
INSERT INTO generated_only SELECT FROM generate_series(1, 10);
CREATE TYPE shape AS (id int, v text);
CREATE TABLE typed OF shape (PRIMARY KEY (id), v DEFAULT 'none');
INSERT INTO typed SELECT g, md5(g::text) FROM generate_series(1, 100) g;
CREATE SCHEMA "public2.public"; CREATE SCHEMA public2;
CREATE TABLE "public2.public".t (id int PRIMARY KEY, v text DEFAULT 'schema with a dot');
CREATE TABLE public2."public.t" (id int PRIMARY KEY, v text DEFAULT 'table with a dot');
INSERT INTO "public2.public".t SELECT generate_series(1, 10);
INSERT INTO public2."public.t" SELECT generate_series(1, 20);
CREATE TABLE internal_key (id int PRIMARY KEY, $columns);
CREATE TABLE internal_full (id int, $columns); ALTER TABLE internal_full REPLICA IDENTITY FULL;
INSERT INTO internal_key SELECT generate_series(1, 100);
INSERT INTO internal_full SELECT generate_series(1, 100);
SQL
$pair->source_sql($names . <<'SQL');
CREATE FUNCTION waits(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
    IF $1 = 15000 THEN PERFORM pg_catalog.pg_advisory_xact_lock_shared(181); END IF;
    RETURN $1;
END $$;
CREATE TABLE indexed (id int PRIMARY KEY USING INDEX TABLESPACE "Fast disk", v text);
INSERT INTO indexed SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g;
CREATE INDEX expression ON indexed (waits(id));
CREATE TABLE elsewhere (id int PRIMARY KEY, v text) TABLESPACE "Fast disk";
CREATE INDEX elsewhere_v ON elsewhere (v) TABLESPACE "Fast disk";
CREATE MATERIALIZED VIEW z_base TABLESPACE "Fast disk" AS SELECT count(*) AS n FROM typed;
CREATE MATERIALIZED VIEW a_top AS SELECT n FROM z_base;
CREATE MATERIALIZED VIEW failing AS SELECT 1 / (n - 105) AS v FROM z_base;
SQL

# --- N09
my $check = "FROM livemigrate.migration_check('" . $pair->conninfo =~ s/'/''/gr . "', options => ";
is($pair->target_sql("SELECT severity $check'{}') WHERE check_id = 'tablespaces'"),
    'notice', 'N09 tablespaces are left out unless asked for, and that is said');
like(
    $pair->target_sql("SELECT concat_ws(' ', severity, message, fix) $check'{\"tablespaces\": true}')
        WHERE check_id = 'tablespaces'"),
    qr/^error tablespace "Fast disk" of the source does not exist on the target CREATE TABLESPACE "Fast disk" LOCATION '/,
    'N09 asked for, the target must have them');
$pair->target_sql($make_tablespace);
is($pair->target_sql("SELECT severity $check'{\"tablespaces\": true}') WHERE check_id = 'tablespaces'"),
    'ok', 'N09 and then has');

# --- an index says how far it is
my $gate = $pair->session($target, 'SELECT pg_advisory_lock(181)');
$pair->start(options => { tablespaces => \1 });
my $progress = q{SELECT blocks_done > 0 AND blocks_done < blocks_total AND tuples_done IS NOT NULL AND bytes_per_second > 0
    FROM livemigrate.index_progress WHERE object_name = 'expression' AND state = 'running'};
ok($pair->poll(sub { $pair->target_sql($progress) eq 't' }), 'index_progress says how far an index is') or
    diag $pair->target_sql('SELECT * FROM livemigrate.index_progress');
like($pair->target_sql('SELECT string_agg(l, chr(10)) FROM livemigrate.dashboard() l'),
    qr/expression.*\d+ ?%/, 'and the dashboard as well');
# Which others may yet be built, too.
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM livemigrate.index_progress WHERE blocks_total > 0') eq '1' }),
    'others do not');
$pair->end_session($gate);
$pair->wait_stage('streaming');
is($pair->target_sql(q{SELECT bytes_per_second = (table_bytes / date_part('epoch', finished_at - started_at))::bigint
        FROM livemigrate.index_progress WHERE object_name = 'expression'}), 't', 'and how fast it was');
my $places = q{SELECT string_agg(relname || ' ' || spcname, ', ' ORDER BY relname) FROM pg_class c
    JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE spcname = 'Fast disk' AND relname !~ '^pg_toast'};
is($pair->target_sql($places), $pair->source_sql($places), 'N09 all is in its tablespace');
is($pair->target_sql($places), join(', ', map {"$_ Fast disk"}
        qw(elsewhere elsewhere_v indexed_pkey z_base)), 'N09 and nothing else');

my $set = join ', ', map {"\"$_\" = id"} @columns;
my $changes = <<"SQL";
INSERT INTO generated_only DEFAULT VALUES;
UPDATE typed SET v = 'new' WHERE id <= 10; DELETE FROM typed WHERE id = 50; INSERT INTO typed SELECT generate_series(201, 206);
INSERT INTO "public2.public".t VALUES (11); UPDATE public2."public.t" SET v = 'new' WHERE id = 1;
UPDATE internal_key SET $set WHERE id % 2 = 0; UPDATE internal_full SET $set WHERE id % 2 = 0;
DELETE FROM internal_key WHERE id < 10; DELETE FROM internal_full WHERE id < 10;
INSERT INTO internal_key VALUES (1000); INSERT INTO internal_full VALUES (1000);
SQL
$pair->source_sql($changes);

# --- materialized views are work that is seen
my $reader = $pair->session($target, 'BEGIN; COMMENT ON MATERIALIZED VIEW z_base IS NULL');
$pair->set_endpos;
$pair->wait_blocked($target);
my $views = q{SELECT string_agg(concat_ws(' ', table_name, state, started_at IS NOT NULL, finished_at IS NOT NULL), ', '
    ORDER BY started_at, table_name) FROM livemigrate.index_progress WHERE kind = 'materialized view'};
is($pair->target_sql($views), 'z_base running t f, a_top pending f f, failing pending f f',
    'index_progress has the materialized views');
like($pair->status_row->{message}, qr/refreshing materialized view "public"\."z_base" \(1 of 3\)/,
    'the status says which of how many');
like($pair->target_sql('SELECT string_agg(l, chr(10)) FROM livemigrate.dashboard() l'),
    qr/z_base.*materialized view/, 'the dashboard has it');
$pair->end_session($reader);
$pair->wait_stage('done');
is($pair->target_sql($views), 'z_base done t t, a_top done t t, failing skipped t t',
    'in the order of their dependencies; one that fails leaves the others alone');
is($pair->target_sql('SELECT n FROM a_top'), '105', 'with the right rows');
like($pair->target_sql("SELECT error FROM livemigrate.index_progress WHERE table_name = 'failing'"),
    qr/division by zero/, 'and tells why');
like($pair->target_sql('SELECT livemigrate.migration_report()'), qr/materialized view/,
    'the report has them');
$pair->$_('DROP MATERIALIZED VIEW failing') for qw(source_sql target_sql);
$pair->source_sql('REFRESH MATERIALIZED VIEW z_base; REFRESH MATERIALIZED VIEW a_top');
$pair->assert_equal_tables('C12, N02, N04 equal tables');
is($pair->target_sql('SELECT * FROM livemigrate.compare_data() WHERE NOT equal'),
    '', 'compare_data says so, too');
my $plugin = $pair->status_row->{plugin};
is($pair->target_sql("SELECT reloftype::regtype FROM pg_class WHERE relname = 'typed'"),
    'shape', 'a typed table stays one');
$pair->cleanup;

# --- the same names and shapes with the other plugin
my $other = $pair->database('other');
$other->source_sql($names);
$other->start(plugin => $plugin eq 'pgoutput' ? 'wal2json' : 'pgoutput');
$other->wait_stage('streaming');
$other->source_sql($changes);
$other->finish('C12, N02, N04 with the other plugin');

# --- N03: a value that the target's narrower type cannot hold
for my $plugin (qw(pgoutput wal2json)) {
    my $narrow = $pair->database("narrow_$plugin");
    $narrow->source_sql('CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)');
    $narrow->start(plugin => $plugin, pause_after => ['schema']);
    $narrow->wait_stage('schema');
    $narrow->wait_state('paused');
    $narrow->target_sql('ALTER TABLE t ALTER v TYPE smallint');
    $narrow->resume([]);
    $narrow->wait_stage('streaming');
    like($narrow->target_sql("SELECT message FROM livemigrate.events WHERE severity = 'warning' AND stage = 'data'"),
        qr/^column "v" of table "public"\."t" is smallint on the target and integer on the source: .* out of its range/,
        "N03 $plugin: it is told before");
    $narrow->source_sql('INSERT INTO t VALUES (2, 2); INSERT INTO t VALUES (3, 70000)');
    $narrow->wait_state('failed');
    like(join(' ', @{ $narrow->status_row }{qw(message last_error)}), qr/70000.*smallint|smallint.*70000/,
        "N03 $plugin: the number and the type are named");
    is($narrow->target_sql("SELECT table_name FROM livemigrate.conflicts WHERE migration = 'narrow_$plugin'"),
        't', "N03 $plugin: so is the table");
    is($narrow->target_sql('SELECT count(*) FROM t'), '2', "N03 $plugin: what is before it was applied");
    $narrow->target_sql('ALTER TABLE t ALTER v TYPE int');
    $narrow->resume;
    $narrow->wait_stage('streaming');
    $narrow->finish("N03 $plugin: with the type as it was");
}

# --- N03: a type in which values would be others, and nothing would tell
{
    my $lossy = $pair->database('lossy');
    $lossy->source_sql(<<'SQL');
CREATE DOMAIN price AS numeric(10,4); CREATE DOMAIN fee AS numeric(10,4); CREATE DOMAIN email AS text;
CREATE TABLE exact (id int PRIMARY KEY, n numeric(10,4), at timestamp, z timestamptz, f float8, b bigint,
    many numeric(10,4)[], p price, v varchar(10), wide int, wider varchar(10), widest numeric(10,2),
    charge fee, mail email, cash int, flag bool, made text COLLATE "C" NOT NULL GENERATED ALWAYS AS (upper(v)) STORED);
INSERT INTO exact VALUES (1, 1.2345, '2026-01-01 00:00:00.75', '2026-01-01 12:00+05', 0.1, 5, '{1.2345}', 1.2345, 'ab   ', 1, 'ab   ', 1.25, 1.2345, 'a@b', 5, true);
CREATE TABLE ranged (id int, n numeric) PARTITION BY RANGE (id); ALTER TABLE ranged ADD PRIMARY KEY (id);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10);
CREATE TABLE ranged_2 PARTITION OF ranged DEFAULT;
INSERT INTO ranged VALUES (1, 1.2345), (20, 1.2345);
SQL
    $lossy->target_sql(<<'SQL');
CREATE DOMAIN price AS numeric(10,4); CREATE DOMAIN fee AS numeric(10,2);
CREATE TABLE exact (id int PRIMARY KEY, n numeric(10,2), at timestamp(0), z timestamp, f real, b int,
    many numeric(10,2)[], p numeric(10,2), v varchar(5), wide bigint, wider text, widest numeric,
    charge fee, mail varchar(50), cash money, flag smallint DEFAULT 0, made text);
CREATE INDEX ON exact (made);
CREATE TABLE ranged (id int PRIMARY KEY, n numeric(10,2)) PARTITION BY RANGE (id);
CREATE TABLE ranged_1 PARTITION OF ranged FOR VALUES FROM (0) TO (10);
CREATE TABLE ranged_2 PARTITION OF ranged DEFAULT;
SQL
    my @wrong = map {qr/^column "$_->[0]" of table "public"\."$_->[1]" is .+ on the target and .+ on the source: $_->[2]/} (
        [ 'at',   'exact',  'times of day are rounded to seconds' ],
        [ 'charge', 'exact', 'values are rounded to 2 decimal places' ],
        [ 'f',    'exact',  'values lose digits' ],
        [ 'made', 'exact',  'its values are not sent' ],
        [ 'mail', 'exact',  'blanks at the end of values are cut off beyond 50 characters' ],
        [ 'many', 'exact',  'values are rounded to 2 decimal places' ],
        [ 'n',    'exact',  'values are rounded to 2 decimal places' ],
        [ 'p',    'exact',  'values are rounded to 2 decimal places' ],
        [ 'v',    'exact',  'blanks at the end of values are cut off beyond 5 characters' ],
        [ 'z',    'exact',  'the time zone is dropped' ],
        [ 'n',    'ranged', 'values are rounded to 2 decimal places' ]);
    my %found;
    for my $mode (qw(truncate skip_schema)) {
        my @found = grep { $_->{check_id} eq 'column_types' } $lossy->check_rows(on_existing => $mode);
        my @errors = sort map { $_->{message} } grep { $_->{severity} eq 'error' } @found;
        @errors = ((grep {/"exact"/} @errors), grep {/"ranged"/} @errors);
        is(scalar @errors, scalar @wrong, "N03 $mode: as many columns") or diag explain \@found;
        like($errors[$_] // '', $wrong[$_], "N03 $mode: $_") for 0 .. $#wrong;
        is_deeply([ map { $_->{message} =~ /column (\S+)/ } grep { $_->{severity} eq 'warning' } @found ],
            [qw("b" "cash" "flag")], "N03 $mode: what fails loudly is a warning");
        $lossy->assert_error($lossy->start_sql(on_existing => $mode), "N03 $mode: it does not start",
            sqlstate => qr/^42804$/, message => qr/^column "/);
        $found{ $_->{fix} } = 1 for @found;
    }
    my ($rc, $out, $err) = $target->psql('lossy', join "\n", sort keys %found);
    is($rc, 0, 'N03 the fixes run as they are') or diag $err;
    is_deeply([ map {"$_->{severity} $_->{message}"} grep { $_->{check_id} eq 'column_types' } $lossy->check_rows(on_existing => 'truncate') ],
        [q{ok the target's columns can hold what the source's have}], 'N03 then all is well');

    $lossy->start(on_existing => 'skip_schema', pause_after => ['schema']);
    $lossy->wait_stage('schema');
    $lossy->wait_state('paused');
    $lossy->target_sql('ALTER TABLE exact ALTER n TYPE numeric(10,2), ALTER at TYPE timestamp(0), ALTER f TYPE real,
            ALTER made DROP EXPRESSION;
        ALTER TABLE exact ALTER v TYPE varchar(5); ALTER TABLE ranged ALTER n TYPE numeric(10,2)');
    $lossy->resume([]);
    $lossy->wait_state('failed');
    my $status = $lossy->status_row;
    is($status->{stage}, 'data', 'N03 after the pause: it stops in the stage');
    like($status->{message}, $wrong[0], 'N03 after the pause: the message says what');
    is($lossy->target_sql('SELECT (SELECT count(*) FROM exact) + (SELECT count(*) FROM ranged)'), '0',
        'N03 after the pause: nothing is copied');
    ($rc, $out, $err) = $target->psql('lossy', $status->{hint});
    is($rc, 0, 'N03 after the pause: the hint runs as it is') or diag $status->{hint}, $err;
    $lossy->wait_stage('streaming');
    is($lossy->target_sql("SELECT string_agg(message, E'\n') FROM livemigrate.events WHERE severity = 'warning' AND stage = 'data'"),
        '', 'N03 nothing is said of wider types');
    $lossy->source_sql("INSERT INTO exact SELECT 2, n, at, z, f, b, many, p, v, wide, wider, widest FROM exact");
    $lossy->finish('N03 with types that hold all');
}

# --- a column that the source generates, and on the target a trigger makes
{
    my $filled = $pair->database('filled');
    $filled->source_sql('CREATE TABLE made (id int PRIMARY KEY, v text, u text GENERATED ALWAYS AS (upper(v)) STORED)');
    $filled->target_sql(<<'SQL');
CREATE TABLE made (id int, v text, u text) PARTITION BY RANGE (id); ALTER TABLE made ADD PRIMARY KEY (id);
CREATE TABLE made_1 PARTITION OF made DEFAULT;
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.u := upper(NEW.v); RETURN NEW; END';
CREATE TRIGGER fill BEFORE INSERT OR UPDATE ON made FOR EACH ROW EXECUTE FUNCTION fill();
SQL
    $filled->source_sql("INSERT INTO made VALUES (1, 'a'), (2, 'b')");
    my ($row) = grep { $_->{check_id} eq 'column_types' } $filled->check_rows(on_existing => 'skip_schema');
    like("$row->{severity} $row->{message}", qr/^error column "u" of table "public"\."made" is a plain one on the target .* are not sent$/,
        'generated, and a trigger that does not fire');
    $filled->target_sql(<<'SQL');
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := NEW.v; RETURN NEW; END';
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON made FOR EACH ROW EXECUTE FUNCTION stamp();
ALTER TABLE made ENABLE ALWAYS TRIGGER stamp;
SQL
    ($row) = grep { $_->{check_id} eq 'column_types' } $filled->check_rows(on_existing => 'skip_schema');
    is($row->{severity}, 'error', '... nor does one that fires, and is not about the column, make it');
    my ($enable) = $row->{fix} =~ /^-- or, if what makes them is trigger fill: (.*)$/m;
    $filled->target_sql($enable);
    ($row) = grep { $_->{check_id} eq 'column_types' } $filled->check_rows(on_existing => 'skip_schema');
    like("$row->{severity} $row->{message}", qr/^warning column "u" .* are not sent, and a trigger of the target has to make them$/,
        '... and one that does');
    $filled->start(on_existing => 'skip_schema');
    $filled->wait_stage('streaming');
    $filled->source_sql("UPDATE made SET v = 'c' WHERE id = 1; INSERT INTO made VALUES (3, 'd')");
    $filled->set_endpos;
    $filled->wait_stage('done');
    my $made = 'SELECT id, v, u FROM made ORDER BY id';
    is($filled->target_sql($made), $filled->source_sql($made), '... a column that a trigger makes');
    $filled->cleanup;
}

# --- N02: changes go by the names that their tables had at that point
for my $plugin (qw(pgoutput wal2json)) {
    my $renamed = $pair->database("renamed_$plugin");
    $renamed->source_sql('CREATE SCHEMA before; CREATE TABLE before.t (id int PRIMARY KEY)');
    $renamed->start(plugin => $plugin);
    $renamed->wait_stage('streaming');
    $renamed->source_sql('BEGIN; INSERT INTO before.t VALUES (1); ALTER SCHEMA before RENAME TO behind;
        INSERT INTO behind.t VALUES (2); COMMIT');
    # pgoutput before 16 does not notice that a schema has another name until it is asked anew.
    my $told_at_once = $plugin eq 'wal2json' || $renamed->source_sql('SHOW server_version_num') >= 160000;
    if (!$told_at_once) {
        ok($renamed->poll(sub { $renamed->target_sql('SELECT count(*) FROM before.t') eq '2' }),
            "N02 $plugin: both changes go by the name that the source gave");
        $renamed->pause;
        $renamed->wait_state('paused');
        $renamed->source_sql('INSERT INTO behind.t VALUES (3)');
        $renamed->resume;
    }
    $renamed->wait_state('failed');
    like($renamed->status_row->{message}, qr/"?behind"?\."?t/, "N02 $plugin: the new name is missed");
    is($renamed->target_sql('SELECT count(*) FROM before.t'), $told_at_once ? '0' : '2',
        "N02 $plugin: nothing of the transaction is there");
    $renamed->target_sql('CREATE SCHEMA behind; CREATE TABLE behind.t (id int PRIMARY KEY)');
    $renamed->resume;
    $renamed->wait_stage('streaming');
    ok($renamed->poll(sub { $renamed->target_sql('SELECT count(*) FROM behind.t') eq '1' }),
        "N02 $plugin: once it is there, each change is where its table was");
    is($renamed->target_sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM before.t"), $told_at_once ? '1' : '1 2',
        "N02 $plugin: the one before the rename, too");
    $renamed->abort;
}

done_testing();
