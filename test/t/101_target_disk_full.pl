# The target's disk is full during the copy and while indexes are built: the migration stops with an
# error that says so, the server stays up, and when there is room migration_resume does the rest.
# Needs a file system of its own for the target's tables, which only root can make; see
# test/server_tests.sh.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $disk = $ENV{LIVEMIGRATE_TABLE_DISK}
    or plan skip_all => 'LIVEMIGRATE_TABLE_DISK names no small file system: run the tests as root,'
    . ' where mount is allowed';

my $pair   = LiveMigrate::Test->new(target_conf => "autovacuum = off\n");
my $target = $pair->target;
mkdir "$disk/space" or die "$disk/space: $!\n";
$target->safe_psql('postgres', "CREATE TABLESPACE small LOCATION '$disk/space'");

# Leaves so many MB free on the disk.
sub leave {
    my ($megabytes) = @_;
    unlink "$disk/ballast";
    my ($free) = `df --output=avail -k $disk` =~ /(\d+)\s*\z/;
    my $ballast = int($free / 1024) - $megabytes;
    system("head -c ${ballast}M /dev/zero > $disk/ballast") == 0 or die "no ballast\n";
    return;
}

sub free { unlink "$disk/ballast" or die "ballast: $!\n"; return }

sub has_stopped {
    my ($one, $label) = @_;
    $one->wait_state('failed');
    my $status = $one->status_row;
    like($status->{last_error}, qr/No space left on device/, "$label: the error says so");
    like($status->{hint}, qr/SELECT livemigrate\.migration_resume\('\w+'\);/, 'and how to go on');
    is($one->target_sql('SELECT last_error_sqlstate FROM livemigrate.migrations'),
        '53100', 'its SQLSTATE is disk_full');
    unlike(slurp_file($target->logfile), qr/PANIC|terminated by signal/, 'the server stays up');
    return;
}

sub refuse_events {
    my ($one) = @_;
    $one->target_sql(<<"SQL");
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
\$\$BEGIN RAISE disk_full USING MESSAGE = 'No space left for an event'; END\$\$;
CREATE TRIGGER refuse BEFORE INSERT ON livemigrate.event
  FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE livemigrate.event ENABLE ALWAYS TRIGGER refuse;
SQL
    return;
}

sub on_small_disk {
    my ($name) = @_;
    my $one = $pair->database($name);
    $target->safe_psql('postgres', "ALTER DATABASE $name SET TABLESPACE small");
    return $one;
}

sub create_tables {
    my ($one) = @_;
    # Two that fit and one that does not, in parts; 3 MB, 3 MB and 24 MB.
    $one->source_sql(<<'SQL');
CREATE TABLE large (id int PRIMARY KEY, filler text);
INSERT INTO large SELECT g, repeat(md5(g::text), 15) FROM generate_series(1, 48000) g;
CREATE TABLE one (id int PRIMARY KEY, filler text);
INSERT INTO one SELECT g, repeat(md5(g::text), 15) FROM generate_series(1, 6000) g;
CREATE TABLE two (LIKE one INCLUDING ALL);
INSERT INTO two SELECT * FROM one;
CREATE INDEX ON large (filler);
SQL
    return;
}

for my $case ([ whole => '1 GB' ], [ parts => '4 MB' ]) {
    my ($name, $split) = @$case;
    my $one = on_small_disk($name);
    create_tables($one);
    $one->start(split_tables_larger_than => $split, table_jobs => 2, pause_after => ['schema']);
    $one->wait_stage('schema');
    $one->wait_state('paused');
    leave(12);
    $one->resume([]);
    has_stopped($one, "$name, during the copy");

    # Still full, even for the events: it stops again rather than going round, and says so.
    refuse_events($one);
    my $last =
        $one->target_sql('SELECT message FROM livemigrate.events ORDER BY at DESC, id DESC LIMIT 1');
    my $listener = $one->session($target, "LISTEN livemigrate; SELECT livemigrate.migration_resume('$name')");
    has_stopped($one, "$name, resumed too early");
    ok($one->poll(sub { $listener->query('SELECT 1') =~ /"state" : "failed", "message" : "state is now failed"/ }),
        'listeners are told');
    $one->end_session($listener);
    is($one->target_sql(q(SELECT message FROM livemigrate.events ORDER BY at DESC, id DESC LIMIT 1)),
        $last, 'without an event, for which there is no room');
    like(slurp_file($target->logfile), qr/event of migration \d+ was not kept: No space/,
        'which the log has');
    $one->target_sql('DROP TRIGGER refuse ON livemigrate.event');
    free();
    $one->resume(['data']);
    $one->wait_stage('data');
    $one->wait_state('paused');
    is($one->target_sql('SELECT count(*) FROM large'), 48_000, "$name: copied when there is room");

    leave(1);
    $one->resume([]);
    has_stopped($one, "$name, during the index builds");
    free();
    $one->resume([]);
    $one->wait_stage('streaming');
    $one->finish($name);
    $target->safe_psql('postgres', "DROP DATABASE $name");
}
done_testing();
