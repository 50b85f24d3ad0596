# Source transactions that leave nothing to write on the target, each longer than a spool segment: what
# the spool still has always reaches back to where apply begins again.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "livemigrate.spool_segment_size = 1MB\n");

# Returns when all that the source has written is applied and the spool has been pruned behind it.
sub wait_pruned {
    my ($one, $label) = @_;
    my $lsn = $one->source_sql('SELECT pg_current_wal_lsn()');
    ok( $one->poll(
            sub {
                $one->target_sql("SELECT applied_lsn >= '$lsn' FROM livemigrate.migration_status("
                        . LiveMigrate::Test::quote_literal($one->name) . ')') eq 't';
            }),
        "$label: applied");
    ok($one->poll(sub { 1 == grep {/\.spool$/} $one->spool_files }), "$label: pruned to one segment");
}

sub begin_again {
    my ($one, $label) = @_;
    $one->kill_worker('apply', 'TERM');
    $one->source_sql('INSERT INTO kept DEFAULT VALUES');
    my $rows = $one->source_sql('SELECT count(*) FROM kept');
    ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM kept') == $rows }),
        "$label: apply goes on after a restart");
}

my %noise = (
    'a table left out' => <<'SQL',
INSERT INTO noise SELECT g, repeat('x', 500) FROM generate_series(1, 8000) g
SQL
    'rows that come and go' => <<'SQL',
BEGIN;
INSERT INTO job SELECT g, repeat('x', 500) FROM generate_series(1, 8000) g;
DELETE FROM job;
COMMIT;
SQL
);

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("nothing_$plugin");
    $one->source_sql(<<'SQL');
CREATE TABLE kept (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY);
CREATE TABLE job (id int PRIMARY KEY, v text);
CREATE TABLE noise (id int, v text);
SQL
    $one->start(plugin => $plugin, exclude_tables => ['public.noise']);
    $one->wait_stage('streaming');
    for my $name (sort keys %noise) {
        my $label = "$plugin, $name";
        $one->source_sql($noise{$name});
        wait_pruned($one, $label);
        begin_again($one, $label);
    }
    $one->set_endpos;
    $one->wait_stage('done');
    is($one->target_sql('SELECT count(*) FROM kept'), 2, "$plugin: every row came");
    is($one->target_sql('SELECT count(*) FROM job'),  0, "$plugin: and none that went");
    $one->cleanup;
}
done_testing();
