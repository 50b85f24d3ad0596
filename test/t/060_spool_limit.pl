# R13: back-pressure. The spool keeps to livemigrate.spool_size_limit and leaves
# livemigrate.spool_min_free_disk alone; the connection lives on meanwhile, and nothing is lost.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use List::Util qw(max sum0);
use Test::More;
use Time::HiRes qw(time);

my $megabyte = 1 << 20;
my $limit    = 4 * $megabyte;
my $segment  = $megabyte;

my $one = LiveMigrate::Test->new(
    source_conf => "wal_sender_timeout = 5s\n",    # longer than a busy machine may stand still
    target_conf => "livemigrate.spool_size_limit = 4MB\n");
my ($source, $target) = ($one->source, $one->target);

$one->source_sql('CREATE TABLE item (id bigint PRIMARY KEY, payload text);'
        . ' CREATE TABLE other (id bigint PRIMARY KEY)');
$one->start;
$one->wait_stage('streaming');

# Transactions of about half a megabyte in the stream each.
my $last_id = 0;

sub insert_items {
    my ($transactions, $rows) = @_;
    for (1 .. $transactions) {
        my $first = $last_id + 1;
        $last_id += $rows;
        $one->source_sql("INSERT INTO item SELECT g, repeat(md5(g::text), 16)"
                . " FROM generate_series($first, $last_id) g");
    }
}

