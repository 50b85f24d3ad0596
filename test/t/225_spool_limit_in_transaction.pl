# R13: the spool reaches its limit inside a transaction that does not fit, behind transactions that have
# nothing for apply. It goes beyond the limit then, as it does for any such transaction: apply says how far it
# is though it has nothing else to write, whether it has written a part of that transaction or only kept it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused', target_conf => "livemigrate.spool_size_limit = 4MB\nlivemigrate.spool_compression = lz4\n");

# How many rows without a value it has before 10 MB of others: none, or what a batch takes and more.
my %narrow = (kept => 0, written => 25_000);

# Rows of 32 kB, of which the spool's compression leaves most, behind those without a value.
sub insert_rows {
    my ($one, $table, $narrow, $wide) = @_;
    my $value = "(SELECT string_agg(md5(g || ' ' || i), '') FROM generate_series(1, 1024) i)";
    $one->source_sql("INSERT INTO $table SELECT g, CASE WHEN g > $narrow THEN $value END FROM generate_series(1, $narrow + $wide) g");
    return;
}

for my $what (sort keys %narrow) {
    my $rows = $narrow{$what} + 320;
    my $one = $pair->database($what);
    $one->source_sql('CREATE TABLE item (id int PRIMARY KEY, v text); CREATE TABLE noise (id int, v text)');
    $one->start(plugin => 'wal2json', exclude_tables => ['public.noise']);
    $one->wait_stage('streaming');

    # While apply waits, everything up to the limit is received: it then reads it in one go, well within the
    # second after which it would move its origin for nothing.
    my $held = $one->lock_table($pair->target, 'public.item');
    $one->source_sql("INSERT INTO item VALUES (0, 'first')");
    $one->wait_blocked($pair->target);
    insert_rows($one, 'noise', 0, 32) for 1 .. 2;
    insert_rows($one, 'item', $narrow{$what}, 320);
    ok($one->poll(sub { $one->status_row->{message} =~ /waiting for apply: the spool has reached/ }), "$what: the limit is reached")
      or $one->diagnose($what);
    $one->end_session($held);
    ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM item') == $rows + 1 }), "$what: everything arrives")
      or $one->diagnose($what);
    $one->set_endpos;
    $one->wait_stage('done');
    $one->cleanup;
}

done_testing();
