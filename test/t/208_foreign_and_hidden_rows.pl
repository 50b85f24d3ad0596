# Rows that the source does not hand out: C20 those of foreign tables, which are defined and left where
# they are, and C15 those that row security hides, switched on behind the checks.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');
my ($source, $target) = ($pair->source, $pair->target);

# --- C20: a foreign table by itself, and one that is a partition; nothing reads them
for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("foreign_$plugin");
    $one->source_sql(<<'SQL');
CREATE EXTENSION postgres_fdw; CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '/nowhere');
CREATE USER MAPPING FOR PUBLIC SERVER nowhere;
CREATE FOREIGN TABLE far_away (id int, v text) SERVER nowhere OPTIONS (table_name 'x');
CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10);
CREATE TABLE parts (id int, k int) PARTITION BY LIST (k);
CREATE TABLE parts_here PARTITION OF parts (PRIMARY KEY (id)) FOR VALUES IN (1);
CREATE FOREIGN TABLE parts_far PARTITION OF parts FOR VALUES IN (2) SERVER nowhere;
INSERT INTO parts_here SELECT g, 1 FROM generate_series(1, 1000) g;
SQL
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    is($one->target_sql("SELECT string_agg(severity || ' ' || object, ', ' ORDER BY object) FROM livemigrate.checks
            WHERE check_id = 'foreign_tables'"), 'notice "public"."far_away", notice "public"."parts_far"',
        "C20 $plugin: the checks list them");
    is($one->target_sql("SELECT string_agg(table_name, ', ' ORDER BY table_name) FROM livemigrate.table_progress
            WHERE state = 'done'"), 'parts_here, t', "C20 $plugin: they are none of the tables to copy");
    is($one->target_sql("SELECT string_agg(concat(relname, ftoptions), ', ' ORDER BY relname)
            FROM pg_foreign_table JOIN pg_class c ON c.oid = ftrelid"), 'far_away{table_name=x}, parts_far',
        "C20 $plugin: they are there");
    $one->source_sql('INSERT INTO t VALUES (11); INSERT INTO parts_here VALUES (2000, 1); UPDATE parts_here SET id = -id WHERE id < 5;
        TRUNCATE t; INSERT INTO t VALUES (1)');
    # What reads them fails by itself, and stops nothing: the target may not reach that server.
    $one->set_endpos;
    $one->wait_stage('done');
    is($one->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ '^could not connect'"), '0',
        "C20 $plugin: it is not tried again and again");
    like($one->target_sql("SELECT string_agg(message, E'\n') FROM livemigrate.events WHERE severity = 'warning'"),
        qr/table "public"\."parts" could not be analyzed: could not connect to server "nowhere"/, "C20 $plugin: it is told");
    is($one->target_sql("SELECT reltuples FROM pg_class WHERE relname = 'parts_here'"), '1001',
        "C20 $plugin: the partitions that are here are analyzed");
    $one->assert_equal_tables("C20 $plugin: equal tables");
    $one->cleanup;
}

# --- C15: a role that is no superuser, and a policy that hides most of a table from it
$source->safe_psql('postgres', 'CREATE ROLE migrator LOGIN REPLICATION');
for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("hidden_$plugin");
    $one->source_sql('CREATE TABLE hidden (id int PRIMARY KEY); INSERT INTO hidden SELECT generate_series(1, 1000);'
          . 'CREATE POLICY few ON hidden USING (id < 10); CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1);'
          . 'GRANT SELECT ON hidden, plain TO migrator; GRANT CREATE ON DATABASE ' . $one->dbname . ' TO migrator');
    $one->source_sql('ALTER TABLE hidden OWNER TO migrator; ALTER TABLE plain OWNER TO migrator') if $plugin eq 'pgoutput';
    $one->start(source => $one->conninfo(user => 'migrator'), plugin => $plugin, pause_after => ['preflight']);
    $one->wait_state('paused');
    # The owner is not subject to it unless it is forced.
    $one->source_sql('ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
    $one->resume([]);
    $one->wait_state('failed');
    my $status = $one->status_row;
    like($status->{last_error}, qr/"?public"?\."?hidden"?.*row-level security|row-level security policy for table "hidden"/,
        "C15 $plugin: the copy fails where rows are hidden");
    is($one->target_sql('SELECT (SELECT count(*) FROM hidden), (SELECT count(*) FROM plain)'), '0|1',
        "C15 $plugin: and copies none of them, but the other table");
    $one->abort;
    $one->cleanup;
}
$pair->assert_nothing_left('nothing left');

done_testing();
