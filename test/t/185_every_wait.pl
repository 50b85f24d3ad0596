# More of what migration_status says on a real migration, by its words, and with a hint that ends the
# wait: retries, locks on either side in every stage, prepared transactions, a pause, a coordinator
# that is not there, and a slot that comes near its limit.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(
    source_conf => "max_prepared_transactions = 5\n",
    target_conf => "max_prepared_transactions = 5\n");
my ($source, $target) = ($pair->source, $pair->target);

sub database {
    my ($name, $sql) = @_;
    my $one = $pair->database($name, migration => 'main');
    $one->source_sql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9);"
          . ($sql // ''));
    return $one;
}

sub says {
    my ($one, $label, $message, $hint) = @_;
    my $row = {};
    my $ok = ok($one->poll(sub {
                $row = $one->status_row // {};
                ($row->{message} // '') =~ $message && ($row->{hint} // '') =~ $hint;
            }), $label);
    unless ($ok) {
        diag "$row->{state}: $row->{message} | $row->{hint}";
        $one->diagnose($label);
    }
    return $row;
}

# The hint holds one statement that ends what is waited for.
sub run_hint {
    my ($one, $label, $node, $row) = @_;
    my ($sql) = ($row->{hint} // '') =~ /((?:SELECT pg_terminate_backend|COMMIT PREPARED)[^;]*;)/;
    my ($rc, $out, $err) = $node->psql($one->dbname, $sql // 'no statement');
    is($rc, 0, "$label: the hint's statement runs as it is") or diag $row->{hint}, $err;
}

my $since = qr/\(\w+, since \d\d:\d\d:\d\d\)/;

# --- a migration that has just been asked for
my $first = database('first', q{CREATE SEQUENCE s; SELECT nextval('s'); SELECT nextval('s'); CREATE MATERIALIZED VIEW mv AS SELECT count(*) FROM t});
{
    my $start = $first->start_sql(pause_after => ['data']);
    my $said = $first->target_sql("BEGIN; $start; SELECT message || '|' || hint FROM"
          . ' livemigrate.migration_status(); COMMIT');
    like($said, qr/^waiting for its coordinator\|Nothing to do; to watch it:/m, 'it waits for its coordinator');
}
$first->wait_state('paused');
says($first, 'paused behind a stage', qr/^paused after stage data$/, qr/^SELECT livemigrate\.migration_resume\(\);$/);
$first->assert_answers_barrier('paused behind a stage');

# --- an index worker, and a prepared transaction of the target
$first->target_sql("BEGIN; LOCK TABLE t IN ROW EXCLUSIVE MODE; PREPARE TRANSACTION 'it''s held'");
$first->resume([]);
my $row = says($first, 'a prepared transaction of the target',
    qr/^building indexes and constraints: .*; index worker, process \d+, waits for a lock that prepared transaction 'it''s held' $since holds on the target$/,
    qr/^COMMIT PREPARED 'it''s held'; -- on the target, in database "first", as role "\w+" or a superuser, or: ROLLBACK PREPARED/);
$first->assert_answers_barrier('an index worker waits for a lock');
run_hint($first, 'a prepared transaction of the target', $target, $row);
$first->wait_stage('streaming');

# --- retrying: when the next attempt is
$source->stop('fast');
says($first, 'retrying', qr/; next attempt at \d\d:\d\d:\d\d \(attempt \d+\)$/,
    qr/^Check host, port .* To try again at once: SELECT livemigrate\.migration_resume\(\);$/);
ok($first->poll(sub { $first->target_sql('SELECT next_attempt_at > clock_timestamp() - interval $$1 min$$
        FROM livemigrate.migrations') eq 't' }), 'the view has the time');
$first->assert_answers_barrier('the source is gone');
$source->start;
ok($first->poll(sub { $first->status_row->{state} eq 'running' }), 'it goes on')
  or $first->diagnose('retrying');
is($first->target_sql('SELECT next_attempt_at FROM livemigrate.migrations'), '', 'and has none any more');

# --- paused in a stage, and resumed without a coordinator: the server was restarted without the library
$first->pause;
$first->wait_state('paused');
says($first, 'paused in a stage', qr/^paused in stage streaming$/, qr/^SELECT livemigrate\.migration_resume\(\);$/);
$first->resume;
$first->wait_stage('streaming');
$target->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef);
$target->restart;
$row = says($first, 'without a coordinator', qr/^nothing works on the migration: its coordinator is not running$/,
    qr/^SELECT livemigrate\.migration_resume\(\);$/);
$first->target_sql($row->{hint});
$first->wait_stage('streaming');
$target->append_conf('postgresql.conf', "shared_preload_libraries = 'livemigrate'\n");
$target->restart;
ok($first->poll(sub { $first->target_sql(q{SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'}) eq '1' }),
    'with the library it goes on by itself');

# --- a materialized view of the source that is being refreshed, from here to the end, keeps nothing waiting
my $refresher = $first->session($source, 'BEGIN; REFRESH MATERIALIZED VIEW mv');
my $downtime = q{SET statement_timeout = '100s'; SELECT message FROM livemigrate.cutover_check() WHERE check_id = 'downtime'};
ok($first->poll(sub { $first->target_sql($downtime) =~ /, 1 materialized view of \d+ \w+;/ }),
    'what is being refreshed on the source is not waited for');

# --- endpos that is not reached: apply waits for a lock; then cutover for one on a sequence of the
# source, whose process then stands, for one on the target, and one on a materialized view
my $lock = $first->lock_table($target, 't');
$first->source_sql('INSERT INTO t VALUES (10)');
my $endpos = $first->set_endpos;
$row = says($first, 'endpos is not reached',
    qr/^applying changes up to endpos $endpos.*; apply worker, process \d+, waits for a lock that process \d+ $since holds/,
    qr/^SELECT pg_terminate_backend\(\d+\);/);
my $sequence = $first->session($target, 'BEGIN; ALTER SEQUENCE s INCREMENT 2');
my $reader   = $first->session($target, q{BEGIN; COMMENT ON MATERIALIZED VIEW mv IS 'held'});
my $renamer  = $first->session($source, 'BEGIN; ALTER SEQUENCE s RENAME TO renamed');
run_hint($first, 'endpos is not reached', $target, $row);
says($first, 'a lock on a sequence of the source',
    qr/^setting sequences: waiting for locks on the source: held by process \d+ $since$/,
    qr/On the source: SELECT pg_terminate_backend\(\d+\);$/);
my $stopped = $first->source_sql(q{SELECT pid FROM pg_stat_activity WHERE application_name = 'livemigrate'
    AND wait_event_type = 'Lock'});
kill 'STOP', $stopped;
$first->end_session($renamer);
$row = says($first, 'the source does not answer', qr/^setting sequences: waiting for the source$/,
    qr/^To see what it does, on the source: SELECT .* WHERE pid = $stopped;$/);
is($first->source_sql($row->{hint} =~ s/.*: (?=SELECT)//r) =~ tr/|//, 3, "the source does not answer: the hint's statement runs as it is");
kill 'CONT', $stopped;
$row = says($first, 'a lock on a sequence',
    qr/^setting sequences; coordinator, process \d+, waits for a lock that process \d+ $since holds on the target$/,
    qr/^SELECT pg_terminate_backend\(\d+\); -- on the target/);
$first->assert_answers_barrier('cutover waits for a lock');
run_hint($first, 'a lock on a sequence', $target, $row);
$row = says($first, 'a lock on a materialized view',
    qr/^refreshing materialized view "public"\."mv" \(1 of 1\); coordinator, process \d+, waits for a lock that process \d+ $since holds/,
    qr/^SELECT pg_terminate_backend\(\d+\);/);
my $catalog = $first->lock_table($source, 'pg_event_trigger');
run_hint($first, 'a lock on a materialized view', $target, $row);
says($first, 'the checks', qr/^checking what the change stream cannot carry/, qr//);
$first->wait_blocked($source);
$first->pause;
$first->wait_state('paused');
$first->end_session($catalog);
$first->resume;
$first->wait_stage('done');
$first->end_session($refresher);
says($first, 'done', qr/^migration is done$/, qr/compare_data\(\).*migration_cleanup\(\);$/);
$first->cleanup;
says($first, 'cleaned up', qr/./, qr/^Nothing is left to do\.$/);
$first->assert_answers_barrier('only the launcher is there');
$first->end_session($_) for $lock, $sequence, $reader;

# --- a prepared transaction of the source has a lock, then keeps the slot from being made
my $second = database('second', 'CREATE TABLE ready (id int PRIMARY KEY); INSERT INTO ready VALUES (1)');
$second->source_sql("BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE; PREPARE TRANSACTION 'two'");
$second->start(pause_after => ['schema'], plugin => 'pgoutput');
$row = says($second, 'a prepared transaction of the source has a lock',
    qr/^waiting for locks on the source's tables: held by prepared transaction 'two' \(\w+, since \d\d:\d\d:\d\d\)$/,
    qr/On the source, in database "second", as role "\w+" or a superuser: COMMIT PREPARED 'two'; or ROLLBACK PREPARED 'two';/);
run_hint($second, 'a prepared transaction of the source has a lock', $source, $row);
$second->wait_state('paused');

# --- the copy: a statement of the source that waits for our lock, whose lock the copy waits for
my $truncate = $second->session($source);
my $pid      = $truncate->query('SELECT pg_backend_pid()');
$truncate->query_until(qr/sent/, "\\echo sent\nTRUNCATE t;\n");
$second->poll(sub { $second->source_sql("SELECT wait_event_type FROM pg_stat_activity
    WHERE pid = $pid") eq 'Lock' });
$lock = $second->lock_table($target, 't', 'SHARE');
# It may be a third of a second, and once.
my $watcher = $second->session($target);
$watcher->query_until(qr/watching/, "\\echo watching\n" . <<'SQL');
DO $$BEGIN
    FOR i IN 1 .. 15000 LOOP
        IF EXISTS (SELECT FROM livemigrate.workers WHERE kind = 'index' AND what = 'waiting for a table to be complete') THEN
            CREATE TABLE index_worker_waited ();
            EXIT;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
END$$;
SQL
$second->resume([]);
$row = says($second, 'the copy waits for a lock on the source',
    qr/^copying: 1 of 2 tables done, 1 copy worker; copy worker, process \d+, is waiting for a lock on public\.t of the source: held by process $pid $since$/,
    qr/^The copy goes on as soon as it is released\. On the source: SELECT pg_terminate_backend\($pid\);$/);
$second->assert_answers_barrier('a copy worker waits for a lock on the source');

# It looks again and again, in one session, and says what the source says to that.
my $asking = q{SELECT pid, query_start FROM pg_stat_activity WHERE application_name = 'livemigrate'
    AND query ~ 'pg_blocking_pids|pg_prepared_xacts'};
my ($asker, $asked_at) = split /\|/, $second->source_sql($asking);
ok($second->poll(sub { $second->source_sql("SELECT query_start > '$asked_at' FROM ($asking) q WHERE pid = $asker") eq 't' }),
    'the session that looks for the holder looks again');
$source->safe_psql('postgres', 'ALTER DATABASE second ALLOW_CONNECTIONS false');
$source->safe_psql('postgres', "SELECT pg_terminate_backend($asker)");
ok($second->poll(sub { $second->target_sql("SELECT what FROM livemigrate.workers WHERE kind = 'copy'")
        =~ /^waiting for a lock on public\.t of the source: could not connect to the source .*not currently accepting connections/ }),
    'why it cannot look is said') or $second->diagnose('no connections');
$source->safe_psql('postgres', 'ALTER DATABASE second ALLOW_CONNECTIONS true');
$row = says($second, 'it looks again as soon as it can', qr/held by process $pid $since$/, qr/pg_terminate_backend\($pid\)/);
run_hint($second, 'the copy waits for a lock on the source', $source, $row);
$second->end_session($truncate);
ok($second->poll(sub { $second->target_sql(q{SELECT to_regclass('index_worker_waited') IS NOT NULL}) eq 't' }),
    'an index worker says that it waits for a table');
$second->target_sql('DROP TABLE index_worker_waited');
$second->end_session($watcher);

# --- the same worker, for one on the target
$row = says($second, 'the copy waits for a lock on the target',
    qr/^copying: .*; copy worker, process \d+, waits for a lock that process \d+ $since holds on the target$/,
    qr/^SELECT pg_terminate_backend\(\d+\); -- on the target/);
$second->assert_answers_barrier('a copy worker waits for a lock on the target');

# --- paused there, while the slot comes near its limit; then with a receiver that stands
$source->safe_psql('postgres', q{ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'});
$source->reload;
$second->pause;
$second->wait_state('paused');
my $danger = qr/the slot is in danger: the source keeps \d+ [kM]B of WAL for it, and drops it \d+ \w+ later/;
# No more than that it is in danger by the source's own figures.
my $is_near = q{SELECT safe_wal_size * 4 < safe_wal_size + pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)
    FROM pg_replication_slots WHERE slot_name = 'livemigrate_main'};
sub write_wal {
    for (1 .. 5) {
        return if $source->safe_psql('postgres', $is_near) eq 't';
        $second->source_sql('CREATE TABLE IF NOT EXISTS w (); DROP TABLE w; SELECT pg_switch_wal()');
    }
    return;
}
write_wal();
says($second, 'the slot is in danger while it is paused', qr/^paused in stage data; $danger$/,
    qr/^On the source, .*: ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf\(\); And here: SELECT livemigrate\.migration_resume\(\);$/);
is($second->target_sql(q{SELECT count(*) FROM livemigrate.events WHERE severity = 'warning' AND
        message ~ '^the slot is in danger' AND detail ~ 'max_slot_wal_keep_size'}), '1', 'it is an event, once');
$second->end_session($lock);
$second->resume;
$second->wait_stage('streaming');
ok($second->poll(sub {
            $second->source_sql('CHECKPOINT');
            $second->status_row->{message} !~ /danger/;
        }), 'and is told no longer') or $second->diagnose('the slot');
$second->assert_answers_barrier('nothing is to be applied');
my $receiver = $second->worker_pid('receiver');
kill 'STOP', $receiver;
write_wal();
$row = says($second, 'the slot is in danger while changes are applied', qr/^applying changes .*; $danger(?:; not converging.*)?$/,
    qr/^On the source, .*: ALTER SYSTEM SET max_slot_wal_keep_size = -1; SELECT pg_reload_conf\(\);$/);
is($second->target_sql(q{SELECT value BETWEEN 0 AND 64 * 1048576 FROM livemigrate.metrics
        WHERE name = 'livemigrate_slot_safe_bytes'}), 't', 'and its metric has how much is left');
my ($fix) = $row->{hint} =~ /(ALTER .*?;) /;
$source->safe_psql('postgres', $fix // 'no fix');
$source->reload;
ok($second->poll(sub { $second->status_row->{message} !~ /danger/ }), 'the fix ends it');
kill 'CONT', $receiver;
is($second->target_sql(q{SELECT count(*) FROM livemigrate.events WHERE message ~ '^the slot is in danger'}),
    '2', 'each time one event');
$second->finish('after all that');
done_testing();
