# What the change stream cannot carry.  I01: UPDATE and DELETE of tables that were accepted without a
# replica identity; each such table is a row of its own in livemigrate.conflicts, and cutover fails
# once to say so.  L01 to L04: definitions that change on the source meanwhile; apply stops at the
# first row that does not fit, says what is missing, and goes on once it is there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $lossy = !$pair->wal2json_is_lossless;
$pair->source_sql(<<'SQL');
CREATE SCHEMA "My Schema";
CREATE TABLE public.log (v int);
CREATE TABLE "My Schema"."Log, too" (v int);
CREATE TABLE public.untouched (v int);
INSERT INTO public.log SELECT generate_series(1, 10);
INSERT INTO "My Schema"."Log, too" SELECT generate_series(1, 10);
INSERT INTO public.untouched SELECT generate_series(1, 10);
SQL
$pair->start(
    options => { insert_only_tables => [ 'public.log', '"My Schema"."Log, too"', 'public.un*' ] });
$pair->wait_stage('streaming');
$pair->source_sql(<<'SQL');
UPDATE public.log SET v = -v WHERE v <= 3;
DELETE FROM "My Schema"."Log, too" WHERE v = 7;
INSERT INTO public.untouched VALUES (11);
SQL

# The source's statistics come a moment later.
$pair->source->poll_query_until('app',
    "SELECT sum(n_tup_upd + n_tup_del) = 4 FROM pg_stat_user_tables") or
  die 'no statistics';
$pair->set_endpos;
$pair->wait_state('failed');
is( $pair->target_sql(
        'SELECT kind, schema_name, table_name, message FROM livemigrate.conflicts ORDER BY 2, 3'),
    join("\n",
        'insert_only|My Schema|Log, too|1 rows were updated or deleted on the source',
        'insert_only|public|log|3 rows were updated or deleted on the source'),
    'I01 a row for each table');
my $status = $pair->status_row;
like($status->{message}, qr/without replica identity/, 'I01 the message says why');
like($pair->target_sql('SELECT last_error_detail FROM livemigrate.migrations'),
    qr/"My Schema"\."Log, too".*"public"\."log"|"public"\."log".*"My Schema"\."Log, too"/,
    'I01 the detail names both');

