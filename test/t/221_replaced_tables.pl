# Tables of the source that are dropped and made again, or replaced by renaming, while changes are applied:
# nothing of the new ones is mixed with the rows of the old, and nothing is said to be done before somebody
# knows of it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my @plugins = qw(pgoutput wal2json);

my %replacements = (
    keyed   => "DROP TABLE keyed; CREATE TABLE keyed (id int PRIMARY KEY, body text); INSERT INTO keyed VALUES (3, 'new')",
    keyless => "DROP TABLE keyless; CREATE TABLE keyless (body text); INSERT INTO keyless VALUES ('new')",
    swapped => "CREATE TABLE next (id int PRIMARY KEY, body text);
        BEGIN; ALTER TABLE swapped RENAME TO before; ALTER TABLE next RENAME TO swapped; COMMIT;
        INSERT INTO swapped VALUES (2, 'more')",
);

sub make_tables {
    my ($one) = @_;
    $one->source_sql(<<'SQL');
CREATE TABLE kept (id int PRIMARY KEY, body text); INSERT INTO kept VALUES (1, 'kept');
CREATE TABLE keyed (id int PRIMARY KEY, body text); INSERT INTO keyed VALUES (1, 'old'), (2, 'old');
CREATE TABLE keyless (body text); INSERT INTO keyless VALUES ('old');
CREATE TABLE swapped (id int PRIMARY KEY, body text); INSERT INTO swapped VALUES (1, 'old');
CREATE TABLE gone (id int PRIMARY KEY); INSERT INTO gone VALUES (1);
CREATE TABLE parted (id int, body text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (100) TO (200);
INSERT INTO parted VALUES (1, 'old'), (150, 'old');
SQL
}

sub assert_stops_once {
    my ($one, $label, $table, $sql) = @_;
    $one->source_sql($sql);
    $one->wait_state('failed');
    my $status = $one->status_row;
    is($status->{message}, qq{table "public"."$table" was replaced on the source}, "$label: told");
    like($status->{hint}, qr/^SELECT livemigrate\.migration_resume\('\w+'\);$/m, '... with a way on');
    $one->target_sql($status->{hint});
    $one->wait_state('running');
    is($one->target_sql(qq{SELECT count(*) FROM livemigrate.events WHERE severity = 'warning'
            AND message LIKE 'table "public"."$table" is not followed any more%'}), '1', '... and kept in mind');
}

for my $plugin (@plugins) {
    my $one = $pair->database("replaced_$plugin");
    make_tables($one);
    $one->start(plugin => $plugin, options => { insert_only_tables => ['public.keyless'] });
    $one->wait_stage('streaming');
    assert_stops_once($one, "$plugin, $_", $_, $replacements{$_}) for sort keys %replacements;
    $one->source_sql("DROP TABLE gone; UPDATE kept SET body = 'changed'; INSERT INTO keyed VALUES (4, 'newer')");
    ok($one->poll(sub { $one->target_sql('SELECT body FROM kept') eq 'changed' }), "$plugin: others are followed");
    $one->set_endpos;
    $one->wait_stage('done');
    for my $table (sort keys %replacements) {
        is($one->target_sql("SELECT DISTINCT body FROM $table WHERE body LIKE 'old%'"), 'old',
            "$plugin: $table has the rows that it had");
    }
    is($one->target_sql("SELECT count(*) FROM keyed WHERE id > 2"), '0', '... and no others')
      if $plugin eq 'pgoutput';
    like($one->target_sql("SELECT string_agg(message, E'\n' ORDER BY message) FROM livemigrate.events
            WHERE stage = 'cutover' AND severity = 'warning'"),
        qr/"gone" is not on the source any more.*DROP TABLE "public"."gone";.*"keyed" was replaced.*"keyless" was replaced.*"swapped" was replaced/s,
        "$plugin: the cutover says so again");
    is($one->target_sql("SELECT string_agg(relation, ' ' ORDER BY relation) FROM livemigrate.compare_data()
            WHERE NOT equal AND relation <> 'public.gone'"),
        'public.keyed public.keyless public.swapped', "$plugin: compare_data shows them");
    $one->cleanup;
}

# Its rows are in the stream: apply is the first that meets them.
my $partition = $pair->database('partition');
make_tables($partition);
$partition->start(plugin => 'pgoutput', options => { apply_jobs => 2, insert_only_tables => ['public.keyless'] });
$partition->wait_stage('streaming');
assert_stops_once($partition, 'a partition', 'part_2', "DROP TABLE part_2;
    CREATE TABLE part_2 PARTITION OF parted FOR VALUES FROM (100) TO (200); INSERT INTO parted VALUES (160, 'new')");
$partition->source_sql("UPDATE parted SET body = 'changed' WHERE id = 1; INSERT INTO parted VALUES (161, 'new')");
$partition->set_endpos;
$partition->wait_stage('done');
is($partition->target_sql('SELECT string_agg(concat_ws(\' \', id, body), \', \' ORDER BY id) FROM parted'),
    '1 changed, 150 old', 'a partition: the other one is followed');

done_testing();
