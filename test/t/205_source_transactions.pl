# Transactions of the source in two phases (X03) with the snapshot and crashes of either side between
# these; commits that the source loses in a crash (X09); a logical message that nothing follows before a
# restart (D13); many empty transactions (D14); and transactions that came to the source by replication.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Snapshot qw(open_before_snapshot);
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(run_command);
use Test::More;

my $pair = LiveMigrate::Test->new(
    dbname      => 'unused',
    source_conf => "max_prepared_transactions = 10\nlogical_decoding_work_mem = 64kB\nwal_writer_delay = 10s\n");
my ($source, $target) = ($pair->source, $pair->target);
my @plugins = qw(pgoutput wal2json);

# Both sides have the row that is written now, and so everything before it.
sub arrives {
    my ($one, $label) = @_;
    my $id = $one->source_sql('SET synchronous_commit = on; INSERT INTO marker DEFAULT VALUES RETURNING id');
    my $there = $one->poll(sub {
        my ($rc, $out) = $target->psql($one->dbname, "SELECT count(*) FROM marker WHERE id = $id");
        return $rc == 0 && $out == 1;
    });
    ok($there, $label) or $one->diagnose($label);
}

sub crash {
    my ($node) = @_;
    $pair->crash_and_start($node);
    ok($node->poll_query_until('postgres', 'SELECT true'), $node->name . ' is there again');
}

