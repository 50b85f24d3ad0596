# What is seen while a migration runs is true: progress of all jobs, lag, rates, hints, messages,
# notifications, the history of the lag, and the metrics.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->create_ledger;
$pair->source_sql('CREATE SEQUENCE only_one');

my $listener = $pair->session($target, 'LISTEN livemigrate');

# What a session was notified of, until there is what matches: a notification comes behind its commit.
sub notes_until {
    my ($session, $match) = @_;
    my $notes = '';
    $pair->poll(sub { $notes .= $session->query('SELECT 1'); $notes =~ $match });
    return $notes;
}

# --- indexes: constraints, validation and ANALYZE count, not only CREATE INDEX
$pair->start_load(rate => 50);
$pair->start(pause_after => [ 'data', 'catchup' ]);
$pair->wait_stage('data');
$pair->wait_state('paused');
ok($pair->poll(sub { $pair->status_row->{copy_bytes_per_second} == 0 }),
    'data: its rate ends with it');
my $lock = $pair->lock_table($target, 'ledger.bulk');
$pair->resume(['catchup']);
$pair->wait_blocked($target);
my $status = $pair->status_row;
is($status->{stage}, 'indexes', 'indexes: under way');
cmp_ok($status->{indexes_done}, '<', $status->{indexes_total}, 'indexes: not all done');
ok($pair->poll(sub { $pair->status_row->{eta} }), 'indexes: when they will be done');
ok($status->{hint}, 'indexes: there is a hint');
$pair->end_session($lock);
$pair->wait_stage('catchup');
$status = $pair->status_row;
is($status->{indexes_done}, $status->{indexes_total}, 'catchup: all jobs done');
is( $pair->target_sql(
        "SELECT count(*) FILTER (WHERE kind = 'analyze') > 0 AND count(*) = $status->{indexes_total}
            FROM livemigrate.index_progress"
    ),
    't',
    'every job counts');
$pair->wait_state('paused');
$pair->resume([]);
$pair->wait_stage('streaming');
ok($pair->poll(sub { $pair->status_row->{changes_per_second} > 0 }), 'streaming: a rate');
like($pair->status_row->{hint}, qr/set_endpos\(\)/, 'streaming: the hint says how it ends');

# --- samples of the lag, every two seconds
ok( $pair->poll(
        sub {
            $pair->target_sql(
                "SELECT count(*) >= 3 FROM livemigrate.lag_history WHERE stage = 'streaming'
                    AND replay_lag IS NOT NULL AND lag_bytes IS NOT NULL
                    AND source_bytes_per_second > 0 AND changes_per_second > 0
                    AND slot_retained_bytes > 0"
            ) eq 't';
        }),
    'lag_history has samples while streaming');
is( $pair->target_sql(
        "SELECT count(*) FROM livemigrate.lag_history WHERE stage = 'data' AND lag_bytes IS NULL"
            . ' HAVING count(*) > 0') > 0,
    1,
    'lag_history has samples of the copy');

# --- metrics: one query, each sample once, figures as in the status
is( $pair->target_sql(
        'SELECT count(*) FROM (SELECT name, labels FROM livemigrate.metrics
            GROUP BY name, labels HAVING count(*) > 1) AS s'
    ),
    '0',
    'metrics: no sample twice');
is( $pair->target_sql(
        "SELECT count(*) FROM livemigrate.metrics
            WHERE name !~ '^livemigrate_[a-z_]+\$' OR labels->>'migration' <> 'main'
                OR value IS NULL"
    ),
    '0',
    'metrics: names, labels and values');
my %metric = map { split /=/ } split /\n/,
    $pair->target_sql(
    "SELECT concat_ws(':', name, labels->>'stage', labels->>'state', labels->>'kind') || '=' || value
        FROM livemigrate.metrics WHERE name <> 'livemigrate_info'"
    );
is($metric{'livemigrate_stage:streaming'},       1, 'metrics: the stage');
is($metric{'livemigrate_stage:data'},            0, 'metrics: not another one');
is($metric{'livemigrate_state:running'},         1, 'metrics: the state');
is($metric{'livemigrate_workers:apply'},         1, 'metrics: workers');
is($metric{'livemigrate_coordinator_running'},   1, 'metrics: the coordinator');
is($metric{'livemigrate_not_converging'},        0, 'metrics: it converges');
is($metric{'livemigrate_tables_done'}, $metric{'livemigrate_tables'}, 'metrics: tables');
cmp_ok($metric{'livemigrate_changes_applied_total'}, '>', 0, 'metrics: changes');
cmp_ok($metric{'livemigrate_slot_retained_bytes'},   '>', 0, 'metrics: WAL kept on the source');
ok(exists $metric{$_}, "metrics: $_")
    for qw(livemigrate_replay_lag_seconds livemigrate_lag_bytes livemigrate_spool_bytes
    livemigrate_source_bytes_per_second livemigrate_apply_bytes_per_second
    livemigrate_slot_xmin_age livemigrate_conflicts_total);
is($metric{livemigrate_conflicts_total}, 0, 'metrics: no conflict');

# The slot's xmin stays at a transaction that is open.
my $open = $pair->session($source, 'BEGIN; SELECT pg_current_xact_id()');
$pair->source_sql('CREATE TABLE burnt (i int); DO $$ BEGIN FOR i IN 1 .. 5000 LOOP BEGIN INSERT INTO burnt VALUES (i);'
      . ' EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$; DROP TABLE burnt');
ok($pair->poll(sub { $pair->target_sql(q{SELECT value >= 5000 FROM livemigrate.metrics
        WHERE name = 'livemigrate_slot_xmin_age'}) eq 't' }), 'metrics: the age of the slot\'s xmin');