sub spool_size { return sum0 map { -s $_ // 0 } $one->spool_files }

sub walsender {
    return $one->source_sql("SELECT pid FROM pg_stat_replication WHERE state <> 'backup'");
}

sub arrived {
    my ($label, $table, $id) = @_;
    my $there = $one->poll(
        sub { $one->target_sql("SELECT coalesce(max(id), 0) FROM $table") == $id });
    ok($there, $label) or $one->diagnose($label);
}

sub status_says {
    my ($label, $message, $hint) = @_;
    my $row;
    my $said = $one->poll(sub {
        $row = $one->status_row;
        return $row->{message} =~ $message && ($row->{hint} // '') =~ $hint;
    });
    ok($said, $label) or diag "message: $row->{message}\nhint: ", $row->{hint} // 'none';
}

# For some seconds: the largest size of the spool, and whether it was one walsender all the time.
sub watch {
    my ($seconds) = @_;
    my $pid       = walsender();
    my $end       = time + $seconds;
    my ($size, $same) = (0, 1);
    $one->poll(
        sub {
            $size = max($size, spool_size());
            $same &&= walsender() eq $pid;
            return time >= $end;
        });
    return ($size, $same);
}

sub set_target {
    my ($setting, $value) = @_;
    $one->target_sql("ALTER SYSTEM SET $setting = '$value'");
    $target->reload;
}

my $first_walsender = walsender();
{
    my $held = $one->lock_table($target, 'public.item');
    insert_items(40, 1000);
    my $waits = qr/waiting for apply: the spool has reached livemigrate\.spool_size_limit \(4 MB\)/;
    status_says('the status tells what the receiver waits for, and the hint what to do',
        $waits, qr/^SELECT pg_terminate_backend\(\d+\); -- on the target/);
    $one->assert_answers_barrier('the receiver waits for apply, and that for a lock');
    my ($size, $same) = watch(8);
    cmp_ok($size, '>=', $limit,            'the spool is used up to the limit');
    cmp_ok($size, '<',  $limit + $segment, 'and stays below limit and a segment');
    ok($same, 'the connection outlives wal_sender_timeout while nothing is read');
    is($one->target_sql("SELECT state FROM livemigrate.migration_status()"),
        'running', 'the migration goes on');
    like($one->target_sql("SELECT what FROM livemigrate.workers WHERE kind = 'receiver'"),
        $waits, 'so do the workers');
    my $event = "SELECT count(*), max(severity) FROM livemigrate.events"
        . " WHERE message ~ '^waiting for apply: the spool has reached'";
    is($one->target_sql($event), '1|warning', 'it is one event');
    like($target->logfile ? slurp_log() : '', qr/LOG: .*$waits/, 'and a line of the log');

    my $behind = $one->source_sql('SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), sent_lsn)'
            . ' FROM pg_stat_replication');
    cmp_ok($behind, '>', 5 * $megabyte, 'what does not fit waits on the source');

    # A receiver that starts with a full spool takes no more, either.
    my $old     = $one->kill_worker('receiver', 'TERM');
    my $another = "SELECT pid <> $old AND what ~ 'waiting for apply' FROM livemigrate.workers"
        . " WHERE kind = 'receiver'";
    ok($one->poll(sub { $one->target_sql($another) eq 't' }), 'a new receiver waits, too');
    ($size, $same) = watch(3);
    cmp_ok($size, '<', $limit + $segment, 'and keeps to the limit');

    my $walsender = walsender();
    $one->end_session($held);
    arrived('everything arrives when apply goes on', 'item', $last_id);
    is(walsender(), $walsender, 'by the same connection');
}

sub slurp_log {
    open my $log, '<', $target->logfile or die $!;
    local $/;
    return <$log>;
}

# Apply removes a transaction only when all of it is there, so waiting for apply would never end.
{
    insert_items(1, 40_000);
    arrived('a transaction larger than the limit passes', 'item', $last_id);
    my $event = "SELECT count(*), max(severity) FROM livemigrate.events"
        . " WHERE message ~ '^the spool exceeds livemigrate.spool_size_limit'";
    my $told = $one->poll(sub { $one->target_sql($event) eq '1|warning' });
    ok($told, 'with a warning') or $one->diagnose('no event');
    my $shrunk = $one->poll(sub {
        $one->source_sql('INSERT INTO other SELECT coalesce(max(id), 0) + 1 FROM other');
        return spool_size() <= $limit;
    });
    ok($shrunk, 'and the spool is small again');
}

{
    arrived('all is applied', 'other', $one->source_sql('SELECT max(id) FROM other'));
    set_target('livemigrate.spool_min_free_disk', '1000TB');
    status_says(
        'the status tells that the disk is too full',
        qr/waiting for disk space: less than livemigrate\.spool_min_free_disk/,
        qr/Free space/);
    $one->assert_answers_barrier('the receiver waits for disk space, and apply for changes');
    my $before = $one->target_sql('SELECT max(id) FROM other');
    $one->source_sql('INSERT INTO other VALUES (1000000)');
    my ($size, $same) = watch(8);
    ok($same, 'the connection outlives wal_sender_timeout');
    is($one->target_sql('SELECT max(id) FROM other'), $before, 'nothing is taken in');
    set_target('livemigrate.spool_min_free_disk', '1MB');
    arrived('and goes on when there is space', 'other', 1_000_000);
}

$one->finish('R13');

# Transactions of which the target gets nothing fill the spool up to one that does not fit: what is behind
# apply must not be kept for it, since it would wait for all of that one. wal2json sends tables that are left out.
{
    my $pair = $one->database('left_out');
    $pair->source_sql('CREATE TABLE item (id bigint PRIMARY KEY, payload text); CREATE TABLE noise (payload text)');
    $pair->start(plugin => 'wal2json', exclude_tables => ['public.noise']);
    $pair->wait_stage('streaming');
    my $rows = 'SELECT g, repeat(md5(g::text), 16) FROM generate_series';
    $pair->source_sql(
        "INSERT INTO item $rows(1, 1) g;"
          . "INSERT INTO noise SELECT repeat(md5(g::text), 16) FROM generate_series(1, 2000) g;" x 3
          . "INSERT INTO item $rows(2, 20000) g");
    my $there = $pair->poll(sub { $pair->target_sql('SELECT count(*) FROM item') eq '20000' });
    ok($there, 'a transaction beyond the limit behind some that are left out') or $pair->diagnose('stuck');
    $pair->set_endpos;
    $pair->wait_stage('done');
    my $digest = q{SELECT count(*), sum(hashtext(id || payload)::bigint) FROM item};
    is($pair->target_sql($digest), $pair->source_sql($digest), 'and all of it');
}
done_testing();