my $setup = <<'SQL';
CREATE TABLE marker (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE w (id int PRIMARY KEY);
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE sum (id int PRIMARY KEY, n int); INSERT INTO sum VALUES (1, 0);
SQL

# --- X03: prepared before the snapshot, before a crash of the source, and before one of the target.  One
# plugin after the other: a slot waits for prepared transactions of other databases, too.
sub prepare {
    my ($one, $id) = @_;
    $one->source_sql("BEGIN; INSERT INTO t VALUES ($id, 'prepared'); UPDATE t SET v = v || '!' WHERE id = $id;
        INSERT INTO t VALUES (100 + $id, 'gone'); DELETE FROM t WHERE id = 100 + $id;
        PREPARE TRANSACTION '" . $one->dbname . " $id'");
}

for my $plugin (@plugins) {
    my $one = $pair->database("prepared_$plugin");
    $one->source_sql($setup);
    $one->start(plugin => $plugin, pause_after => ['preflight']);
    $one->wait_state('paused');
    open_before_snapshot($one, "X03 $plugin", sub { $one->resume(['data']) }, sub { prepare($one, 1) });
    $one->wait_stage('data');
    $one->wait_state('paused');
    is($one->target_sql('SELECT count(*) FROM t'), '0', "X03 $plugin: what is prepared is not copied");
    $one->resume([]);
    $one->wait_stage('streaming');
    prepare($one, 2);
    arrives($one, "X03 $plugin: streaming");
    crash($source);
    prepare($one, 3);
    prepare($one, 4);
    arrives($one, "X03 $plugin: after a crash of the source");
    crash($target);
    arrives($one, "X03 $plugin: after a crash of the target");
    is($one->target_sql('SELECT count(*) FROM t'), '0', "X03 $plugin: nothing of them is there before they commit");
    $one->source_sql("COMMIT PREPARED '" . $one->dbname . " $_'") for 1 .. 3;
    $one->source_sql("ROLLBACK PREPARED '" . $one->dbname . " 4'");
    crash($source);
    arrives($one, "X03 $plugin: and after another one");
    is($one->target_sql("SELECT string_agg(id || v, ' ' ORDER BY id) FROM t"), '1prepared! 2prepared! 3prepared!',
        "X03 $plugin: each of them once");
    $one->finish("X03 $plugin");
}

# --- X09: the source says that they are committed, and has not written them to disk
my @streaming = map {
    my $one = $pair->database("lost_$_");
    $one->source_sql($setup . 'ALTER DATABASE ' . $one->dbname . ' SET synchronous_commit = off');
    $one->start(plugin => $_);
    $one;
} @plugins;
$_->wait_stage('streaming') for @streaming;

sub lose_commits {
    my ($round, $stop) = @_;
    my @writers = map { $_->session($source) } @streaming;
    for my $id (1 .. 50) {
        $_->query_safe("INSERT INTO t VALUES ($round * 100 + $id, 'first'); UPDATE sum SET n = n + 1") for @writers;
    }
    $stop->();
    $pair->end_session($_) for @writers;
    my $lost = 0;
    for my $one (@streaming) {
        my $kept = $one->source_sql("SELECT count(*) FROM t WHERE id > $round * 100");
        $lost += 50 - $kept;
        # Other rows in their place, which their WAL takes the place of, too.
        $one->source_sql("INSERT INTO t SELECT $round * 100 + g, 'second' FROM generate_series($kept + 1, 50) g");
        arrives($one, 'X09 round ' . $round . ': ' . $one->dbname . ' goes on');
        $one->assert_equal_tables("X09 round $round: " . $one->dbname . ' has what the source has', rows_only => 1);
    }
    return $lost;
}

my $lost = 0;
for my $round (1 .. 5) {
    $lost += lose_commits($round,
        $round % 2 ? sub { $source->stop('immediate'); $source->start } : sub { crash($source) });
    last if $lost > 0 && $round > 1;
}
cmp_ok($lost, '>', 0, 'X09 the source has lost commits');

# --- D13: a message outside of any transaction is the last that came before a restart
my %restart = (
    'the receiver ends'  => sub { $_->kill_worker('receiver', 'TERM') for @streaming },
    'the target stops'   => sub { $target->restart },
    'the target crashes' => sub { crash($target) },
    'the source stops'   => sub { $source->restart });
for my $what (sort keys %restart) {
    for my $one (@streaming) {
        my $name = LiveMigrate::Test::quote_literal($one->name);
        my $end  = $one->source_sql("SELECT pg_logical_emit_message(false, 'x', repeat('m', 1000))");
        $one->source_sql('SELECT pg_switch_wal()');
        ok($one->poll(sub { $one->target_sql("SELECT coalesce(received_lsn >= '$end', false)
                FROM livemigrate.migration_status($name)") eq 't' }), 'D13 ' . $one->dbname . ": received before $what")
          or $one->diagnose($what);
    }
    $restart{$what}->();
    arrives($_, 'D13 ' . $_->dbname . ": changes come after $what") for @streaming;
}

# --- D14: transactions of which nothing but their beginning and end is sent do not become commits of the target
for my $one (@streaming) {
    my $from = $target->lsn('insert');
    $one->source_sql(q{COMMENT ON TABLE w IS 'a'; COMMENT ON TABLE w IS 'b';} x 1000);
    arrives($one, 'D14 ' . $one->dbname . ': behind them');
    my $to = $target->lsn('insert');
    $target->safe_psql('postgres', 'SELECT pg_switch_wal()');
    my ($wal, $err) = run_command([ 'pg_waldump', '--path', $target->data_dir . '/pg_wal', '--rmgr', 'Transaction',
        '--start', $from, '--end', $to ]);
    my @commits = $wal =~ /COMMIT .*origin: node/g;
    cmp_ok(scalar @commits, '>', 0, 'D14 ' . $one->dbname . ': the change behind them is a commit') or diag $err;
    # One a second at most.
    cmp_ok(scalar @commits, '<', 500, 'D14 ' . $one->dbname . ': 2000 of them are few or none');
}

# --- changes that have come to the source from another server, one by one and as a large transaction
$source->safe_psql('postgres', "SELECT pg_replication_origin_create('another server')");
for my $one (@streaming) {
    $one->source_sql(<<'SQL');
SELECT pg_replication_origin_session_setup('another server');
BEGIN; SELECT pg_replication_origin_xact_setup('0/1234', '2026-01-02'); INSERT INTO t VALUES (-1, 'from another'); COMMIT;
BEGIN; UPDATE t SET v = 'from another' WHERE id < 110; INSERT INTO t SELECT -g, repeat('x', 100) FROM generate_series(10, 3000) g;
UPDATE t SET v = v || 'y' WHERE id < 0; COMMIT;
INSERT INTO t VALUES (-4000, 'without a position');
SQL
    arrives($one, $one->dbname . ': changes with an origin');
    is($one->target_sql("SELECT count(*) FROM t WHERE id < 0"), '2993', $one->dbname . ': all of them');
}
for my $one (@streaming) {
    $one->set_endpos;
    $one->wait_stage('done');
    $one->assert_equal_tables($one->dbname . ': equal tables');
    $one->cleanup;
}
$pair->assert_nothing_left('nothing left');

done_testing();