$pair->end_session($open);

# --- a role that monitors needs no secret
my $grants = "$FindBin::RealBin/../../contrib/monitoring/grants.sql";
SKIP: {
    skip 'contrib is not there', 2 unless -e $grants;
    $pair->target_sql('CREATE ROLE monitor LOGIN');
    $target->safe_psql('app', "\\i $grants");
    is($pair->target_sql('SET ROLE monitor; SELECT count(*) > 20 FROM livemigrate.metrics'),
        't', 'the monitoring role reads metrics');
    is($pair->target_error('SET ROLE monitor; SELECT source FROM livemigrate.migration')->{sqlstate},
        '42501', 'and not the connection string');
}

# --- the history is thinned, when a coordinator begins and every five minutes from then on
$pair->target_sql(<<'SQL');
INSERT INTO livemigrate.lag_sample (migration, at, stage, changes_per_second, apply_bytes_per_second,
  source_bytes_per_second, copy_bytes_per_second)
SELECT m.id, s.at, s.stage, 0, 0, 0, 0
FROM livemigrate.migration m, (
  SELECT now() - interval '31 days', 'a month' UNION ALL
  SELECT date_bin('10 min', now() - interval '2 days', 'epoch') + i * interval '1 min', 'two days'
  FROM generate_series(0, 19) i UNION ALL
  SELECT date_bin('30 s', now() - interval '1 h', 'epoch') + i * interval '2 s', 'an hour'
  FROM generate_series(0, 29) i UNION ALL
  SELECT now() - interval '5 min' + i * interval '0.5 s', 'minutes' FROM generate_series(0, 9) i) s(at, stage)
SQL
$pair->kill_worker('coordinator', 'TERM');
my $kept = q{SELECT string_agg(stage || ' ' || count, ', ' ORDER BY stage) FROM (
    SELECT stage, count(*) FROM livemigrate.lag_history WHERE stage ~ '^(a|two|minutes)' GROUP BY 1) s};
ok($pair->poll(sub { $pair->target_sql($kept) eq 'an hour 2, minutes 10, two days 2' }),
    'of lag_history one sample in ten minutes stays, one in half a minute of a day, and all of a quarter of an hour')
  or diag $pair->target_sql($kept);
is($pair->target_sql(q{SELECT string_agg(to_char(at, 'MI:SS'), ' ' ORDER BY at) FROM livemigrate.lag_history
    WHERE stage = 'two days' AND extract(minute FROM at)::int % 10 <> 0}), '', 'which is the first');

# --- cutover: nothing is behind although the source goes on writing
$pair->set_endpos;
$pair->wait_stage('streaming');
$pair->wait_stage('done');
$status = $pair->status_row;
is($status->{replay_lag}, '00:00:00', 'done: no lag');
is($status->{lag_bytes}, 0, 'done: no bytes to apply');
is( $pair->target_sql(
        "SELECT count(*) FROM livemigrate.lag_history WHERE stage = 'cutover'
            AND (lag_bytes <> 0 OR replay_lag <> '0')"
    ),
    '0',
    'cutover: the lag does not count up');
like($status->{hint}, qr/compare_data\(\)/, 'done: the hint has no name while there is one');
$pair->stop_load;

# --- wording
is( $pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'stage done begins'"),
    '0',
    'events: stage done has nothing to begin');
is( $pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ '^1 \\w+s '"),
    '0',
    'events: one is not plural');

# --- notifications came for each event
my $notes = notes_until($listener, qr/state is now done/);
like($notes, qr/notification "livemigrate" with payload/, 'NOTIFY livemigrate');
like($notes, qr/"migration" : "main".*"stage" : "streaming".*stage streaming begins/,
    'with migration, stage and message');
like($notes, qr/state is now done/, 'and the end');
$pair->end_session($listener);

# --- several migrations: hints name the one they mean
$pair->cleanup;
$pair->source_sql('CREATE SCHEMA a; CREATE TABLE a.t (id int PRIMARY KEY);
    CREATE SCHEMA b; CREATE TABLE b.t (id int PRIMARY KEY)');
my $two = $pair->database('two');
$two->source_sql('CREATE SCHEMA a; CREATE TABLE a.t (id int PRIMARY KEY);
    CREATE SCHEMA b; CREATE TABLE b.t (id int PRIMARY KEY)');
for my $name (qw(a b)) {
    $two->{migration} = $name;
    $two->start(include_tables => ["$name.*"], pause_after => ['preflight']);
    $two->wait_stage('preflight');
    $two->wait_state('paused');
}
is($two->status_row->{hint}, "SELECT livemigrate.migration_resume('b');",
    'the hint names the migration');
like($two->target_error("SELECT livemigrate.migration_cleanup('a')")->{hint},
    qr/migration_abort\('a'\)/, 'so does an error');
$two->target_sql("SELECT livemigrate.migration_abort('a')");
is($two->status_row->{hint}, "SELECT livemigrate.migration_resume('b');",
    'with one left it does no harm');
$two->abort;

# --- a failure is told to listeners, too
my $failing = $pair->database('failing');
$failing->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
my $ear = $failing->session($target, 'LISTEN livemigrate');
$failing->start;
$failing->wait_stage('streaming');
$failing->source_sql('CREATE TABLE u (id int PRIMARY KEY); ALTER TABLE t ADD x int; INSERT INTO t VALUES (1, 2)');
$failing->poll(sub { $failing->status_row->{state} eq 'failed' }) or
    die "the migration did not fail\n";
my $error = qr/"severity" : "error"/;
like(notes_until($ear, $error), $error, 'a failure is notified');
$failing->end_session($ear);
$failing->abort;

done_testing();
