# A multi-tenant schema into Citus with a coordinator and two worker nodes: rows of several nodes in
# one transaction, foreign keys that must not fire there, crashes.  Skipped where Citus is not
# installed for the server under test.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $sharedir = `pg_config --sharedir`);
plan skip_all => 'Citus is not installed for the server under test'
  unless -e "$sharedir/extension/citus.control";

my $conf = "citus.shard_count = 4\ncitus.node_conninfo = 'sslmode=prefer'\n"
  . "citus.recover_2pc_interval = 1s\nmax_prepared_transactions = 50\n";
my $pair   = LiveMigrate::Test->new(target_conf => "shared_preload_libraries = 'citus, livemigrate'\n$conf");
my $target = $pair->target;
my $dbname = $pair->dbname;
$pair->target_sql('CREATE EXTENSION citus');
$pair->target_sql("SELECT citus_set_coordinator_host('" . $target->host . "', " . $target->port . ')');
my @workers;
for my $name (qw(worker_1 worker_2)) {
    my $worker = PostgreSQL::Test::Cluster->new($name);
    $worker->init(allows_streaming => 'replica', extra => [ '--encoding=UTF8', '--locale=C' ]);
    $worker->append_conf('postgresql.conf',
        "shared_preload_libraries = 'citus'\nfsync = off\nmax_connections = 100\n$conf");
    $worker->start;
    $worker->safe_psql('postgres', "CREATE DATABASE $dbname");
    $worker->safe_psql($dbname, 'CREATE EXTENSION citus');
    $pair->target_sql("SELECT citus_add_node('" . $worker->host . "', " . $worker->port . ')');
    push @workers, $worker;
}

$pair->source_sql(<<'SQL');
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

$pair->start(
    plugin      => 'pgoutput',
    pause_after => ['schema'],
    options     => { insert_only_tables => ['public.journal'] });
$pair->wait_state('paused');
$pair->target_sql(<<'SQL');
SELECT create_reference_table('plan');
SELECT create_distributed_table('tenant', 'id');
SELECT create_distributed_table('project', 'tenant_id', colocate_with => 'tenant');
SELECT create_distributed_table('task', 'tenant_id', colocate_with => 'tenant');
SELECT create_distributed_table('journal', 'tenant_id', colocate_with => 'tenant');
SQL
my $from = time;
$pair->resume([]);
$pair->wait_stage('streaming', 180);
diag sprintf 'data to streaming: %d s', time - $from;
is( $pair->target_sql("SELECT count(DISTINCT nodeport) FROM citus_shards
        WHERE table_name = 'task'::regclass"),
    '2', 'rows are on two nodes');

sub churn {
    my ($transactions) = @_;
    $pair->source_sql(join '', map { 'SELECT churn(' . (1 + $_ % 5) . ');' } 1 .. $transactions);
}

sub assert_equal {
    my ($label) = @_;
    for my $table (qw(plan tenant project task journal setting)) {
        my $rows = "SELECT count(*), sum(('x' || substr(md5(t::text), 1, 8))::bit(32)::bigint) FROM $table t";
        is($pair->target_sql($rows), $pair->source_sql($rows), "$label: equal rows of $table");
    }
}

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

# A crash of any process, of the coordinator, of a node: each transaction is there once, whole.
churn(20);
$pair->kill_worker('apply');
$pair->wait_for_connections($target);
churn(20);
$pair->crash_and_start($target);
$pair->wait_for_connections($target);
churn(20);
$workers[0]->stop('immediate');
$workers[0]->start;
churn(20);
$from = time;
$pair->set_endpos;
if ($pair->wait_state('done|failed', 120) eq 'failed') {
    diag $pair->status_row->{message};
    $pair->resume;
    $pair->wait_stage('done', 120);
}
diag sprintf 'endpos to done: %d s', time - $from;
assert_equal('three nodes');
is($pair->target_sql('SELECT relation, source_rows, target_rows FROM livemigrate.compare_data()
        WHERE NOT equal'), '', 'three nodes: compare_data finds no difference');
is( $pair->target_sql("SELECT * FROM livemigrate.compare_schema() WHERE object !~ '^extension '"),
    '', 'three nodes: compare_schema finds no difference');
is($pair->target_sql("INSERT INTO task (tenant_id, body) VALUES (1, 'next') RETURNING id"),
    $pair->source_sql("SELECT nextval('task_id_seq')"), 'sequences go on');
$pair->cleanup;
$pair->assert_nothing_left('nothing left');

done_testing();
