# R10: the source's processes are stopped while the slot is made, the schema is dumped, and tables are
# copied.  The system that they run on answers
# for them, so no keepalive and no time limit of TCP sees it.  The migration says since when no data
# has come, serves a pause, and goes on where it was when they run again.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my @stopped;

END {
    my $exit_code = $?;
    kill 'CONT', @stopped;
    $? = $exit_code;
}

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

sub stop_source {
    my (@also) = @_;
    @stopped = split /\n/, $source->safe_psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'livemigrate'");
    cmp_ok(scalar @stopped, '>=', 3, 'our sessions are stopped');
    kill 'STOP', @also, @stopped;
    push @stopped, @also;
    return;
}

sub says {
    my ($message, $label) = @_;
    ok($pair->poll(sub { $pair->status_row->{message} =~ $message }, 60), $label) or $pair->diagnose($label);
    return;
}

# Nobody says who keeps a statement waiting, and no new session either.
sub assert_silence_while {
    my ($doing, $waits, $label) = @_;
    my ($postmaster) = slurp_file($source->data_dir . '/postmaster.pid') =~ /^(\d+)/;
    says(qr/^$doing: $waits/, "$label: a wait");
    stop_source($postmaster);
    says(qr/^$doing: the source does not answer$/, "$label: the source is silent");
    like($pair->status_row->{hint}, qr/^See what our sessions do on the source: SELECT .* WHERE application_name = 'livemigrate';$/,
        "$label: and what to look at");
    $pair->pause;
    $pair->wait_state('paused', 40);
    kill 'CONT', splice @stopped;
    return;
}

# More than the sockets hold, in few pages; and a lock that stops the worker when it has begun to
# read, not before.
$pair->source_sql(q{CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT g, repeat(md5(g::text), 300) FROM generate_series(1, 1000) g});
my $open = $pair->session($source, 'BEGIN; INSERT INTO t VALUES (0)');
$pair->start(pause_after => ['slot'], table_jobs => 1);
# A source that answers, but not to that, is no silent one.
says(qr/^creating the replication slot: waiting for transactions/, 'R10 the slot waits');
$source->safe_psql('postgres', 'ALTER DATABASE app ALLOW_CONNECTIONS false');
$source->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE application_name = 'livemigrate' AND query ~ 'pg_prepared_xacts'});
says(qr/^creating the replication slot: could not connect to the source .*not currently accepting connections/,
    'R10 the slot: why nobody can be asked');
$source->safe_psql('postgres', 'ALTER DATABASE app ALLOW_CONNECTIONS true');
assert_silence_while('creating the replication slot', qr/waiting for transactions on the source: process/, 'R10 the slot');
$pair->end_session($open);
$pair->resume;
$pair->wait_stage('slot');
$pair->wait_state('paused');
$open = $pair->lock_table($source, 'pg_event_trigger');
$pair->resume(['schema']);
assert_silence_while('dumping the schema', qr/waiting for locks on the source's tables: held by process/, 'R10 the schema');
$pair->end_session($open);
$pair->resume;
$pair->wait_stage('schema');
$pair->wait_state('paused');
my $lock = $pair->lock_table($target, 'public.t', 'SHARE');
$pair->resume([]);
$pair->wait_blocked($target);
stop_source();
$pair->end_session($lock);

my $silence = qr/no data has come from the source since \d{4}-\d\d-\d\d [\d:.]+ ?\S+ \(copying public\.t\)/;
ok($pair->poll(sub { $pair->status_row->{message} =~ $silence }),
    'R10 the status says since when no data has come')
    or $pair->diagnose('R10');
is($pair->status_row->{state}, 'running', 'R10 and goes on waiting');
my ($look) = $pair->target_sql("SELECT detail FROM livemigrate.events
    WHERE severity = 'warning' AND message ~ '^no data has come from the source'") =~
    /^On the source: (SELECT .*;)$/;
like($source->safe_psql('postgres', $look // 'SELECT'), qr/COPY .*public.*t/, 'R10 and what to look at');

$pair->assert_answers_barrier('a copy worker reads from a source that is stopped');

# The coordinator's own questions have no answer either.
$pair->pause;
$pair->wait_state('paused');
is($pair->status_row->{state}, 'paused', 'R10 a pause does not wait for the source');
kill 'CONT', splice @stopped;
$pair->resume([]);
ok($pair->poll(sub { $pair->status_row->{message} !~ $silence }), 'R10 until data comes');
$pair->wait_stage('streaming');
is($pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'new snapshot'"),
    '0', 'R10 the snapshot was kept');
$pair->finish('R10');

done_testing();
