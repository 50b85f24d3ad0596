# The statements of doc/hypertables.md, in the order in which they stand there.
use strict;
use warnings;

use FindBin;
use LiveMigrate::Hypertables;
use Test::More;

my $db = LiveMigrate::Hypertables->new_or_skip(extensions => 0);

open my $page, '<', "$FindBin::Bin/../../doc/hypertables.md" or die "doc/hypertables.md: $!";
my $text = join '', <$page>;
close $page;
my @blocks = $text =~ /^```sql (source|target|target community)\n(.*?)^```$/gms;
my %other  = $text =~ /^```sql (upfront|keys)\n(.*?)^```$/gms;
cmp_ok(@blocks / 2, '>', 9, 'the page has its statements');

my $ran = 0;
while (my ($where, $sql) = splice @blocks, 0, 2) {
    if ($where =~ /community/ && !$db->has_community_edition) {
      SKIP: { skip 'this TimescaleDB is the Apache edition', 1 }
        next;
    }
    my $side = $where eq 'source' ? 'source' : 'target';
    # What stands there for the reader's server.
    my $conninfo = LiveMigrate::Test::quote_literal($db->conninfo);
    $sql =~ s/'host=src dbname=app user=migrator'/$conninfo/;
    my ($rc, $out, $err) = (0, '', '');
    for my $statement (split /(?<=;)\n/, $sql) {
        ($rc, $out, $err) = $db->$side->psql($db->dbname, $statement, timeout => 300);
        is($rc, 0, 'runs: ' . ($statement =~ s/\s+/ /gr)) or diag $err;
    }
    $ran++;
    if ($sql =~ /CREATE INDEX metrics_time/) {
        $db->source_sql("INSERT INTO devices SELECT g, 'd' || g FROM generate_series(1, 10) g;
            INSERT INTO metrics SELECT now() - g * interval '1 h', g % 10 + 1, g
            FROM generate_series(1, 3000) g");
    } elsif ($sql =~ /migration_wait\('streaming'\)/) {
        $db->source_sql("INSERT INTO metrics SELECT now() - g * interval '1 min', 1, g
            FROM generate_series(1, 100) g; UPDATE metrics SET value = 0 WHERE device = 2;
            DELETE FROM metrics WHERE device = 3");
    } elsif ($sql =~ /AS in_root/) {
        like($out, qr/^0\|[1-9]/, 'no row in the root, and chunks');
    } elsif ($sql =~ /compare_data/) {
        is($db->target_sql('SELECT count(*) FROM metrics'), '2800', 'all rows are on the target');
        is($db->target_sql('SELECT count(*), bool_and(equal) FROM livemigrate.compare_data()'),
            '2|t', 'and equal');
    }
}
if ($db->has_community_edition) {
    is($db->target_sql('SELECT sum(samples) FROM metrics_daily'), '2800', 'the aggregate is filled');
    is($db->target_sql('SELECT count(*) FROM timescaledb_information.jobs
            WHERE job_id >= 1000 AND scheduled'), '3', 'the policies are scheduled');
}

# --- the rest of the page: a hypertable named up front, and a key that has to be extended
my $conninfo = sub { LiveMigrate::Test::quote_literal($_[0]->conninfo) };
my $upfront  = $db->database('upfront', migration => 'main');
$upfront->source_sql("CREATE TABLE metrics (time timestamptz NOT NULL, v int);
    ALTER TABLE metrics REPLICA IDENTITY FULL; INSERT INTO metrics SELECT now(), g FROM generate_series(1, 9) g");
$upfront->target_sql($other{upfront} =~ s/'host=src dbname=app user=migrator'/$conninfo->($upfront)/er);
$upfront->wait_stage('streaming');
is($upfront->target_sql("SELECT count(*) FROM show_chunks('metrics')"), '1', 'up front: a hypertable with its rows');
$upfront->finish('up front', relations => 0);

my $keys = $db->database('keys', migration => 'main');
$keys->source_sql('CREATE TABLE events (id bigint PRIMARY KEY, "time" timestamptz NOT NULL);
    INSERT INTO events SELECT g, now() FROM generate_series(1, 9) g');
$keys->start(pause_after => ['schema']);
$keys->wait_state('paused');
$keys->target_sql("SELECT create_hypertable('events', 'time', create_default_indexes => false)");
$keys->resume([]);
$keys->wait_state('failed');
$keys->target_sql($other{keys});
$keys->wait_stage('streaming');
$keys->finish('keys', relations => 0);

done_testing();
