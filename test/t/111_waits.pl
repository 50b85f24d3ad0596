# Every way to wait is in migration_status, with who is waited for and what to do: a transaction and a
# prepared one that keep the slot from being made, locks on either side, apply at endpos, pause, and
# background workers that are not free (O08).
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new(source_conf => "max_prepared_transactions = 5\n");
my ($source, $target) = ($pair->source, $pair->target);

sub database {
    my ($name) = @_;
    my $one = $pair->database($name);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 9)');
    return $one;
}

sub says {
    my ($one, $label, $message, $hint) = @_;
    ok($one->poll(sub {
                my $row = $one->status_row;
                ($row->{message} // '') =~ $message && ($row->{hint} // '') =~ $hint;
            }), $label)
      or $one->diagnose($label);
    return $one->status_row;
}

# The hint holds one statement that ends what is waited for, and where it has to be run.
sub run_hint {
    my ($one, $label, $node, $row) = @_;
    my ($sql)   = $row->{hint} =~ /((?:SELECT pg_terminate_backend|COMMIT PREPARED)[^;]*;)/;
    my ($where) = $row->{hint} =~ /, in database "(\w+)", as role "\w+" or a superuser: COMMIT/;
    my ($rc, $out, $err) = $node->psql($where // $one->dbname, $sql // 'no statement');
    is($rc, 0, "$label: the hint's statement runs as it is") or diag $row->{hint}, $err;
}

my $pid_since = qr/process \d+ \(\w+, since \d\d:\d\d:\d\d\)/;

# --- the slot waits for a transaction, then for a prepared one of another database; by a role that is
# not shown since when other roles' transactions are open
my $slot = database('slot');
$slot->source_sql('CREATE ROLE mover LOGIN REPLICATION; GRANT CREATE ON DATABASE slot TO mover; ALTER TABLE t OWNER TO mover');
$source->safe_psql('postgres', "BEGIN; CREATE TABLE elsewhere (); PREPARE TRANSACTION 'it''s'");
my $open = $slot->session($source, 'BEGIN; INSERT INTO t VALUES (21)');
$slot->start(
    plugin      => 'pgoutput',
    roles       => \'false',
    source      => $slot->conninfo(user => 'mover'),
    pause_after => ['slot']);
my $row = says($slot, 'a transaction blocks the slot',
    qr/creating the replication slot: waiting for transactions on the source: process \d+ \(\w+\), prepared/,
    qr/as soon as they have ended\. On the source: SELECT pg_terminate_backend\(\d+\);/);
$slot->assert_answers_barrier('the slot waits for a transaction');
run_hint($slot, 'a transaction blocks the slot', $source, $row);
$row = says($slot, 'a prepared transaction blocks the slot',
    qr/: prepared transaction 'it''s' \(\w+, since \d\d:\d\d:\d\d\)$/,
    qr/On the source, in database "postgres", as .*: COMMIT PREPARED 'it''s'; or ROLLBACK PREPARED 'it''s';/);
run_hint($slot, 'a prepared transaction blocks the slot', $source, $row);
$slot->wait_stage('slot');
says($slot, 'paused', qr/^paused after stage slot/, qr/migration_resume\(/);
$slot->end_session($open);

# --- the same with a limit, which stops the migration; long enough to make a slot on a busy machine
my $limited = database('limited');
$limited->source_sql("BEGIN; INSERT INTO t VALUES (20); PREPARE TRANSACTION 'kept'");
$limited->start(pause_after => ['slot'], options => { slot_timeout => '4 seconds' });
$limited->wait_state('failed');
$row = $limited->status_row;
like($row->{message}, qr/^transactions on the source keep the replication slot from being made for longer than option "slot_timeout" allows$/,
    'a limit for the slot');
like($limited->target_sql('SELECT last_error_detail FROM livemigrate.migration WHERE name = $$limited$$'),
    qr/^Open are: prepared transaction 'kept' \(\w+, since \d\d:\d\d:\d\d\)\.$/, 'a limit for the slot: who is waited for');
run_hint($limited, 'a limit for the slot', $source, $row);
$limited->resume;
$limited->wait_stage('slot');
ok($limited->poll(sub { $limited->source_sql(q{SELECT count(*) FROM pg_replication_slots
        WHERE slot_name LIKE 'livemigrate_limited%'}) eq '1' }), 'a limit for the slot: there is one');

# It holds for a new snapshot, too.
$limited->wait_state('paused');
$limited->source_sql("BEGIN; INSERT INTO t VALUES (21); PREPARE TRANSACTION 'kept'");
$limited->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'livemigrate' AND backend_type = 'client backend' AND datname = current_database()");
$limited->resume(['data']);
$limited->wait_state('failed');
$row = $limited->status_row;
like($row->{message}, qr/^transactions on the source keep a new snapshot from being made for longer than option "slot_timeout" allows$/,
    'a limit for a new snapshot');
run_hint($limited, 'a limit for a new snapshot', $source, $row);
$limited->resume;
$limited->wait_stage('data');
is($limited->target_sql("SELECT count(*) FROM livemigrate.events WHERE migration = 'limited'
        AND message ~ 'a new snapshot was taken'"), '1', 'a limit for a new snapshot: then it is taken');
$limited->abort;
$limited->cleanup;

# --- a lock on the source, which its publication waits for
my $locked = database('locked');
my $lock   = $locked->lock_table($source, 'public.t');
$locked->start;
$row = says($locked, 'a lock on the source',
    qr/waiting for locks on the source's tables: held by $pid_since/,
    qr/as soon as they are released\. On the source: SELECT pg_terminate_backend/);
$locked->assert_answers_barrier('the publication waits for a lock');
run_hint($locked, 'a lock on the source', $source, $row);
$locked->wait_stage('streaming');
$locked->end_session($lock);

# --- a lock on the target, while changes are applied
$lock = $locked->lock_table($target, 'public.t');
$locked->source_sql('INSERT INTO t VALUES (30)');
$row = says($locked, 'a lock on the target',
    qr/apply worker, process \d+, waits for a lock that $pid_since holds on the target/,
    qr/^SELECT pg_terminate_backend\(\d+\); -- on the target/);
$locked->target_sql('CREATE ROLE monitor LOGIN; ' . slurp_file("$FindBin::RealBin/../../contrib/monitoring/grants.sql"));
my ($rc, $seen) = $target->psql('locked', 'SELECT message FROM livemigrate.migration_status()', extra_params => [ '-U', 'monitor' ]);
like($seen, qr/apply worker, process \d+, waits for a lock that process \d+ \(\w+\) holds on the target/,
    'a lock on the target: the role that monitors sees it, but not since when');

# --- endpos is set, and apply is not there yet
$locked->set_endpos;
says($locked, 'endpos is not reached', qr/endpos/, qr/./);
run_hint($locked, 'a lock on the target', $target, $row);
$locked->end_session($lock);
$locked->wait_stage('done');
$locked->cleanup;
$slot->abort;

# --- fewer background workers are free than jobs are wanted
$target->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 6');
$target->restart;
my $full   = database('full');
my @tables = map {"public.t_$_"} 1 .. 8;
$full->source_sql(join ' ', map {"CREATE TABLE $_ (id int PRIMARY KEY); INSERT INTO $_ VALUES (1);"} @tables);
$full->start(table_jobs => \'8', pause_after => ['schema']);
$full->wait_stage('schema');
$lock = $full->lock_table($target, join(', ', @tables));
$full->resume([]);
says($full, 'worker slots are missing',
    qr/; waiting for worker slots \([1-8] needed\): the server has no more free ones \(max_worker_processes = 6\), so fewer/,
    qr/^SELECT pg_terminate_backend/); # the lock that they wait for comes first
like($full->target_sql('SELECT hint FROM livemigrate.migrations'),
    qr/^Nothing to do if that is enough; else run: ALTER SYSTEM SET max_worker_processes = \d+; -- then restart the target$/,
    'and what gives more');
$full->assert_answers_barrier('worker slots are missing');
$full->end_session($lock);

# --- none is left to compare with while changes are applied, and then none for the coordinator
$full->wait_stage('streaming');
$target->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 4');
$target->restart;
ok($full->poll(sub { $full->target_sql(q{SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'}) eq '1' }),
    'changes are applied');
my $error;
$full->poll(sub { # until all of them run
    $error = $full->target_error('SELECT * FROM livemigrate.compare_data()');
    ($error->{sqlstate} // '') eq '53400';
});
like("$error->{message}|$error->{hint}",
    qr/^no free background worker slot to compare with\|Compare when others have ended, or after cutover; or run: ALTER SYSTEM SET max_worker_processes = \d+;/,
    'a comparison without a worker') or diag $error->{all};
$full->pause;
$full->wait_state('paused');
$target->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 1');
$target->restart;
$full->assert_error('SELECT livemigrate.migration_resume()', 'a coordinator without a worker slot',
    sqlstate => qr/^53400/, message => qr/no free background worker slot for the coordinator/);
says($full, 'it stays paused', qr/^paused in stage streaming$/, qr/migration_resume/);
$target->safe_psql('postgres', 'ALTER SYSTEM SET max_worker_processes = 8');
$target->restart;
$full->resume;
$full->wait_stage('streaming');
$full->abort;
done_testing();
