# A multi-tenant schema into Citus with a coordinator and two worker nodes: rows of several nodes in
# one transaction, foreign keys that must not fire there, crashes; then several apply workers for a
# role that is no superuser, and a transaction that is written while the source sends it.  Skipped
# where Citus is not installed for the server under test.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Citus;
use Test::More;

my $pair = LiveMigrate::Citus->new_or_skip(
    worker_nodes => 2,
    source_conf  => "logical_decoding_work_mem = 64kB\n",
    # Commits that need not be flushed are not, for as long as a crash may come.
    target_conf => "wal_writer_delay = 10s\n");
my $target  = $pair->target;
my $dbname  = $pair->dbname;
my @workers = $pair->worker_nodes;
my @tables  = qw(plan tenant project task journal setting);

my $schema = <<'SQL';
CREATE TABLE plan (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE tenant (id bigint PRIMARY KEY, plan int REFERENCES plan, name text NOT NULL);
CREATE TABLE project (tenant_id bigint REFERENCES tenant ON DELETE CASCADE, id bigserial, name text,
    tasks int DEFAULT 0, PRIMARY KEY (tenant_id, id));
CREATE TABLE task (tenant_id bigint, id bigserial, project_id bigint, body text,
    PRIMARY KEY (tenant_id, id), FOREIGN KEY (tenant_id, project_id) REFERENCES project ON DELETE CASCADE);
CREATE TABLE journal (tenant_id bigint NOT NULL, line text);
CREATE TABLE setting (key text PRIMARY KEY, value text);
INSERT INTO plan SELECT g, 'plan ' || g FROM generate_series(1, 5) g;
INSERT INTO tenant SELECT g, 1 + g % 5, 'tenant ' || g FROM generate_series(1, 40) g;
INSERT INTO project (tenant_id, name) SELECT 1 + g % 40, 'project ' || g FROM generate_series(1, 400) g;
INSERT INTO task (tenant_id, project_id, body) SELECT tenant_id, id, md5(g::text)
    FROM project, generate_series(1, 20) g;
INSERT INTO journal SELECT 1 + g % 40, 'line ' || g FROM generate_series(1, 200) g;
INSERT INTO setting VALUES ('a', 'b');
CREATE FUNCTION churn(size int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE k bigint;
BEGIN
    FOR i IN 1..size LOOP
        k := 1 + floor(random() * 40);
        INSERT INTO journal VALUES (k, 'churn'), (k + 1, 'churn');
        UPDATE project SET tasks = tasks + 1 WHERE tenant_id = k;
        UPDATE tenant SET name = name || '.' WHERE id = k AND length(name) < 40;
        INSERT INTO task (tenant_id, body) VALUES (k, 'churn');
        DELETE FROM task WHERE tenant_id = k AND id % 97 = 5;
        UPDATE task SET body = left(body, 20) || i WHERE id % 211 = 7;
    END LOOP;
    UPDATE setting SET value = size;
END $$;
SQL

my $distribute = <<'SQL';
SELECT create_reference_table('plan');
SELECT create_distributed_table('tenant', 'id');
SELECT create_distributed_table('project', 'tenant_id', colocate_with => 'tenant');
SELECT create_distributed_table('task', 'tenant_id', colocate_with => 'tenant');
SELECT create_distributed_table('journal', 'tenant_id', colocate_with => 'tenant');
SQL

sub churn {
    my ($one, $transactions) = @_;
    $one->source_sql(join '', map { 'SELECT churn(' . (1 + $_ % 5) . ');' } 1 .. $transactions);
}

# To done, also if apply has met a row of a prepared transaction that was not settled yet.
sub reach_done {
    my ($one) = @_;
    if ($one->wait_state('done|failed') eq 'failed') {
        diag $one->status_row->{message};
        $one->resume;
        $one->wait_stage('done');
    }
}

$pair->source_sql($schema);
$pair->start(
    plugin      => 'pgoutput',
    pause_after => ['schema'],
    options     => { insert_only_tables => ['public.journal'] });
$pair->wait_state('paused');
$pair->target_sql($distribute);
my $from = time;
$pair->resume([]);
$pair->wait_stage('streaming', 180);
diag sprintf 'data to streaming: %d s', time - $from;
is( $pair->target_sql("SELECT count(DISTINCT nodeport) FROM citus_shards
        WHERE table_name = 'task'::regclass"),
    '2', 'rows are on two nodes');

# By the distribution column and not; cascades, which the stream has as deletes of their own; rows
# that move to another node; TRUNCATE.
$pair->source_sql(<<'SQL');
DELETE FROM tenant WHERE id IN (9, 10, 11); DELETE FROM project WHERE name LIKE '%7';
UPDATE task SET body = upper(body) WHERE id % 50 = 0; UPDATE plan SET name = 'old' WHERE id = 3;
INSERT INTO tenant SELECT g, 4, 'new ' || g FROM generate_series(100, 110) g;
INSERT INTO task (tenant_id, body) SELECT g, 'moves' FROM generate_series(200, 220) g;
UPDATE task SET tenant_id = tenant_id + 500 WHERE body = 'moves';
BEGIN; INSERT INTO journal SELECT g % 40, 'bulk' FROM generate_series(1, 2000) g; SAVEPOINT s;
DELETE FROM tenant; ROLLBACK TO s; UPDATE setting SET value = 'c'; COMMIT;
TRUNCATE journal; INSERT INTO journal SELECT g, 'after' FROM generate_series(1, 40) g;
SQL

# Written while the source sends it, on all nodes, in a transaction that nobody sees into; by the
# distribution column and not; committed, rolled back in part, and given up for one that comes first.
my $open = "SELECT count(*) > 0 FROM pg_stat_activity
    WHERE datname = current_database() AND backend_xid IS NOT NULL";
my $is_open = sub { $workers[0]->safe_psql($dbname, $open) eq 't' };
my $big     = "SELECT count(*) FROM task WHERE body LIKE 'streamed%'";
my $round = 0;
for my $end ('COMMIT', 'ROLLBACK TO s; COMMIT', q{INSERT INTO plan VALUES (100, 'first'); COMMIT}) {
    $round++;
    $pair->source_sql("INSERT INTO setting VALUES ('round $round', '')");
    ok($pair->poll(sub { $pair->target_sql("SELECT count(*) FROM setting WHERE key = 'round $round'") }),
        'nothing else is written any more');
    my $session = $pair->session($pair->source, "BEGIN; SAVEPOINT s;
        INSERT INTO task (tenant_id, body) SELECT 1 + g % 40, 'streamed' || repeat('x', 64000)
            FROM generate_series(1, 600) g;
        UPDATE plan SET name = name || '+'; UPDATE project SET tasks = tasks + 1");
    ok($pair->poll($is_open), "begun before: $end") or $pair->diagnose('not begun');
    is($pair->target_sql($big), '0', 'and not to be seen');
    $pair->source_sql("INSERT INTO setting VALUES ('while', 'open')") if $end =~ /first/;
    $session->query_safe($end);
    $pair->end_session($session);
    ok($pair->poll(sub { $pair->target_sql($big) == $pair->source_sql($big) }), 'all of its rows')
      or $pair->diagnose('rows are missing');
    $pair->source_sql("DELETE FROM task WHERE body LIKE 'streamed%'");
}

# A crash of any process, of the coordinator, of a node: each transaction is there once, whole, also
# when the coordinator's commit was the last of its WAL: the nodes have committed for good by then.
for my $i (1 .. 3) {
    $pair->wait_for_connections($target);
    my $pid = $pair->worker_pid('apply');
    $pair->source_sql("INSERT INTO journal VALUES ($i, 'last')");
    $pair->target_sql("DO 'BEGIN
        WHILE NOT EXISTS (SELECT FROM journal WHERE line = ''last'' AND tenant_id = $i) LOOP NULL; END LOOP; END'");
    kill KILL => $pid;
    $pair->poll(sub { !kill 0, $pid }) or die "apply worker $pid outlived its signal\n";
}
$pair->wait_for_connections($target);
churn($pair, 20);
$pair->kill_worker('apply');
$pair->wait_for_connections($target);
churn($pair, 20);
$pair->crash_and_start($target);
$pair->wait_for_connections($target);
churn($pair, 20);
$workers[0]->stop('immediate');
$workers[0]->start;
churn($pair, 20);
$from = time;
$pair->set_endpos;
reach_done($pair);
diag sprintf 'endpos to done: %d s', time - $from;
$pair->assert_equal_rows('three nodes', @tables);
is($pair->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
        WHERE NOT equal'), '', 'three nodes: compare_data finds no difference');
is( $pair->target_sql("SELECT * FROM livemigrate.compare_schema() WHERE object !~ '^extension '"),
    '', 'three nodes: compare_schema finds no difference');
is($pair->target_sql("INSERT INTO task (tenant_id, body) VALUES (1, 'next') RETURNING id"),
    $pair->source_sql("SELECT nextval('task_id_seq')"), 'sequences go on');
$pair->cleanup;
$pair->assert_nothing_left('nothing left');

# --- several apply workers, for a role that is no superuser
my $jobs = $pair->database('jobs');
$jobs->source_sql($schema);
# Citus makes the role on the nodes; what it may do there has to be said there.
$jobs->target_sql('CREATE ROLE operator LOGIN; GRANT CREATE ON DATABASE jobs TO operator');
my %command = LiveMigrate::Test::page_commands('citus.md');
my $grants  = $command{node_grants} // die 'no commands named node_grants on the page';
$jobs->target_sql("$grants GRANT USAGE ON SCHEMA livemigrate TO operator;
    GRANT EXECUTE ON ALL ROUTINES IN SCHEMA livemigrate TO operator;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA livemigrate TO operator");
$jobs->on_worker_nodes($grants);
$jobs->target_sql('ALTER SYSTEM SET livemigrate.source_password_required = off');
$target->reload;
$target->poll_query_until('jobs', "SELECT current_setting('livemigrate.source_password_required') = 'off'");

sub as_operator {
    my ($sql) = @_;
    my ($rc, $out, $err) = $target->psql('jobs', $sql, timeout => 300, extra_params => [ '-U', 'operator' ]);
    is($rc, 0, 'as operator: ' . substr $sql, 0, 60) or diag $err;
    return $out;
}

as_operator($jobs->start_sql(
    roles       => \'false',
    plugin      => 'pgoutput',
    pause_after => ['schema'],
    options     => { apply_jobs => 3, insert_only_tables => ['public.journal'] }));
$jobs->wait_state('paused');
as_operator($distribute);
as_operator("SELECT livemigrate.migration_resume(pause_after => '{}')");
$jobs->wait_stage('streaming', 180);
is( $target->safe_psql('jobs', "SELECT string_agg(DISTINCT usename, ',') FROM pg_stat_activity
        WHERE datname = 'jobs' AND backend_type ~ '^livemigrate'"),
    'operator', 'the workers run as operator');
is($jobs->target_sql("SELECT count(*) FROM livemigrate.workers WHERE kind = 'apply'"), '3', 'three workers');
churn($jobs, 20);
$jobs->kill_worker('apply');
$jobs->wait_for_connections($target);
churn($jobs, 20);
$jobs->source_sql("TRUNCATE journal; INSERT INTO journal SELECT g, 'after' FROM generate_series(1, 40) g");
churn($jobs, 20);
$workers[1]->stop('immediate');
$workers[1]->start;
churn($jobs, 20);
as_operator('SELECT livemigrate.set_endpos()');
reach_done($jobs);
$jobs->assert_equal_rows('three workers', @tables);
is(as_operator('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
        WHERE NOT equal'), '', 'three workers: compare_data finds no difference');
as_operator('SELECT livemigrate.migration_cleanup()');

done_testing();
