# The operator's calls: pause, resume, abort, cleanup, wait, and what migration_status says.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;
use Time::HiRes qw(time);

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->create_ledger;

# --- the surface: names, types and order of the contract
my %contract = (
    'migration_status t' => <<'COLUMNS',
migration name, stage text, state text, message text, hint text, plugin text, slot_name name,
snapshot_lsn pg_lsn, source_lsn pg_lsn, received_lsn pg_lsn, flushed_lsn pg_lsn, applied_lsn pg_lsn,
endpos pg_lsn, replay_lag interval, lag_bytes bigint, spool_bytes bigint, tables_total integer,
tables_done integer, bytes_total bigint, bytes_done bigint, rows_done bigint, indexes_total integer,
indexes_done integer, transactions_applied bigint, changes_applied bigint, changes_skipped bigint,
copy_bytes_per_second double precision, changes_per_second double precision, eta interval,
started_at timestamp with time zone, stage_started_at timestamp with time zone, attempts integer,
last_error text
COLUMNS
    'migration_start i' => <<'ARGUMENTS',
source text, migration name, plugin text, pause_after text[], table_jobs integer,
index_jobs integer, split_tables_larger_than text, include_tables text[], exclude_tables text[],
exclude_table_data text[], roles boolean, owner boolean, privileges boolean, on_existing text,
options jsonb
ARGUMENTS
    'migration_check i'  => 'source text, plugin text',
    'migration_check t'  => 'check_id text, severity text, object text, message text, fix text',
    'migration_status i' => 'migration name',
    'migration_pause i'  => 'migration name',
    'migration_resume i' => 'migration name, pause_after text[]',
    'migration_wait i'   => 'stage text, timeout interval, migration name',
    'set_endpos i'       => 'endpos pg_lsn, migration name',
    'copy_sequences i'   => 'migration name',
    'compare_schema t'   => 'object text, source text, target text',
    'compare_data i'     => 'migration name, tables text[]',
    'compare_data t'     => 'relation text, source_rows bigint, target_rows bigint,'
      . ' source_checksum text, target_checksum text, equal boolean',
    'migration_abort i'   => 'migration name',
    'migration_cleanup i' => 'migration name');
for my $key (sort keys %contract) {
    my ($function, $mode) = split / /, $key;
    my $signature = $pair->target_sql(<<"SQL");
SELECT string_agg(a.name || ' ' || format_type(a.type, NULL), ', ' ORDER BY a.position)
FROM pg_proc p, unnest(p.proargnames, coalesce(p.proallargtypes, p.proargtypes::oid[]),
    p.proargmodes) WITH ORDINALITY a(name, type, mode, position)
WHERE p.proname = '$function' AND p.pronamespace = 'livemigrate'::regnamespace
    AND translate(coalesce(a.mode, 'i')::text, 'o', 't') = '$mode'
SQL
    my $wanted = $contract{$key} =~ s/\s+/ /gr =~ s/ $//r;
    # What is added comes last.
    like($signature, qr/^\Q$wanted\E(,|$)/,
        $function . ($mode eq 'i' ? ': its arguments' : ': its columns'));
}
for my $view (qw(migrations table_progress index_progress workers events conflicts)) {
    is($pair->target_sql("SELECT count(*) >= 0 FROM livemigrate.$view"),
        't', "view $view can be read");
}
is($pair->target_sql('SELECT count(*) FROM livemigrate.migration_status()'),
    '0', 'no migration, no row');

