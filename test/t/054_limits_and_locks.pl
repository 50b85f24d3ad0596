# T11-T15, X05-X13: rows of the largest size, definitions that change under apply, and sessions of
# the target that are in its way.
# Takes long.
use strict;
use warnings;

use Digest::MD5 qw(md5_hex);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Batch->new(
    dbname      => 'unused',
    source_conf => "wal_sender_timeout = 10s\n",
    # Longer than the test may take to close the circle: apply looks for it once.
    target_conf => "deadlock_timeout = 10s\n");

my $columns = join ', ', map {"c$_ int"} 1 .. 1598;
my $texts   = join ', ', map {"c$_ text"} 1 .. 1599;
my $some    = join ', ', map {"c$_ text"} 1 .. 40;
my $setup   = <<"SQL";
CREATE TABLE t11_long (id int PRIMARY KEY, n int, v text);
CREATE TABLE t11_wide (id int PRIMARY KEY, $columns, v text);
CREATE TABLE t11_wide_full (id int, $columns, v text); ALTER TABLE t11_wide_full REPLICA IDENTITY FULL;
CREATE TABLE t11_toasted (id int PRIMARY KEY, $texts);
CREATE TABLE t11_toasted_full (LIKE t11_toasted); ALTER TABLE t11_toasted_full REPLICA IDENTITY FULL;
CREATE TABLE t11_sparse (id int, $some); ALTER TABLE t11_sparse REPLICA IDENTITY FULL;
CREATE TABLE t12 (id int PRIMARY KEY, v text);
CREATE TYPE t15_mood AS ENUM ('old', 'older'); CREATE TYPE t15_row AS (id int, v text);
CREATE TYPE t15_pair AS (a int, b text); CREATE DOMAIN t15_domain AS int;
CREATE TABLE t15_typed OF t15_row (PRIMARY KEY (id));
CREATE TABLE t15 (id int PRIMARY KEY, m t15_mood, p t15_pair, d t15_domain, n int, u int);
INSERT INTO t15 SELECT g, 'old', (1, 'x'::text)::t15_pair, g, g, g FROM generate_series(1, 20) g;
INSERT INTO t15_typed SELECT g, 'v' FROM generate_series(1, 20) g;
CREATE TABLE x10 (id int PRIMARY KEY, u int UNIQUE, v int); CREATE UNIQUE INDEX ON x10 ((v % 100))
    WHERE v > 0;
