# Partitions that came since, of a table whose rows go through the topmost one: whether each was made as a
# partition, so that all of its rows are in the change stream, and what the source may have forgotten of that.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $cannot_be_told = qr/^whether partition "public"\."\w+", .* was attached to "public"\."era" cannot be told/;
my $era = 'CREATE TABLE era (id int DEFAULT 7, at int, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at)';

# A transaction that makes a table, fills it and attaches it: pgoutput does not send what was there by then.
my $filled = "BEGIN; CREATE TABLE era_9 (id int NOT NULL, at int NOT NULL, v text, PRIMARY KEY (id, at));
    INSERT INTO era_9 VALUES (90, 90); ALTER TABLE era ATTACH PARTITION era_9 FOR VALUES FROM (90) TO (100); COMMIT";

sub follow {
    my ($name) = @_;
    my $one = $pair->database($name);
    $one->source_sql("$era; CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (0) TO (10)");
    $one->target_sql('CREATE TABLE era (id int, at int, v text, PRIMARY KEY (id, at))');
    $one->start(plugin => 'pgoutput', on_existing => 'truncate');
    $one->wait_stage('streaming');
    $one->pause;
    $one->wait_state('paused');
    return $one;
}

# --- the command is known, as long as nothing was forgotten or rolled back
my $one = follow('remembered');
$one->source_sql("BEGIN; CREATE TABLE noise (); CREATE TABLE era_2 PARTITION OF era FOR VALUES FROM (10) TO (20); COMMIT");
$one->source_sql('CREATE TABLE era_3 PARTITION OF era FOR VALUES FROM (20) TO (30)');
$one->source_sql('INSERT INTO era VALUES (12, 12), (22, 22)');
$one->resume;
$one->poll(sub { $one->target_sql('SELECT count(*) FROM era') == 2 });
is($one->target_sql(q{SELECT string_agg(id::text, ' ' ORDER BY id) FROM era}), '12 22', 'remembered: no question is asked');
$one->pause;
$one->wait_state('paused');
$one->source_sql($filled);
$one->source_sql('INSERT INTO era VALUES (91, 91)');
# Its own commands are numbered as those of the transaction that made the table.
$one->source_sql('BEGIN; ALTER TABLE era_9 ALTER v SET STATISTICS 50; ROLLBACK');
is($one->source_sql("SELECT a.cmin = s.cmin FROM pg_attribute a JOIN pg_attribute s USING (attrelid)
        WHERE attrelid = 'era_9'::regclass AND a.attname = 'v' AND s.attnum = -1"), 't', 'rolled back: it looks as one made as a partition');
$one->resume;
$one->wait_state('failed');
like($one->status_row->{message}, $cannot_be_told, 'rolled back: one that was filled and attached stops apply');
$one->abort;
$one->cleanup;

# --- the recovery has forgotten the commands that made the columns, and not the one that attached
$one = follow('half_forgotten');
# The first change of a page since the checkpoint writes all of it, with the numbers of commands.
$one->source_sql('CHECKPOINT');
$one->source_sql('CREATE TABLE noise (a int)');
$one->source_sql($filled);
$one->source_sql('INSERT INTO era VALUES (91, 91)');
$one->crash_and_start($pair->source);
is($one->source_sql("SELECT i.cmin::text::int > 1 AND bool_and(a.cmin::text = '0')
        FROM pg_inherits i JOIN pg_attribute a ON attrelid = inhrelid WHERE inhrelid = 'era_9'::regclass GROUP BY i.cmin::text"),
    't', 'half forgotten: it looks as one made as a partition');
$one->resume;
$one->wait_state('failed');
like($one->status_row->{message}, $cannot_be_told, 'half forgotten: one that was filled and attached stops apply');
is($one->target_sql('SELECT count(*) FROM era'), '0', '... and no row comes without the others');
$one->abort;
$one->cleanup;

# --- the recovery has made anew: one of the target's name, and one that took the place of another
for my $plugin (qw(pgoutput wal2json)) {
    $one = $pair->database("recovered_$plugin");
    $one->source_sql('CREATE TABLE era (id int, at int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (0) TO (10)');
    $one->target_sql('CREATE TABLE era (id int, at int, PRIMARY KEY (id, at))');
    $one->start(plugin => $plugin, on_existing => 'truncate');
    $one->wait_stage('streaming');
    $one->pause;
    $one->wait_state('paused');
    # The first change of a page since the checkpoint writes all of it, with the numbers of commands.
    $one->source_sql('CHECKPOINT');
    $one->source_sql('CREATE TABLE era_0 PARTITION OF era FOR VALUES FROM (-10) TO (0)');
    $one->source_sql('CREATE TABLE era_2 PARTITION OF era FOR VALUES FROM (10) TO (20)');
    $one->source_sql('INSERT INTO era VALUES (12, 12)');
    $one->source_sql('ALTER TABLE era_1 RENAME TO era_was');
    $one->source_sql('CREATE TABLE era_1 PARTITION OF era FOR VALUES FROM (20) TO (30)');
    $one->source_sql('INSERT INTO era VALUES (22, 22)');
    $one->crash_and_start($pair->source);
    my @unclear = $plugin eq 'pgoutput' ? qw(era_2 era_1) : qw(era_2);
    is($one->source_sql("SELECT count(*) FROM pg_inherits WHERE cmin::text = '0'
            AND inhrelid IN ('era_2'::regclass, 'era_1'::regclass)"), '2', "recovered, $plugin: the source has forgotten");
    $one->resume;
    for my $name (@unclear) {
        $one->wait_state('failed');
        like($one->status_row->{message}, qr/^whether partition "public"\."$name", .* was attached to "public"\."era" cannot be told/,
            "recovered, $plugin: $name may lack rows");
        my ($go_on) = $one->status_row->{hint} =~ /(SELECT livemigrate\.migration_resume\(.*?\);)/;
        $one->target_sql($go_on);
    }
    $one->wait_stage('streaming');
    $one->source_sql('INSERT INTO era VALUES (13, 13), (23, 23)');
    $one->poll(sub { $one->target_sql('SELECT count(*) FROM era') == 4 });
    is($one->target_sql("SELECT string_agg(id::text, ' ' ORDER BY id) FROM era"), '12 13 22 23',
        '... and its rows come when the migration is resumed');
    is($one->target_sql('SELECT string_agg(table_name || $$ $$ || resolution, $$, $$ ORDER BY id) FROM livemigrate.conflicts
            WHERE kind = $$partition$$'), join(', ', map {"$_ accepted"} @unclear), '... each is a conflict once');
    $one->abort;
    $one->cleanup;
}

done_testing();
