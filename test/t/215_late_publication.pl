# The session that makes the publications waits for a lock on the source when its coordinator is lost:
# it does not notice, and would make them when the lock is free, under the feet of the next attempt or
# behind the back of who has given up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE log (line text)');

sub makers {
    return $pair->source_sql(q{SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
        WHERE state = 'active' AND query ~ '^CREATE PUBLICATION' AND cardinality(pg_blocking_pids(pid)) > 0});
}

# The lock stays while the target restarts, so that the session is there when the next attempt begins.
for my $table (qw(t log)) {
    my $lock = $pair->lock_table($source, $table);
    $pair->start(options => { insert_only_tables => ['public.log'] });
    ok($pair->poll(sub { makers() ne '' }), "$table: the publication waits for a lock");
    my $lost = makers();
    $target->restart;
    ok($pair->poll(sub { makers() ne '' && makers() ne $lost }), "$table: the next attempt waits for it")
      or $pair->diagnose("lost: $lost");
    unlike(makers(), qr/,/, "$table: the session of the attempt before has been ended");
    $pair->end_session($lock);
    $pair->wait_stage('streaming');
    $pair->source_sql("INSERT INTO t VALUES (1); INSERT INTO log VALUES ('one')");
    $pair->finish("$table: a publication that was waited for");
    $pair->source_sql('TRUNCATE t, log');
    $pair->target_sql('DROP TABLE t, log');
}

my $lock = $pair->lock_table($source, 't');
$pair->start(options => { insert_only_tables => ['public.log'] });
ok($pair->poll(sub { makers() ne '' }), 'abort: the publication waits for a lock');
$target->stop('immediate');
$target->start;
$pair->wait_for_connections($target);
$pair->abort;
is(makers(), '', 'abort ends the session that would make the publication');
$pair->end_session($lock);
$pair->cleanup;
$pair->assert_nothing_left('abort');
is($pair->source_sql('SELECT pubname FROM pg_publication'), '', 'there is no publication');

done_testing();
