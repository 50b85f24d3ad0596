# V01, V02, V04, V06: compare_data while changes stream compares one moment of both sides, names the
# rows that differ, works in ranges by several workers, can be interrupted and resumed, and lets
# apply go on however it ends.
# Takes long.
use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;
use Time::HiRes qw(time usleep);

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->create_ledger;
$pair->source_sql(<<'SQL');
CREATE TABLE million (id int PRIMARY KEY, v int, t text);
INSERT INTO million SELECT g, g % 7, 'row ' || g FROM generate_series(1, 1000000) g;
CREATE TABLE part AS SELECT * FROM million WHERE id <= 200000; ALTER TABLE part ADD PRIMARY KEY (id);
CREATE TABLE no_key (a int, b text); ALTER TABLE no_key REPLICA IDENTITY FULL;
INSERT INTO no_key SELECT g % 100, 'x' FROM generate_series(1, 500) g;
CREATE TABLE scattered (id uuid PRIMARY KEY, v int, t text);
INSERT INTO scattered SELECT md5(g::text)::uuid, g, repeat('s', 60) FROM generate_series(1, 100000) g;
CREATE TABLE heap (a int, t text); ALTER TABLE heap REPLICA IDENTITY FULL;
INSERT INTO heap SELECT g, repeat('h', 60) FROM generate_series(1, 80000) g;
CREATE TABLE pairs (a int, b text, v text, PRIMARY KEY (b, a));
INSERT INTO pairs SELECT g, 'k' || g, 'v' FROM generate_series(1, 100) g;
ANALYZE;
SQL
$pair->start(table_jobs => 2);
$pair->wait_stage('streaming');

my $set = "SET livemigrate.compare_range_size = '8MB'; SET livemigrate.compare_jobs = 3;";

# md5(text)::uuid
sub uuid {
    my ($text) = @_;
    return join '-', unpack 'A8A4A4A4A12', md5_hex($text);
}

