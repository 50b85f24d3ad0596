# R13: no space left where the spool is, by a write that is refused.  Needs a file system of its own,
# which only root can make:
#
#   mount -t tmpfs -o size=8m,mode=0700,uid=postgres tmpfs /mnt/small
#   make tap-test PROVE_TESTS=test/t/061_full_disk.pl LIVEMIGRATE_SMALL_DISK=/mnt/small
use strict;
use warnings;

use File::Basename qw(dirname);
use File::Path qw(rmtree);
use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;
use Time::HiRes qw(time);

my $small = $ENV{LIVEMIGRATE_SMALL_DISK}
    or plan skip_all => 'LIVEMIGRATE_SMALL_DISK names no small file system';

my $one = LiveMigrate::Test->new(
    source_conf => "wal_sender_timeout = 6s\n",
    target_conf => "livemigrate.spool_min_free_disk = 0\n");
my ($source, $target) = ($one->source, $one->target);

$one->source_sql('CREATE TABLE item (id bigint PRIMARY KEY, payload text)');
$one->start;
$one->wait_stage('streaming');

# Moves the spool there.
$one->pause;
$one->wait_state('paused');
my ($file) = $one->spool_files;
my $spool = dirname($file);
rmtree("$small/spool");
system('mv', $spool, "$small/spool") == 0 or die "the spool cannot be moved\n";
symlink "$small/spool", $spool or die "no symbolic link: $!\n";
$one->resume;
$one->wait_stage('streaming');

my $walsender = 'SELECT pid FROM pg_stat_replication';

sub status_says {
    my ($label, $message) = @_;
    my $said = $one->poll(sub { $one->status_row->{message} =~ $message });
    ok($said, $label) or $one->diagnose($label);
}

my $held = $one->lock_table($target, 'public.item');
for my $i (0 .. 39) {
    $one->source_sql("INSERT INTO item SELECT g, repeat(md5(g::text), 16)"
            . " FROM generate_series($i * 1000, $i * 1000 + 999) g");
}
my $full = qr/waiting for disk space: the file system of the spool is full/;
status_says('the status tells of the full disk', $full);
my $pid = $one->source_sql($walsender);
my $end = time + 9;
$one->poll(sub { time >= $end });
is($one->source_sql($walsender), $pid, 'the connection outlives wal_sender_timeout');
is($one->target_sql('SELECT state FROM livemigrate.migration_status()'),
    'running', 'the migration goes on');

$one->kill_worker('receiver', 'TERM');
$one->worker_pid('receiver');
status_says('a new receiver waits, too', $full);
$one->assert_answers_barrier('the disk of the spool is full');

$one->end_session($held);
ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM item') == 40_000 }),
    'everything arrives when apply has made room') or
    $one->diagnose('not everything arrived');

# What a refused write has left in the receiver's memory is not received: endpos is not reached before
# it is on the disk.  Small transactions, of which none is written in part.
$one->source_sql("INSERT INTO item VALUES (-1, 'applied before the disk is full')");
ok($one->poll(sub { my @segments = glob "$small/spool/spool/*.spool"; @segments == 1 }),
    'apply has removed what it can') or diag join "\n", glob "$small/spool/spool/*";
my $ballast = "$small/ballast";
ok( $one->poll(sub {
        system("dd if=/dev/zero of='$ballast' oflag=append conv=notrunc bs=4k 2>/dev/null");
        $one->source_sql("INSERT INTO item SELECT min(id) - 1, "
                . "(SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 50)) FROM item");
        return $one->status_row->{message} =~ $full;
    }),
    'the disk is full again') or $one->diagnose('the disk is not full');
my $endpos = $one->set_endpos;
ok( $one->poll(sub {
        $one->source_sql("SELECT write_lsn >= '$endpos' FROM pg_stat_replication") eq 't';
    }),
    'all that lies before endpos has come') or $one->diagnose('the stream stands still');
my $is_done = sub { $one->status_row->{state} eq 'done' };
ok(!$one->poll($is_done, 4), 'endpos is not reached while rows before it cannot be written');
unlink $ballast or die "$ballast is not removed: $!\n";
$one->finish('R13', endpos => 0);
done_testing();
