# R02 and invariant 2: the source is told of a transaction only when the spool has it on disk. The target
# loses, as in a power cut, whatever it had not synced; the source must still have all of that.  In the
# last round the target's own WAL, with what was applied, is on the disk, and the spool's tail is not.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use Cwd qw(realpath);
use File::Temp qw(tempdir);
use List::Util qw(sum0);
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

# Notes how long each file of the spool was when it was synced. While there is a file named gate, a
# sync waits instead; one named fault makes the next one fail.
my $shim = <<'C';
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd) {
    char link[64], path[4096], line[4200];
    const char *gate = getenv("TEST_SYNC_GATE"), *notes = getenv("TEST_SYNC_NOTES"), *fault = getenv("TEST_SYNC_FAULT");
    ssize_t length;
    int is_spool, result;
    struct stat status;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof(path) - 1);
    path[length > 0 ? length : 0] = 0;
    is_spool = gate && notes && strstr(path, "/livemigrate/") && strstr(path, "/spool/");
    while (is_spool && access(gate, F_OK) == 0)
        usleep(1000);
    if (is_spool && fault && unlink(fault) == 0) {
        errno = EIO;
        return -1;
    }
    if (is_spool)
        fstat(fd, &status);
    result = (int) syscall(SYS_fdatasync, fd);
    if (is_spool && result == 0) {
        int out = open(notes, O_WRONLY | O_APPEND | O_CREAT, 0600);
        int size = snprintf(line, sizeof(line), "%lld %s\n", (long long) status.st_size, path);
        if (out < 0 || write(out, line, size) != size)
            abort();
        close(out);
    }
    return result;
}
C
my $base = tempdir(CLEANUP => 1);
my ($gate, $notes, $fault) = ("$base/gate", "$base/notes", "$base/fault");

sub write_file {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!\n";
    print $file $text;
    close $file or die "$path: $!\n";
}

write_file("$base/sync.c", $shim);
system("cc -shared -fPIC -o $base/sync.so $base/sync.c 2>/dev/null") == 0
  or plan skip_all => 'no C compiler to hold back what is synced';

my $pair = LiveMigrate::Test->new(dbname => 'unused');
my ($source, $target) = ($pair->source, $pair->target);

sub start_target {
    local $ENV{LD_PRELOAD}      = "$base/sync.so";
    local $ENV{TEST_SYNC_GATE}  = $gate;
    local $ENV{TEST_SYNC_NOTES} = $notes;
    local $ENV{TEST_SYNC_FAULT} = $fault;
    return $target->start(@_);
}
$target->stop;
start_target();

sub spool_files {
    my ($one) = @_;
    my $oid = $one->target_sql("SELECT oid FROM pg_database WHERE datname = current_database()");
    return grep { m{/\Q$oid\E\.\d+/spool/} } $one->spool_files;
}

# By the file's name, how long it was at its last sync.
sub synced { return map { reverse split / /, $_, 2 } split /\n/, slurp_file($notes) }

