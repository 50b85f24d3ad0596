# What the copy leaves on the target: pages that are frozen and known to be visible, and with wal_level =
# minimal hardly any WAL.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "wal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n");
$pair->source_sql(<<'SQL');
CREATE TABLE whole (id int PRIMARY KEY, v text);
INSERT INTO whole SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 30000) g;
CREATE TABLE partitioned (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE partition PARTITION OF partitioned DEFAULT;
INSERT INTO partitioned SELECT generate_series(1, 100000);
SQL
$pair->start(pause_after => ['schema']);
$pair->wait_state('paused');
my $before = $pair->target_sql('SELECT pg_current_wal_insert_lsn()');
$pair->resume(['data']);
$pair->wait_state('paused');
my ($wal, $size) = split /\|/, $pair->target_sql("SELECT pg_current_wal_insert_lsn() - '$before',
    pg_relation_size('whole') + pg_relation_size('partition')");
cmp_ok($size, '>', 10 << 20, 'more than 10 MB of rows');
cmp_ok($wal, '<', $size / 10, 'wal_level = minimal: less than a tenth of it as WAL') or diag $wal;

SKIP: {
    my ($rc) = $pair->target->psql($pair->dbname, 'CREATE EXTENSION pg_visibility SCHEMA pg_catalog');
    skip 'pg_visibility is not installed', 2 if $rc != 0;
    for my $table (qw(whole partition)) {
        # From 16 on tables are extended by up to 64 pages at a time, which may be empty at the end.
        is( $pair->target_sql("SELECT all_visible > pages - 64 AND all_frozen = all_visible
                FROM pg_visibility_map_summary('$table'),
                    LATERAL (SELECT pg_relation_size('$table') / 8192 AS pages) p"),
            't', "$table: every page is frozen");
    }
    $pair->target_sql('DROP EXTENSION pg_visibility');
}
$pair->resume([]);
$pair->wait_stage('streaming');
$pair->finish('wal_level = minimal');

# Tables that are there are emptied beforehand; of those in one part rows are frozen as well, unless a
# foreign key points at them.
my $refill = $pair->database('refill');
my @filled = ('CREATE TABLE %s (id int PRIMARY KEY, v text, parent int REFERENCES referenced)',
    "INSERT INTO %s SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 12000) g");
for my $table (qw(referenced lonely)) {
    for my $sql (map { sprintf $_, $table } @filled) {
        $refill->source_sql($sql);
        $refill->target_sql($sql);
    }
}
$refill->target_sql("DELETE FROM lonely; UPDATE referenced SET v = 'old'");
$refill->start(on_existing => 'truncate', pause_after => ['data']);
$refill->wait_stage('data');
SKIP: {
    my ($rc) = $pair->target->psql($refill->dbname, 'CREATE EXTENSION pg_visibility SCHEMA pg_catalog');
    skip 'pg_visibility is not installed', 1 if $rc != 0;
    is( $refill->target_sql("SELECT string_agg((SELECT all_frozen > 0 FROM pg_visibility_map_summary(t))::text, ' ')
            FROM unnest('{referenced,lonely}'::text[]) t"),
        'false true', 'a table that was there gets frozen rows, unless a foreign key points at it');
    $refill->target_sql('DROP EXTENSION pg_visibility');
}
$refill->resume([]);
$refill->wait_stage('streaming');
$refill->finish('on_existing => truncate');
done_testing();