INSERT INTO x10 SELECT g, g, g FROM generate_series(1, 20) g;
CREATE TABLE x05 (id int PRIMARY KEY, other int REFERENCES x05 DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE x08 (id int PRIMARY KEY); CREATE TABLE x08_ref (id int REFERENCES x08, n serial);
ALTER TABLE x08_ref REPLICA IDENTITY FULL;
CREATE TABLE x08_parent (id int PRIMARY KEY); CREATE TABLE x08_child (PRIMARY KEY (id)) INHERITS (
    x08_parent);
INSERT INTO x08 SELECT generate_series(1, 10); INSERT INTO x08_ref SELECT generate_series(1, 10);
INSERT INTO x08_parent VALUES (1); INSERT INTO x08_child VALUES (2);
CREATE TABLE x12_a (id int PRIMARY KEY, n int); INSERT INTO x12_a VALUES (1, 0);
CREATE TABLE x12_b (id int PRIMARY KEY, n int); INSERT INTO x12_b VALUES (1, 0);
SQL

# A page has room for the pointers to some 400 values that are stored out of line. Those of a row begin at
# the given column, and do not compress.
sub values_from {
    my ($first, $seed) = @_;
    return map { my $column = "c$_"; $column => q{'} . md5_hex("$seed$_") . md5_hex("$_$seed") . q{'} }
      $first .. $first + 399;
}

sub insert_toasted {
    my ($table, $id, $first) = @_;
    my %value   = values_from($first, $id);
    my @columns = sort keys %value;
    return "INSERT INTO $table (id, " . join(', ', @columns) . ") VALUES ($id, "
      . join(', ', @value{@columns}) . ');';
}

# The values of a row come to stand in other columns.
sub move_toasted {
    my ($table, $id, $from, $to) = @_;
    my %value = ((map { ("c$_" => 'NULL') } $from .. $from + 399), values_from($to, "$id moved"));
    return "UPDATE $table SET " . join(', ', map {"$_ = $value{$_}"} sort keys %value) . " WHERE id = $id;";
}

my @toasted = qw(t11_toasted t11_toasted_full);
my @firsts  = (1, 401, 801, 1200);
for my $table (@toasted) {
    $setup .= insert_toasted($table, $_, $firsts[$_]) for 0 .. 3;
}
my $toasted = '';
for my $table (@toasted) {
    $toasted .= insert_toasted($table, 10 + $_, $firsts[$_]) for 0 .. 3;
    $toasted .= "UPDATE $table SET c600 = 'short' WHERE id IN (0, 10); UPDATE $table SET id = -id WHERE id IN (2, 12);"
      . "UPDATE $table SET c1599 = repeat(md5('new'), 100) WHERE id IN (3, 13);"
      . "DELETE FROM $table WHERE id IN (1, 11);"
      . move_toasted($table, 0, 1, 801) . move_toasted($table, -12, 801, 1);
}

my @batches = (
    'T11 values of 100 MB' => <<'SQL',
INSERT INTO t11_long VALUES (1, 1, repeat('0123456789', 10000000)), (2, 1, 'x');
UPDATE t11_long SET n = 2; UPDATE t11_long SET v = v || 'x' WHERE id = 2;
UPDATE t11_long SET n = 3 WHERE id = 1;
SQL
    'T11 values of 100 MB are deleted' => 'DELETE FROM t11_long', # each comparison would read them
    'T11 rows of 1600 columns' => <<'SQL',
INSERT INTO t11_wide (id, c1, c1598, v) SELECT g, g, g, g FROM generate_series(1, 50) g;
UPDATE t11_wide SET c700 = id; UPDATE t11_wide SET c2 = 7, id = -id WHERE id < 10;
UPDATE t11_wide SET c1 = NULL WHERE id > 20; DELETE FROM t11_wide WHERE id = 30;
INSERT INTO t11_wide_full (id, c9, v) SELECT g, g, g FROM generate_series(1, 10) g;
UPDATE t11_wide_full SET c1500 = 3 WHERE id < 4; DELETE FROM t11_wide_full WHERE id = 5;
SQL
    'T11 rows of 1600 columns, 400 of them out of line' => $toasted,
    'T12 quoting that settings change' => <<'SQL',
INSERT INTO t12 VALUES (1, '\'), (2, '\\'), (3, ''''), (4, '\'''), (5, E'\n'), (6, '\x41');
UPDATE t12 SET v = v || '\'; UPDATE t12 SET id = 10 + id, v = '''\';
SQL
    'X05 rows that reference one another' => <<'SQL',
BEGIN; INSERT INTO x05 VALUES (1, 2); INSERT INTO x05 VALUES (2, 1); COMMIT;
BEGIN; UPDATE x05 SET other = 3 WHERE id = 1; INSERT INTO x05 VALUES (3, 2); COMMIT;
BEGIN; DELETE FROM x05 WHERE id = 2; UPDATE x05 SET other = NULL WHERE id = 3; COMMIT;
SQL
    'X08 truncation between changes' => <<'SQL',
INSERT INTO x08 VALUES (11); INSERT INTO x08_ref VALUES (11); TRUNCATE x08 CASCADE;
INSERT INTO x08 VALUES (1), (2); INSERT INTO x08_ref VALUES (1), (2);
BEGIN; TRUNCATE x08, x08_ref RESTART IDENTITY; INSERT INTO x08 VALUES (1); SAVEPOINT s;
TRUNCATE x08_ref; ROLLBACK TO s; INSERT INTO x08_ref VALUES (1), (1); COMMIT;
DELETE FROM x08_ref WHERE n = 1; TRUNCATE ONLY x08_parent; INSERT INTO x08_parent VALUES (1);
UPDATE x08_child SET id = 3;
SQL
    'X10 unique values that are passed on' => <<'SQL',
UPDATE x10 SET u = 0 WHERE id = 1; UPDATE x10 SET u = 1 WHERE id = 2; UPDATE x10 SET u = 2 WHERE id = 1;
BEGIN; DELETE FROM x10 WHERE id = 3; INSERT INTO x10 VALUES (30, 3, 3); COMMIT;
UPDATE x10 SET u = u + 100, v = -v; UPDATE x10 SET u = 121 - u, v = 21 + v;
UPDATE x10 SET v = v + 100 WHERE id < 10; UPDATE x10 SET id = -id; UPDATE x10 SET id = 1000 + id;
SQL
);

# What must hold in the definitions while batches go on: the source's, then the target's change.
my @definitions = (
    'T15 enum value is added' => "ALTER TYPE t15_mood ADD VALUE 'new'" => "UPDATE t15 SET m = 'new'
        WHERE id < 5",
    'T15 enum value is renamed' => "ALTER TYPE t15_mood RENAME VALUE 'old' TO 'ancient'" =>
      "UPDATE t15 SET n = n + 1; INSERT INTO t15 (id, m) VALUES (101, 'ancient')",
    'T15 composite attribute is renamed' => 'ALTER TYPE t15_pair RENAME ATTRIBUTE a TO c' =>
      "UPDATE t15 SET p = ROW(2, 'y')::t15_pair WHERE id > 5",
    'T15 domain gets a check' => 'ALTER DOMAIN t15_domain ADD CHECK (VALUE < 1000)' =>
      'UPDATE t15 SET d = 999',
    'T15 typed table gets a column' => 'ALTER TYPE t15_row ADD ATTRIBUTE w int CASCADE' =>
      'UPDATE t15_typed SET w = id; INSERT INTO t15_typed VALUES (50, NULL, 50)',
    'T15 typed table loses a column' => 'ALTER TYPE t15_row DROP ATTRIBUTE v CASCADE' =>
      'UPDATE t15_typed SET w = w + 1; DELETE FROM t15_typed WHERE id = 50',
    'T15 column gets another type' => 'ALTER TABLE t15 ALTER n TYPE bigint' =>
      'UPDATE t15 SET n = 5000000000 + id',
    'T15 index comes' => 'CREATE UNIQUE INDEX CONCURRENTLY t15_u ON t15 (u)' =>
      'UPDATE t15 SET u = -u; INSERT INTO t15 (id, u) VALUES (102, 5)',
    'T15 index goes' => 'DROP INDEX CONCURRENTLY t15_u' => 'UPDATE t15 SET u = 1',
    'T15 key goes and comes' => 'ALTER TABLE t15 DROP CONSTRAINT t15_pkey;'
      . ' ALTER TABLE t15 ADD PRIMARY KEY (id) INCLUDE (u)' => 'UPDATE t15 SET id = 1000 - id',);

# Each message holds the value, and what makes a tuple of it holds some more.
sub large_values {
    my ($one, $plugin) = @_;
    my $begin = time;
    $one->in_one_batch(<<'SQL', 600);
INSERT INTO t11_long VALUES (3, 1, repeat('0123456789', 40000000)); UPDATE t11_long SET n = 2;
UPDATE t11_long SET v = v || 'x'; UPDATE t11_long SET id = 4;
SQL
    is($one->target_sql('SELECT id, n, length(v), md5(v) FROM t11_long'),
        $one->source_sql('SELECT id, n, length(v), md5(v) FROM t11_long'),
        "T11 $plugin: a value of 400 MB");
    my %peak = map {
        slurp_file('/proc/' . $one->worker_pid($_) . '/status') =~ /^VmHWM:\s+(\d+) kB/m;
        $_ => int($1 / 1024);
    } qw(apply receiver);
    note sprintf 'T11 %s: %d s, %d MB of the apply worker, %d MB of the receiver', $plugin, time - $begin,
      @peak{qw(apply receiver)};
    $one->in_one_batch('DELETE FROM t11_long');
}

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("limits_$plugin");
    for my $side (qw(source target)) {
        $one->$side->safe_psql('postgres', 'ALTER DATABASE ' . $one->dbname . " SET $_")
            for 'backslash_quote = on', 'escape_string_warning = off';
    }
    $one->create_gate;
    $one->source_sql($setup);
    $one->target->safe_psql('postgres',
        'ALTER DATABASE ' . $one->dbname . ' SET standard_conforming_strings = off');
    # A busy machine may take longer than the 10 s of this test to write one message down.
    $one->set_and_wait($one->source, 'wal_sender_timeout', "'10min'");
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    $one->assert_equal_tables("T11 such rows are copied ($plugin)", rows_only => 1);
    for (my $i = 0; $i < @batches; $i += 2) {
        $one->in_one_batch($batches[ $i + 1 ]);
        $one->assert_equal_tables("$batches[$i] ($plugin)", rows_only => 1);
    }

    large_values($one, $plugin) if ($ENV{PG_TEST_EXTRA} // '') =~ /\blarge_values\b/;
    $one->set_and_wait($one->source, 'wal_sender_timeout', "'10s'");

    for my $table (@toasted) {
        my $outside = $one->target_sql("SELECT reltoastrelid::regclass FROM pg_class WHERE relname = '$table'");
        cmp_ok($one->target_sql("SELECT count(DISTINCT chunk_id) FROM $outside"),
            '>', 6 * 390, "T11 $plugin: values of $table are out of line");
    }

    # A statement for each of the ways to be NULL must not be kept for ever.
    my $null_or_not = join ', ', map {"CASE WHEN random() < 0.5 THEN 'x' END"} 1 .. 40;
    $one->in_one_batch(
        "INSERT INTO t11_sparse SELECT g, $null_or_not FROM generate_series(1, 1500) g;"
          . " UPDATE t11_sparse SET c1 = NULL WHERE id % 2 = 0", 180);
    my $apply = $one->worker_pid('apply');
    my $from  = -s $one->target->logfile;
    $one->target_sql("SELECT pg_log_backend_memory_contexts($apply)");
    my $total;
    $one->poll(
        sub {
            my $log = slurp_file($one->target->logfile, $from);
            ($total) = $log =~ /\[$apply\].*Grand total: (\d+) bytes/;
            return $total;
        });
    cmp_ok($total // 1e9, '<', 64e6, "T11 $plugin: memory of apply stays bounded");

    for (my $i = 0; $i < @definitions; $i += 3) {
        my ($label, $definition, $changes) = @definitions[ $i .. $i + 2 ];
        my $one_by_one = sub {
            my ($side) = @_;
            $one->$side->safe_psql($one->dbname, $_) for split /; /, $definition;
        };
        # In the middle of a batch that is held, where its beginning can still be applied.
        if ($definition =~ /CONCURRENTLY|KEY|DROP ATTRIBUTE/) {
            $one_by_one->('source');
            $one_by_one->('target');
            $one->in_one_batch($changes);
        } else {
            $one->in_one_batch(
                sub {
                    $one->source_sql('UPDATE t15 SET u = u + 1; UPDATE t15_typed SET id = -id');
                    $one_by_one->('source');
                    $one_by_one->('target');
                    $one->source_sql($changes);
                });
        }
        $one->assert_equal_tables("$label ($plugin)", rows_only => 1);
    }

    # X12: apply is the victim of a deadlock, and tries again.
    my $session = $one->session($one->target,
        "SET deadlock_timeout = '60s'; BEGIN; LOCK TABLE x12_b IN SHARE MODE");
    $one->source_sql('BEGIN; UPDATE x12_a SET n = 1; UPDATE x12_b SET n = 1; COMMIT');
    $one->wait_blocked($one->target);
    $session->query_until(qr/locked/, "LOCK TABLE x12_a IN SHARE MODE;\n\\echo locked\n");
    $session->query_safe('COMMIT');
    ok($one->poll(sub { $one->target_sql('SELECT n FROM x12_b') eq '1' }),
        "X12 $plugin: applied after a deadlock")
      or $one->diagnose('X12');
    is( $one->target_sql("SELECT count(*) > 0 FROM livemigrate.events WHERE message ~ 'deadlock'"),
        't', "X12 $plugin: the deadlock is recorded");

    # The same with a row that another session has changed meanwhile.
    $session->query_safe('BEGIN; UPDATE x12_a SET n = n');
    $one->source_sql('UPDATE x12_a SET n = 2');
    $one->wait_blocked($one->target);
    $session->query_safe('COMMIT');
    ok($one->poll(sub { $one->target_sql('SELECT n FROM x12_a') eq '2' }),
        "X12 $plugin: applied to a row that another session has changed")
      or $one->diagnose('X12');

    # X13: blocked for longer than wal_sender_timeout.
    my $sender = "SELECT pid FROM pg_stat_replication WHERE application_name = 'livemigrate'";
    my $before = $one->source_sql($sender);
    $session->query_safe('BEGIN; LOCK TABLE x12_a');
    my $begin = $one->source_sql('UPDATE x12_a SET n = 3; SELECT clock_timestamp()');
    $one->wait_blocked($one->target);
    $one->source_sql('INSERT INTO x05 SELECT generate_series(100, 30000)');
    ok( $one->poll(
            sub {
                $one->source_sql("SELECT count(*) FROM pg_stat_replication WHERE reply_time >"
                      . " '$begin'::timestamptz + '13s'") > 0;
            }),
        "X13 $plugin: the receiver replies while apply is blocked");
    $session->query_safe('COMMIT');
    is($one->source_sql($sender), $before, "X13 $plugin: the connection has lived on");
    $one->end_session($session);
    $one->finish("$plugin: limits and locks", relations => 0);
}

done_testing();