sub unsynced_bytes {
    my (@files) = @_;
    my %synced = synced();
    return sum0(map { (-s $_ // 0) - ($synced{ realpath($_) // '' } // 0) } @files);
}

# What is in the files beyond their last sync, and files that never were, is gone.
sub forget_unsynced {
    my (@files) = @_;
    my %synced = synced();
    my $lost   = unsynced_bytes(@files);
    for my $file (@files) {
        my $size = $synced{ realpath($file) };
        defined $size ? truncate($file, $size) : unlink($file);
    }
    return $lost;
}

# A row twice in `bare` no key would refuse.
my %start = (
    pgoutput => { plugin => 'pgoutput' },
    wal2json => { plugin => 'wal2json' },
    workers  => { plugin => 'pgoutput', options => { apply_jobs => 2 } });
my %databases = map {
    my $one = $pair->database("cut_$_");
    $one->source_sql('CREATE TABLE held (id int PRIMARY KEY, n int); INSERT INTO held VALUES (1, 0);
        CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
        CREATE TABLE bare (v text)');
    $one->start($start{$_}->%*);
    $_ => $one;
} sort keys %start;
$_->wait_stage('streaming') for values %databases;

for my $round (1 .. 3) {
    my $is_last   = $round == 3;
    my @databases = @databases{ 'pgoutput', $is_last ? 'workers' : 'wal2json' };
    # What is applied the target has on disk otherwise: nothing is, before the last round.
    my @locks = $is_last ? () : map { $_->lock_table($target, 'held') } @databases;
    for my $one (@databases) {
        $one->source_sql('UPDATE held SET n = n + 1');
        $one->start_load(clients => 1, rate => 200,
            script => "INSERT INTO t (v) VALUES (repeat('x', 50));\nINSERT INTO bare VALUES ('y');");
        next if $is_last;
        ok($one->poll(sub { $one->target_sql("SELECT count(*) FROM pg_locks
                WHERE relation = 'held'::regclass AND NOT granted") > 0 }),
            "round $round: " . $one->dbname . ' does not apply');
    }
    my %confirmed;
    my $confirmed = sub {
        return $_[0]->source_sql("SELECT confirmed_flush_lsn FROM pg_replication_slots
            WHERE slot_name = 'livemigrate_" . $_[0]->name . "'");
    };
    $confirmed{ $_->dbname } = $confirmed->($_) for @databases;
    for my $one (@databases) {
        ok($one->poll(sub { $confirmed->($one) ne $confirmed{ $one->dbname } }),
            "round $round: " . $one->dbname . ' tells of what is synced, before it is applied');
    }

    # The next sync waits; behind it is what was written and perhaps told since the last.
    write_file($gate, '');
    for my $one (@databases) {
        my $size = 0;
        my $quiet = 0;
        ok($one->poll(sub {
            my @files = spool_files($one);
            my $now   = sum0(map { -s $_ // 0 } @files);
            $quiet = $now == $size ? $quiet + 1 : 0;
            $size = $now;
            return $quiet > 5 && unsynced_bytes(@files) > 0;
        }), "round $round: " . $one->dbname . ' waits for a sync');
    }
    $_->stop_load for @databases;
    if ($is_last) {
        for my $one (@databases) {
            ok($one->poll(sub { $one->target_sql(<<'SQL') eq 't' }),
SELECT max(o.remote_lsn) > max(s.flushed_lsn) AND max(s.applied_lsn) > max(s.flushed_lsn)
FROM livemigrate.migration_status() s JOIN livemigrate.migration m ON m.name = s.migration
JOIN pg_replication_origin_status o ON starts_with(o.external_id, m.origin_name)
SQL
                $one->dbname . ' has applied more than the spool has on disk')
              or $one->diagnose('nothing is ahead');
        }
        $target->safe_psql('postgres', 'CHECKPOINT');
    }
    my @files = map { spool_files($_) } @databases;

    # All at once: orphans would go on for a while.
    my @pids = ($target->{_pid}, split /\n/, $target->safe_psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE backend_type ~ '^livemigrate'"));
    kill 'KILL', @pids;
    $pair->poll(sub { !grep { kill 0, $_ } @pids }) or die 'the target outlived kill -9';
    unlink $gate;
    cmp_ok(forget_unsynced(@files), '>', 0, "round $round: something was not synced");
    $pair->end_session($_) for @locks;
    $pair->poll(sub { $target->{_pid} = undef; start_target(fail_ok => 1) }) or die 'no start';
    for my $one (@databases) {
        my $last = $one->source_sql("INSERT INTO t (v) VALUES ('round $round') RETURNING id");
        my $there = $one->poll(sub {
            my ($rc, $out) = $target->psql($one->dbname, "SELECT count(*) FROM t WHERE id = $last");
            return $rc == 0 && $out == 1;
        });
        ok($there, "round $round: " . $one->dbname . ' goes on') or $one->diagnose('power cut');
        $one->assert_equal_tables("round $round: " . $one->dbname . ' has every row once', rows_only => 1);
    }
}

sub finish {
    my ($one) = @_;
    $one->set_endpos;
    $one->wait_stage('done');
    $one->assert_equal_tables($one->dbname . ': equal tables');
    $one->cleanup;
}
finish($databases{$_}) for qw(wal2json workers);

# What a sync that fails has lost comes again.
my $one = $databases{pgoutput};
$one->start_load(clients => 1, rate => 200, script => "INSERT INTO t (v) VALUES (repeat('x', 50));");
write_file($fault, '');
$one->wait_state('failed');
like($one->status_row->{message}, qr/could not fdatasync file ".*\/spool\/.*": Input\/output error/,
    'R02 a sync that fails stops the migration');
$one->stop_load;
$one->resume;
finish($one);
is($one->target_sql("SELECT string_agg(message, ' ') FROM livemigrate.events
        WHERE concat(message, detail) ~ 'damaged'"), '', 'R02 and leaves the spool whole');
$pair->assert_nothing_left('nothing left');

done_testing();
