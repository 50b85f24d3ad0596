# livemigrate.spool_compression: the same stream with both plugins, compressed or not by turns, over
# restarts of receiver and apply worker.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use List::Util qw(sum0);
use Test::More;

my $app = LiveMigrate::Test->new(target_conf => "livemigrate.spool_compression = lz4\n");

sub set_compression {
    my ($value) = @_;
    $app->target_sql("ALTER SYSTEM SET livemigrate.spool_compression = '$value'");
    $app->target->reload;
}

sub spool_size {
    my ($one) = @_;
    return sum0 map { -s $_ // 0 } $one->spool_files;
}

# The stream of a transaction has about half a megabyte.
sub insert_items {
    my ($one, $from, $to) = @_;
    for (my $first = $from; $first <= $to; $first += 1000) {
        my $last = $first + 999;
        $one->source_sql('INSERT INTO item SELECT g, repeat(md5(g::text), 16)'
                . " FROM generate_series($first, $last) g");
    }
}

sub wait_received {
    my ($one) = @_;
    my $lsn = $one->source_sql('SELECT pg_current_wal_lsn()');
    $one->poll(
        sub {
            $one->target_sql("SELECT received_lsn >= '$lsn' FROM livemigrate.migration_status("
                    . LiveMigrate::Test::quote_literal($one->name) . ')') eq 't';
        }) or
        die "the stream was not received\n";
}

my @plugins = ('pgoutput', 'wal2json');
for my $plugin (@plugins) {
    set_compression('lz4');
    my $one = $app->database($plugin);
    $one->source_sql('CREATE TABLE item (id bigint PRIMARY KEY, payload text)');
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');

    my $held = $one->lock_table($one->target, 'public.item');
    insert_items($one, 1, 20_000);
    wait_received($one);
    cmp_ok(spool_size($one), '<', 3 << 20, "$plugin: ten megabytes take less than three");

    $one->kill_worker('receiver', 'TERM');
    set_compression('off');
    insert_items($one, 20_001, 30_000);
    wait_received($one);
    $one->kill_worker('apply', 'TERM');
    set_compression('lz4');
    insert_items($one, 30_001, 40_000);
    $one->end_session($held);
    $one->finish($plugin);
}
done_testing();
