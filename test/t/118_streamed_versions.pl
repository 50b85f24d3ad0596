# D22 from sources of other major versions: transactions that they send before these end. The source
# of the target's own version is in 092; versions that source_servers.sh has not fetched are skipped.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::SourceServer;
use LiveMigrate::Streamed qw(half_rolled_back);
use LiveMigrate::Test;
use Test::More;

my %fetched = map { $_ => 1 } fetched_versions();
my @wanted = grep { $_ != target_major() } 14 .. 18;
plan skip_all => 'no source server of another version: run test/source_servers.sh fetch'
  unless grep { $fetched{$_} } @wanted;

my $conf = "logical_decoding_work_mem = 64kB\n";
my $pair = LiveMigrate::Test->new(
    dbname      => 'unused',
    source_conf => $conf,
    target_conf => "livemigrate.stream_in_progress = on\n");

my $schema = <<'SQL';
CREATE TYPE mood AS ENUM ('sad', 'ok');
CREATE TABLE a (id int PRIMARY KEY, v text);
CREATE TABLE b (id int PRIMARY KEY, v text, m mood DEFAULT 'ok');
CREATE TABLE c (id int PRIMARY KEY, v text);
CREATE TABLE twins (n int, v text); ALTER TABLE twins REPLICA IDENTITY FULL;
CREATE TABLE big (id int PRIMARY KEY, n int, v text); ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
INSERT INTO a SELECT g, 'copied' FROM generate_series(1, 500) g;
INSERT INTO big SELECT g, 0, repeat(md5(g::text), 100) FROM generate_series(1, 50) g;
SQL

# Each is one large transaction. Subtransactions within others, half of them rolled back, some after
# a TRUNCATE; a value out of line that does not change; rows that are there twice.
my $nested = half_rolled_back(20_001, 22_000, 'UPDATE big SET n = n + 1 WHERE id = i % 50;');
my @large  = (<<'SQL', <<'SQL', $nested);
BEGIN; INSERT INTO a SELECT g, md5(g::text) FROM generate_series(1001, 4000) g;
SAVEPOINT one; INSERT INTO b SELECT g, md5(g::text) FROM generate_series(1, 3000) g;
SAVEPOINT two; UPDATE a SET v = 'lost' WHERE id % 2 = 0; TRUNCATE b; INSERT INTO b VALUES (1, 'lost');
ROLLBACK TO two; UPDATE b SET v = v || 'x' WHERE id % 3 = 0; DELETE FROM b WHERE id % 5 = 0;
SAVEPOINT three; UPDATE big SET n = n + 1; RELEASE three;
ROLLBACK TO one; INSERT INTO b SELECT g, 'kept', 'sad' FROM generate_series(1, 2000) g;
UPDATE big SET n = n + 1; UPDATE a SET id = id + 100000 WHERE id % 7 = 0; COMMIT;
SQL
BEGIN; INSERT INTO twins SELECT g % 100, 'same' FROM generate_series(1, 4000) g; SAVEPOINT s;
INSERT INTO a SELECT g, 'before' FROM generate_series(5001, 8000) g; TRUNCATE a, twins;
INSERT INTO a SELECT g, 'after' FROM generate_series(1, 3000) g; RELEASE s;
INSERT INTO twins SELECT g % 100, 'same' FROM generate_series(1, 3000) g;
DELETE FROM twins WHERE ctid IN (SELECT min(ctid) FROM twins GROUP BY n);
UPDATE big SET v = v || 'y' WHERE id < 5; COMMIT;
SQL

for my $major (@wanted) {
    unless ($fetched{$major}) {
        skip_version("D22 source PostgreSQL $major", 'run test/source_servers.sh fetch');
        next;
    }
    my $one   = $pair->other_source(install_path($major), "streamed_$major");
    my %start = (plugin => 'pgoutput', options => { apply_jobs => 2 });
    $one->source_sql($schema);
    if ($major > target_major()) {
        $one->target_sql($schema);
        $start{options}{allow_downgrade} = \1;
        $start{on_existing} = 'truncate';
    }
    $one->start(%start);
    $one->wait_stage('streaming');

    # One that stays open while others end, and is lost in the middle with its connection.
    my $open = $one->session($one->source,
        'BEGIN; INSERT INTO c SELECT g, md5(g::text) FROM generate_series(10001, 14000) g');
    $one->source_sql($_) for @large[ 0 .. 1 ];
    $one->source_sql('SELECT pg_terminate_backend(pid) FROM pg_stat_replication');
    $open->query_safe('INSERT INTO c SELECT g, md5(g::text) FROM generate_series(14001, 16000) g;'
          . 'SAVEPOINT s; DELETE FROM c WHERE id > 10000; ROLLBACK TO s; COMMIT');
    $one->end_session($open);
    $one->source_sql($large[2]);
    ok($one->poll(sub {
                $one->source_sql('SELECT sum(stream_txns) >= 3 FROM pg_stat_replication_slots') eq 't'
            }), "D22 source $major: transactions were streamed")
      or $one->diagnose("source $major");
    $one->finish("D22 source $major");
    $one->source->stop;
}

done_testing();