# --- pause in data: the workers stop, nothing is lost, resume goes on
$pair->start_load(rate => 50);
$pair->start(pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->wait_state('paused');
my $lock = $pair->lock_table($target, 'ledger.bulk');
$pair->resume([]);
$pair->wait_blocked($target);
my $status = $pair->status_row;
is("$status->{stage} $status->{state}", 'data running', 'data: running');
ok($status->{message}, 'data: status is not silent');
cmp_ok($status->{tables_total}, '>=', 5, 'data: tables are counted');
like(
    $pair->target_sql(
        "SELECT string_agg(DISTINCT kind, ',' ORDER BY kind) FROM livemigrate.workers"),
    qr/coordinator.*copy.*receiver|copy.*coordinator/,
    'data: the workers can be seen');
# One that begins gets it a moment later.
ok( $pair->poll(
        sub {
            $pair->target_sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'livemigrate'
                AND application_name = ''") eq '0';
        }),
    'data: every worker has an application_name');
$pair->pause;
$pair->wait_state('paused');
ok( $pair->poll(
        sub {
            $pair->target_sql(
                "SELECT count(*) FROM livemigrate.workers WHERE kind ~ 'copy|index|apply'") eq '0';
        }),
    'paused in data: no copy worker is left');
is( $source->safe_psql(
        'app', "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'livemigrate_main'"),
    '1',
    'paused in data: the slot stays');
ok($pair->status_row->{hint}, 'paused in data: status says what to do');
$pair->end_session($lock);
$pair->wait_for_load(10);
$pair->resume;
$pair->wait_stage('streaming');
$pair->assert_ledger('target', 'paused in data: the ledger holds');

# --- pause while streaming, with a worker that answers nothing for a while
my $apply = $pair->worker_pid('apply');
kill STOP => $apply;
$pair->pause;
ok($pair->poll(sub { $pair->status_row->{message} eq "waiting for process $apply to end" }),
    'a process that does not end is named') or $pair->diagnose('a stopped process');
kill CONT => $apply;
$pair->wait_state('paused');
my $frozen = $pair->target_sql('SELECT max(id) FROM ledger.audit');
$pair->wait_for_load(20);
is($pair->target_sql('SELECT max(id) FROM ledger.audit'),
    $frozen, 'paused while streaming: nothing is applied');
$pair->assert_ledger('target', 'paused while streaming: at a transaction boundary');
$pair->resume;
ok($pair->poll(sub { $pair->target_sql('SELECT max(id) FROM ledger.audit') > $frozen }),
    'resumed while streaming: goes on');
$pair->wait_state('running');

# --- wait: timeout, cancel, and by psql in a terminal
my $start = time;
my $error = $pair->target_error($pair->wait_sql('done', 1));
cmp_ok(time - $start, '<', 60, 'wait: the timeout is kept');
like($error->{message}, qr/\S/, 'wait: the timeout is an error');
unlike($error->{sqlstate}, qr/^XX/, 'wait: with an SQLSTATE');
my $waiting = $pair->start_background('psql', '-X', '-d', $target->connstr('app'),
    '-c', "CALL livemigrate.migration_wait('done')");
my $wait_pid;
ok( $pair->poll(
        sub {
            $wait_pid
                = $pair->target_sql(
                "SELECT pid FROM pg_stat_activity WHERE query ~ '^CALL livemigrate'
                    AND state = 'active' AND pid <> pg_backend_pid()"
                );
        }),
    'wait: can be seen in pg_stat_activity');
# But while it looks.
ok( $pair->poll(
        sub {
            $pair->target_sql("SELECT count(*) FROM pg_stat_activity
                WHERE pid = $wait_pid AND state = 'active' AND backend_xmin IS NULL") eq '1';
        }),
    'wait: holds no snapshot');
$pair->assert_answers_barrier('migration_wait waits');
$pair->target_sql("SELECT pg_cancel_backend($wait_pid)");
ok( $pair->poll(
        sub {
            $pair->target_sql(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = $wait_pid AND state = 'active'")
                eq '0' || !kill 0, $wait_pid;
        }),
    'wait: can be cancelled');
$pair->stop_background($waiting);
is($pair->status_row->{state}, 'running', 'wait: cancelling it does not touch the migration');
my $again = time;
$pair->wait_stage('data');
cmp_ok(time - $again, '<', 60, 'wait: a stage that is behind returns at once');

# --- a call takes effect at commit
$pair->target_sql("BEGIN; SELECT livemigrate.migration_pause('main'); ROLLBACK");
my $now = $pair->target_sql('SELECT max(id) FROM ledger.audit');
ok($pair->poll(sub { $pair->target_sql('SELECT max(id) FROM ledger.audit') > $now }),
    'a rolled back pause does nothing');
$pair->target_sql(
    'BEGIN; ' . $pair->start_sql(migration => 'never', pause_after => ['slot']) . '; ROLLBACK',)
    if 0;

# --- NULL means the only one that has not ended; lag and counters move
$pair->stop_load;
is($pair->target_sql('SELECT migration FROM livemigrate.migration_status()'),
    'main', 'NULL takes the only migration');
ok( $pair->poll(
        sub {
            my $row = $pair->status_row;
            defined $row->{replay_lag} && ($row->{lag_bytes} // 1e9) < 1_000_000;
        }),
    'status shows the lag');
$status = $pair->status_row;
for my $column (
    qw(snapshot_lsn source_lsn received_lsn flushed_lsn applied_lsn spool_bytes bytes_total),
    qw(bytes_done rows_done transactions_applied changes_applied started_at stage_started_at),
    'message'
) {
    ok(defined $status->{$column}, "streaming: $column is known");
}
$pair->finish('paused twice');
$pair->cleanup;
pass('cleanup can be repeated');
$pair->assert_nothing_left('O02 cleanup twice');
is($pair->target_sql("SELECT livemigrate.migration_cleanup('main')"),
    'main', 'O02 cleanup of what is cleaned up');

# --- abort at each stage leaves nothing
for my $stage (qw(preflight slot roles schema data indexes catchup)) {
    my $one = $pair->database("abort_$stage");
    $one->create_ledger;
    $one->start(pause_after => [$stage]);
    $one->wait_stage($stage);
    $one->wait_state('paused');
    $one->work(5);
    $one->abort;
    $one->wait_state('aborted');
    $one->assert_nothing_left("O03 abort after $stage leaves nothing");
    $one->abort;
    $one->cleanup;
}
for my $stage (qw(data streaming)) {
    my $one = $pair->database("abort_in_$stage");
    $one->create_ledger;
    $one->start_load(rate => 50);
    $one->start(pause_after => ['schema']);
    $one->wait_stage('schema');
    $one->wait_state('paused');
    my $held = $stage eq 'data' ? $one->lock_table($target, 'ledger.bulk') : undef;
    $one->resume([]);
    $held ? $one->wait_blocked($target) : $one->wait_stage('streaming');
    $one->abort;
    $one->wait_state('aborted');
    $one->assert_nothing_left("O03 abort in $stage leaves nothing");
    ok($one->status_row->{message}, "O03 abort in $stage: status is not silent");
    $one->end_session($held) if $held;
    $one->stop_load;
}

# --- O01: the source is gone at cleanup
my $gone = $pair->database('gone');
$gone->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$gone->start;
$gone->wait_stage('streaming');
$source->stop('fast');
my ($rc, $out, $err) = $target->psql('gone', "SELECT livemigrate.migration_abort('gone')");
is($rc, 0, 'O01 abort without the source succeeds') or diag $err;
ok($gone->poll(sub { my $row = $gone->status_row; $row->{state} eq 'aborted' }), 'O01 aborted');
my $told
    = $err
    . $gone->target_sql(
    "SELECT string_agg(concat_ws(' ', message, detail), ' ') FROM livemigrate.events
        WHERE migration = 'gone'"
    )
    . ($gone->status_row->{hint}    // '')
    . ($gone->status_row->{message} // '');
like($told, qr/pg_drop_replication_slot/, 'O01 the SQL to run on the source is printed');
$source->start;
$gone->cleanup;
$gone->assert_nothing_left('O01 cleanup once the source is back');

done_testing();