# The person has brought the target in line.
$pair->target_sql('UPDATE public.log SET v = -v WHERE v <= 3;
    DELETE FROM "My Schema"."Log, too" WHERE v = 7');
$pair->resume;
$pair->wait_stage('done');
is($pair->target_sql('SELECT count(*) FROM livemigrate.conflicts'), '2', 'I01 told once');
$pair->assert_equal_tables('I01 equal tables');


# --- L01, L03, L04
sub assert_stops {
    my ($one, $label, $change, $message, $mend) = @_;
    $one->source_sql($change);
    $one->wait_state('failed');
    my $row = $one->status_row;
    like($row->{message}, $message, "$label: the message says what does not fit");
    ok($row->{hint}, "$label: with a hint");
    is($one->target_sql("SELECT count(*) > 0 FROM livemigrate.conflicts WHERE migration = '"
                . $one->name . "'"), 't', "$label: recorded");
    $mend = $1 if !defined $mend && $row->{hint} =~ /(ALTER TABLE [^;]*)/;
    $one->target_sql($mend // 'SELECT 1');
    $one->resume;
    $one->poll(sub { $one->status_row->{state} eq 'running' });
}

# wal2json leaves UPDATE and DELETE of a table without replica identity out.
sub lose_identities {
    my ($one) = @_;
    $one->target_sql('CREATE TABLE keyless (v int)');
    $one->source_sql('CREATE TABLE keyless (v int); INSERT INTO keyless VALUES (1);
        ALTER TABLE loses DROP CONSTRAINT loses_pkey; UPDATE loses SET v = 2');
    $one->wait_state('failed');
    my $row = $one->status_row;
    like($row->{message}, qr/2 tables have no replica identity/, 'I01 wal2json, a lost identity: told');
    is($one->target_sql(q{SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM livemigrate.conflicts
            WHERE kind = 'replica_identity'}), 'keyless loses', 'I01 wal2json, a lost identity: recorded');
    my ($mend) = $row->{hint} =~ /(ALTER TABLE.*?;) then/;
    $one->source_sql($mend);
    $one->target_sql('UPDATE loses SET v = 2');
    $one->resume;
    $one->source_sql('UPDATE loses SET v = 3; UPDATE keyless SET v = 3');
    ok($one->poll(sub { $one->target_sql('SELECT v FROM loses UNION ALL SELECT v FROM keyless') eq "3\n3" }),
        'I01 wal2json, the identity is back: it goes on');
    return;
}

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("drift_$plugin");
    $one->source_sql(q{CREATE TYPE mood AS ENUM ('good'); CREATE TABLE t (id int PRIMARY KEY, m mood);
        CREATE TABLE dropped (id int PRIMARY KEY);
        CREATE TABLE loses (id int PRIMARY KEY, v int); INSERT INTO loses VALUES (1, 1)});
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    my $applied = sub {
        my ($label) = @_;
        my $rows = $one->source_sql('SELECT count(*) FROM t');
        ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM t') eq $rows }), $label);
    };

    assert_stops($one, "L01 $plugin, ADD COLUMN",
        'ALTER TABLE t ADD extra text; INSERT INTO t VALUES (1, NULL, $$x$$)',
        qr/extra/, 'ALTER TABLE t ADD extra text');
    $applied->("L01 $plugin, ADD COLUMN: goes on");

    # With wal2json the decoder keeps the names of all columns it has seen, the old one too, when it
    # reads a spool that has changes from before the renaming.
    assert_stops($one, "L01 $plugin, RENAME COLUMN",
        'ALTER TABLE t RENAME extra TO "Extra 2"; INSERT INTO t VALUES (2, NULL, $$y$$)',
        qr/Extra 2/, 'ALTER TABLE t RENAME extra TO "Extra 2"');
    $applied->("L01 $plugin, RENAME COLUMN: goes on");
    assert_stops($one, "L01 $plugin, ALTER TYPE",
        'ALTER TABLE t ALTER id TYPE bigint; INSERT INTO t VALUES (3000000000, NULL, $$z$$)',
        qr/3000000000|out of range|column "id" has another type/, 'ALTER TABLE t ALTER id TYPE bigint');
    $applied->("L01 $plugin, ALTER TYPE: goes on");
    assert_stops($one, "L03 $plugin, a new enum label",
        q{ALTER TYPE mood ADD VALUE 'bad'; INSERT INTO t VALUES (4, 'bad', NULL)},
        qr/enum.*bad/, q{ALTER TYPE mood ADD VALUE 'bad'});
    $applied->("L03 $plugin, a new enum label: goes on");

    # A column that is gone is for the cutover to tell: rows do not wait for that.
    $one->source_sql('ALTER TABLE t DROP m; INSERT INTO t VALUES (5, $$v$$); DROP TABLE dropped');
    $applied->("L04 $plugin, DROP COLUMN and DROP TABLE: goes on");

    # A table that came later: wal2json sends its rows, a publication does not have it.
    $one->source_sql('CREATE TABLE new (id int PRIMARY KEY, n numeric); INSERT INTO new VALUES (1, 2.50)');
    if ($plugin eq 'wal2json') {
        $one->wait_state('failed');
        like($one->status_row->{message}, qr/"new" was created/, 'L02 wal2json, CREATE TABLE: named');
        $one->target_sql('CREATE TABLE new (id int PRIMARY KEY, n numeric)');
        $one->resume;
        if ($lossy) {
            $one->poll(sub { $one->status_row->{message} !~ /was created/ });
            $one->wait_state('failed');
            like($one->status_row->{message}, qr/column "n" of table "public"\."new" .*without loss/,
                'L02 wal2json, CREATE TABLE with a numeric column: refused');
            $one->target_sql('ALTER TABLE new ALTER n SET NOT NULL');
            $one->resume;
        }
        ok($one->poll(sub { $one->target_sql('SELECT n FROM new') eq '2.50' }),
            'L02 wal2json, CREATE TABLE: its row arrives');
        lose_identities($one);
    }
    $one->set_endpos;
    $one->wait_state('failed');
    like($one->status_row->{message}, qr/column "m" was dropped/, "L04 $plugin: the cutover tells");
    $one->target_sql('ALTER TABLE t DROP m');
    if ($plugin eq 'wal2json') {
        $one->source_sql('ALTER TABLE loses REPLICA IDENTITY NOTHING');
        $one->resume;
        $one->poll(sub { $one->status_row->{message} !~ /dropped/ });
        $one->wait_state('failed');
        like($one->status_row->{message}, qr/table "public"\."loses" has no replica identity/,
            'I01 wal2json, REPLICA IDENTITY NOTHING: the cutover tells');
        $one->source_sql('ALTER TABLE loses REPLICA IDENTITY FULL');
    }
    $one->resume;
    $one->wait_stage('done');
    if ($plugin eq 'wal2json') {
        is($one->target_sql('SELECT * FROM new'), '1|2.50', 'L02 wal2json, CREATE TABLE: its row is there');
    } else {
        like(
            $one->target_sql("SELECT string_agg(concat(message, ' ', detail), ' ')
                FROM livemigrate.events WHERE severity = 'warning'"),
            qr/\bnew\b/, 'L02 pgoutput, CREATE TABLE: named at cutover');
    }
    is( $one->target_sql('SELECT string_agg(t::text, $$;$$ ORDER BY id) FROM t'),
        '(1,x);(2,y);(4,);(5,v);(3000000000,z)',
        "L01 $plugin: every row is there");
    $one->cleanup;
}

done_testing();