sub compared {
    my ($columns, $arguments) = @_;
    return $pair->target_sql("$set SELECT $columns FROM livemigrate.compare_data(" . ($arguments // '') . ')');
}

# --- V01 under load, again and again: one transaction too many or too few would show
$pair->start_load(clients => 2, rate => 200);
$pair->wait_for_load(20);
my $lsn = '0/0';
for my $round (1 .. 3) {
    my $now = compared("string_agg(relation || ' ' || coalesce(detail, '') || coalesce(differing_keys::text, ''), ',')
        FILTER (WHERE NOT equal) || '', count(*), min(lsn), max(lsn), bool_and(lsn > '$lsn')", "tables => '{ledger.*}'");
    my @row = split /\|/, $now, -1;
    is($row[0], '', "V01 round $round: nothing differs under load");
    is($row[2], $row[3], 'V01 all tables are compared at one position');
    is($row[4], 't', 'V01 which is a later one each time');
    $lsn = $row[2];
    $pair->wait_for_load(20);
}
ok($pair->poll(sub { $pair->status_row->{message} !~ /held/ }), 'apply is not held behind it');
ok($pair->poll(sub { $source->safe_psql('app', "SELECT count(*) FROM pg_replication_slots WHERE slot_name ~ 'compare'") eq '0' }),
    'no slot is left');
like($pair->target_sql(q{SELECT string_agg(DISTINCT regexp_replace(message, '[0-9A-F]+/[0-9A-F]+', 'LSN'), ',')
        FROM livemigrate.events WHERE message ~ 'for the comparison'}),
    qr/^apply was held for [\d.]+ \w+ for the comparison at LSN/, 'how long apply was held is told');

# From here on it is enough that something is written.
$pair->stop_load;
$pair->start_load(rate => 20);

# --- V02 one bit of a million rows, and rows that only one side has
$pair->target_sql(<<'SQL');
SET session_replication_role = replica;
UPDATE million SET v = v # 4 WHERE id = 654321;
DELETE FROM million WHERE id = 77;
INSERT INTO pairs VALUES (-1, 'only', 'here');
UPDATE no_key SET b = 'y' WHERE ctid = (SELECT min(ctid) FROM no_key WHERE a = 42);
UPDATE scattered SET v = v # 4 WHERE id = md5('5')::uuid;
UPDATE heap SET t = 'flipped' WHERE a = 44444;
SQL
# Rows that lie elsewhere than on the source are none that differ.
$pair->target_sql(q{SET session_replication_role = replica; UPDATE scattered SET t = t WHERE v % 10 = 3; UPDATE heap SET t = t WHERE a < 9000});
$set =~ s/8MB/1MB/;
is(compared("string_agg(relation || ' ' || differing_keys::text || ' ' || coalesce(detail, '') || ' ' || source_rows, '; ' ORDER BY relation)",
        "tables => '{public.scattered,public.heap}'"),
    'public.heap {"(44444,flipped)","(44444,' . 'h' x 60 . ')"}  80000; public.scattered {(id)=(' . uuid(5) . ')}  100000',
    'V02 V06 one row each of a table with random keys and one without key');
is($pair->target_sql("SELECT string_agg(concat_ws(' ', table_name, ranges > 5, ranges_done = ranges, ranges_different, rows_compared, ended), ',' ORDER BY table_name)
        FROM livemigrate.compare_progress WHERE table_name IN ('scattered', 'heap')"),
    'heap t t 1 80000 t,scattered t t 1 100000 t', 'V06 both were cut, at their pages');
is($pair->target_sql("SELECT count(DISTINCT lsn) || ' ' || bool_and(equal IS NULL OR condition = '') FROM livemigrate.comparison_range
        WHERE table_name IN ('scattered', 'heap')"), '1 true', 'all of that at one moment, and no range is called equal by itself');
$pair->target_sql(q{SET session_replication_role = replica; UPDATE scattered SET v = v # 4 WHERE id = md5('5')::uuid;
    UPDATE heap SET t = repeat('h', 60) WHERE a = 44444});
is(compared("bool_and(equal) || ' ' || count(*)", "tables => '{public.scattered,public.heap}'"), 'true 2', 'and equal again');
$set =~ s/1MB/8MB/;
is(compared("string_agg(relation || ' ' || differing_keys::text, '; ' ORDER BY relation)
        FILTER (WHERE NOT equal)"),
    'public.million {(id)=(77),(id)=(654321)}; public.no_key {"(42,x)","(42,y)"}; '
        . 'public.pairs {"(b, a)=(only, -1)"}',
    'V02 V04 the rows are named, while streaming');
is($pair->target_sql("SELECT count(*) FROM livemigrate.compare_progress WHERE ranges > 5 AND ranges_done = ranges
    AND table_name = 'million' AND rows_compared = 1000000 AND ended"), '1', 'V06 the large table was cut into ranges');
is($pair->target_sql("SELECT string_agg(schema_name || '.' || table_name || ' ' || ranges_different, ',' ORDER BY table_name)
        FROM livemigrate.compare_progress WHERE ranges_different > 0"),
    'public.million 2,public.no_key 1,public.pairs 1', 'V06 two ranges of the large table differ');
is($pair->target_sql("SELECT differing_keys::text || ' ' || (detail ~ 'Differs where') || ' ' || (lsn > '$lsn')
        FROM livemigrate.comparisons WHERE relation = 'public.million'"),
    '{(id)=(77),(id)=(654321)} true true', 'the view keeps keys, detail and position');
is( $pair->target_sql("$set SELECT string_agg(key || ' ' || difference, '; ' ORDER BY relation, key)
        FROM livemigrate.compare_rows(tables => '{public.million,public.pairs}')"),
    '(id)=(654321) differs; (id)=(77) only on the source; (b, a)=(only, -1) only on the target',
    'compare_rows says how they differ');
is($pair->target_sql("$set SELECT count(*) FROM livemigrate.compare_rows(tables => '{public.no_key}', max_rows => 1)"),
    '1', 'as many as are asked for');
$pair->target_sql(<<'SQL');
SET session_replication_role = replica;
UPDATE million SET v = v # 4 WHERE id = 654321;
INSERT INTO million VALUES (77, 0, 'row 77');
DELETE FROM pairs WHERE a = -1;
UPDATE no_key SET b = 'x' WHERE b = 'y';
SQL

# --- V06 interrupted, seen while it goes on, and resumed; apply goes on after cancel and kill
my $smaller = "SET livemigrate.compare_range_size = '2MB'; SET livemigrate.compare_jobs = 3;";
my $chosen = "tables => '{public.part,public.no_key,public.pairs}'";
# Planning needs the table, so the lock comes behind it, when workers compare, but before they come to
# the small tables, which are the last. The progress alone may still be that of the run before.
my $compares_part = <<'SQL';
SELECT EXISTS (SELECT FROM livemigrate.compare_progress WHERE NOT ended AND table_name = 'part' AND ranges_done > 0)
    AND EXISTS (SELECT FROM livemigrate.workers WHERE kind = 'compare' AND what ~ 'public.part')
SQL
for my $end (qw(cancel terminate)) {
    my $session = $target->background_psql('app', on_error_stop => 0);
    my $pid = $session->query('SELECT pg_backend_pid()');
    $session->query_until(qr/begins/, "\\echo begins\nSET log_min_messages = notice; $smaller SET livemigrate.compare_holds_apply = on;"
            . " SET livemigrate.compare_rate_limit = '1MB'; SELECT count(*) FROM livemigrate.compare_data($chosen);\n");
    my $lock = $pair->session($target);
    for (1 .. 12_000) {
        last if $lock->query_safe($compares_part) eq 't';
        usleep(10_000);
    }
    $lock->query_safe('BEGIN; LOCK TABLE pairs IN ACCESS EXCLUSIVE MODE');
    is($pair->target_sql("SELECT count(*) FROM livemigrate.compare_progress WHERE NOT ended
            AND table_name = 'part' AND ranges_done > 0"), '1', "$end: the progress is shown");
    ok( $pair->poll(sub { $pair->target_sql("SELECT count(*) FROM livemigrate.workers
            WHERE kind = 'compare' AND what = 'comparing public.pairs'") == 1 }),
        "$end: workers show what they compare");
    my $holder = $lock->query_safe('SELECT pg_backend_pid()');
    ok( $pair->poll(sub { PostgreSQL::Test::Utils::slurp_file($target->logfile) =~
            /NOTICE:  comparing waits for a lock that process $holder \(\w+, since [\d:]+\) holds on the target/ }),
        "$end: and who compares is told whose lock is waited for");
    ok( $pair->poll(sub { $pair->target_sql("SELECT ranges = ranges_done FROM livemigrate.compare_progress
            WHERE NOT ended AND table_name = 'part'") eq 't' }), "$end: only the locked table is left");
    # The others leave when they find nothing to do.
    ok( $pair->poll(sub { $pair->target_sql("SELECT value FROM livemigrate.metrics WHERE name = 'livemigrate_workers'
            AND labels->>'kind' = 'compare'") eq '1' }), "$end: the metric counts the worker that compares it");
    $pair->source_sql("INSERT INTO no_key VALUES (-1, '$end')");
    ok($pair->poll(sub { $pair->status_row->{message} =~ /apply is held for a comparison by process $pid/ }),
        "$end: apply is held on request, and the status says so");
    is($pair->target_sql("SELECT count(*) FROM no_key WHERE b = '$end'"), '0', "$end: apply is held");
    $pair->assert_answers_barrier('apply is held, and compare_data waits for its workers') if $end eq 'cancel';
    $target->safe_psql('app', "SELECT pg_${end}_backend($pid)");
    ok($pair->poll(sub { $pair->target_sql("SELECT count(*) FROM no_key WHERE b = '$end'") == 1 }),
        "$end: apply goes on");
    ok($pair->poll(sub { $target->safe_psql('app', "SELECT count(*) FROM pg_stat_activity
            WHERE backend_type ~ 'compare'") == 0 }), "$end: the workers are gone");
    $pair->end_session($lock);
    eval { $session->quit };
}
my ($rc, $out, $err) = $target->psql('app',
    "$smaller SELECT string_agg(relation, ',') FILTER (WHERE NOT equal), count(*) FROM livemigrate.compare_data($chosen, resume => true)");
like($out, qr/^\|\d+$/, 'V06 resumed: nothing differs') or diag $err;
is($pair->target_sql("SELECT count(*) FROM livemigrate.comparison_range r JOIN livemigrate.comparison_range f USING (run)
        WHERE r.table_name = 'pairs' AND f.table_name = 'part' AND f.finished_at < r.started_at - interval '1 ms' AND r.ended"),
    $pair->target_sql("SELECT ranges FROM livemigrate.compare_progress WHERE table_name = 'part'"),
    'V06 what was known was not read again');

# --- V06 ranges of pages are gone on with when the migration is done, and begun anew as long as rows may move
sub resumed_at_pages {
    my $on_scattered = "livemigrate.compare_data(tables => '{public.scattered}'";
    my $ranges  = "SET livemigrate.compare_range_size = '1MB'; SET livemigrate.compare_jobs = 2;";
    my $session = $target->background_psql('app', on_error_stop => 0);
    my $pid     = $session->query('SELECT pg_backend_pid()');
    $session->query_until(qr/begins/, "\\echo begins\n$ranges SET livemigrate.compare_rate_limit = '1MB';"
          . " SELECT count(*) FROM $on_scattered);\n");
    $pair->poll(sub { $pair->target_sql("SELECT ranges_done BETWEEN 2 AND ranges - 3 FROM livemigrate.compare_progress
        WHERE NOT ended AND table_name = 'scattered'") eq 't' }) or die 'no range is done';
    $target->safe_psql('app', "SELECT pg_cancel_backend($pid)");
    $pair->poll(sub { $target->safe_psql('app', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'compare'}) == 0 })
      or die 'workers stay';
    eval { $session->quit };
    my $now = $pair->target_sql('SELECT clock_timestamp()');
    my $equal = $pair->target_sql("$ranges SELECT bool_and(equal) FROM $on_scattered, resume => true)");
    return $pair->target_sql("SELECT '$equal ' || bool_and(ended) || ' ' || count(*) FILTER (WHERE finished_at < '$now')
        FROM livemigrate.comparison_range WHERE table_name = 'scattered' AND run = (SELECT max(run) FROM livemigrate.comparison_range)");
}
is(resumed_at_pages(), 't true 0', 'V06 while changes are applied such a table begins anew');

# --- a limit on the hold: an old transaction on the source keeps a common position from coming
my $writer = $pair->session($source, "BEGIN; INSERT INTO no_key VALUES (-2, 'open')");
($rc, $out, $err) = $target->psql('app',
    "SET livemigrate.compare_hold_limit = '4s'; SELECT * FROM livemigrate.compare_data(tables => '{public.no_key}')");
like($err, qr/did not come to a common position.*The source waits for: process \d+/s,
    'the hold ends by itself, and who blocked it is named');
$pair->wait_for_load(5);
$pair->end_session($writer);

# --- the worker that keeps the plan of the comparison is ended: another one does it
{
    my $lock    = $pair->lock_table($target, 'livemigrate.comparison_range', 'EXCLUSIVE');
    my $session = $target->background_psql('app', on_error_stop => 0);
    $session->query_until(qr/begins/, "\\echo begins\n$set SELECT 'result', bool_and(equal), count(*)"
            . " FROM livemigrate.compare_data($chosen);\n");
    my $keeper = "FROM pg_stat_activity WHERE backend_type ~ 'compare' AND cardinality(pg_blocking_pids(pid)) > 0";
    my $pid    = $pair->poll(sub { $pair->target_sql("SELECT pid $keeper") });
    $pair->target_sql("SELECT pg_terminate_backend($pid)");
    ok($pair->poll(sub { $pair->target_sql("SELECT count(*) $keeper AND pid <> $pid") == 1 }),
        'another worker keeps the plan');
    $pair->end_session($lock);
    like($session->query("SELECT 'end'"), qr/result\|t\|3/, 'and all is compared');
    $session->quit;
}

# --- a snapshot sees nothing of a table that was rewritten since, on either side: not to be called equal
# The worker waits for its own table, when the snapshots are taken already.
my $lock = $pair->lock_table($target, 'livemigrate.comparison_range', 'EXCLUSIVE');
my $session = $target->background_psql('app', on_error_stop => 0);
$session->query_until(qr/begins/, "\\echo begins\nSELECT 'result', relation, detail"
        . " FROM livemigrate.compare_data(tables => '{public.no_key}') WHERE NOT equal;\n");
$pair->wait_blocked($target);
$pair->source_sql('TRUNCATE no_key');
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM no_key') == 0 }), 'a table is truncated meanwhile');
$pair->end_session($lock);
like($session->query("SELECT 'end'"), qr/result\|public.no_key\|The table was rewritten/,
    'a table that is rewritten while it waits for its turn is not called equal');
$session->quit;
like($pair->target_error("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM livemigrate.compare_data()")->{message},
    qr/cannot compare while changes are applied in this transaction/, 'the transaction must allow it');

$pair->stop_load;
$pair->set_endpos;
$pair->wait_stage('done');
like(resumed_at_pages(), qr/^t true ([2-9]|1\d)$/, 'V06 when it is done it goes on where it was');

# --- what is read in a second is limited, also where the session compares alone
{
    my $all = $target->safe_psql('app', 'SHOW max_worker_processes');
    my $slow = "SET client_min_messages = notice; SET livemigrate.compare_range_size = '1MB'; SET livemigrate.compare_rate_limit = '4MB';";
    my $heap = "SELECT bool_and(equal) FROM livemigrate.compare_data(tables => '{public.heap}');";
    my $least = 0.8 * $pair->target_sql(q{SELECT pg_table_size('heap')}) / (4 << 20);
    my $began = time;
    is($pair->target_sql($slow . $heap), 't', 'slowly');
    cmp_ok(time - $began, '>=', $least, 'the rate limit holds');
    $target->append_conf('postgresql.conf', "max_worker_processes = 0\n");
    $target->restart;
    $began = time;
    my ($rc, $out, $err) = $target->psql('app', $slow . $heap);
    is($out, 't', 'without a worker the session does it') or diag $err;
    cmp_ok(time - $began, '>=', $least, 'as slowly');
    like($err, qr/NOTICE:  no background worker slot is free.*what it has compared is not kept/s, 'and says what that means');
    $target->append_conf('postgresql.conf', "max_worker_processes = $all\n");
    $target->restart;
}
$pair->finish('compared while streaming', endpos => 0);
done_testing();
