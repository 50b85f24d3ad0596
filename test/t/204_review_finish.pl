# What abort, cleanup and a repeated slot stage remove on the source: only what is the migration's own,
# only from its own server, and also while the slot is still being made.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

sub slots {
    my ($one) = @_;
    return $one->source_sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'livemigrate_' || '$one->{dbname}'");
}

sub says {
    my ($one, $label, $message) = @_;
    ok($one->poll(sub { $one->status_row->{message} =~ $message }), $label)
      or diag $one->status_row->{message};
}

# --- the name of the source leads to the target
my $moved = $pair->database('moved');
$moved->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
$moved->start;
$moved->wait_stage('streaming');
$moved->set_endpos;
$moved->wait_stage('done');
my $here = LiveMigrate::Test::quote_literal($moved->conninfo(host => $target->host, port => $target->port));
$moved->target_sql("UPDATE livemigrate.migration SET source = $here");
for my $call (qw(copy_sequences copy_large_objects compare_data compare_rows compare_schema cutover_check)) {
    $moved->assert_error("SELECT * FROM livemigrate.$call('moved')", "$call does not take the target for the source",
        sqlstate => qr/55000/, message => qr/^the source is another server than the one the migration began with$/);
}
my ($rc, $out, $err) = $target->psql('moved', "SELECT livemigrate.migration_cleanup('moved')");
like($err, qr/could not clean up the source: the source is another server.*pg_drop_replication_slot/s,
    'cleanup says that it is another server, and what to run on the source');
is(slots($moved), '1', 'the slot is there');
is($moved->target_sql("SELECT cleaned_up_at IS NULL FROM livemigrate.migration"), 't', 'nor is the migration marked');
$moved->target_sql('UPDATE livemigrate.migration SET source = ' . LiveMigrate::Test::quote_literal($moved->conninfo));
$moved->cleanup;
$moved->assert_nothing_left('cleanup when it leads to the source again');

# --- another target's objects of the same name, made before this one asked for its own
my $taken = $pair->database('taken');
$taken->source_sql(<<'SQL');
CREATE ROLE mover LOGIN REPLICATION;
GRANT CREATE ON DATABASE taken TO mover;
CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO mover;
SQL
$taken->start(
    plugin      => 'pgoutput',
    roles       => \'false',
    source      => $taken->conninfo(user => 'mover'),
    pause_after => ['preflight']);
$taken->wait_state('paused');
$taken->source_sql('ALTER ROLE mover NOREPLICATION');
$taken->resume([]);
my $state;
ok($taken->poll(sub { ($state = $taken->status_row->{state} // '') =~ /^(?:retrying|failed)$/ }),
    'the slot stage fails before it has made anything') or $taken->diagnose('taken');
is($taken->target_sql('SELECT slot_name IS NOT NULL FROM livemigrate.migration'), 't', 'with its names in the catalog');
if ($state eq 'retrying') {
    $taken->pause;
    $taken->wait_state('paused');
}
$taken->source_sql("ALTER ROLE mover REPLICATION; CREATE PUBLICATION livemigrate_taken FOR TABLE t");
$taken->source_sql("SELECT pg_create_logical_replication_slot('livemigrate_taken', 'pgoutput')");
$taken->resume;
$taken->wait_state('failed');
like($taken->status_row->{message}, qr/^replication slot "livemigrate_taken" exists on the source already$/,
    'the stage begins anew, and does not drop them');
$taken->abort;
is(slots($taken), '1', 'nor does abort drop the slot');
is($taken->source_sql('SELECT count(*) FROM pg_publication'), '1', 'or the publication');
$taken->source_sql("SELECT pg_drop_replication_slot('livemigrate_taken'); DROP PUBLICATION livemigrate_taken");
$taken->assert_nothing_left('abort has removed its own');

# --- a slot of the same name in another database
my $other = $pair->database('other');
$other->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$other->start;
$other->wait_stage('streaming');
$other->pause;
$other->wait_state('paused');
$other->poll(sub { $other->source_sql("SELECT count(*) FROM pg_replication_slots WHERE active") == 0 });
$other->source_sql("SELECT pg_drop_replication_slot('livemigrate_other')");
$source->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('livemigrate_other', 'pgoutput')");
$other->abort;
is(slots($other), '1', 'abort leaves the slot of another database alone');
$source->safe_psql('postgres', "SELECT pg_drop_replication_slot('livemigrate_other')");

# --- the slot is being made, and waits for a transaction
my $open = $pair->database('open');
$open->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE w (id int PRIMARY KEY)');
my $writer = $open->session($source, 'BEGIN; INSERT INTO w VALUES (1)');
for my $plugin (qw(pgoutput wal2json)) {
    $open->start(plugin => $plugin);
    says($open, "$plugin: the slot waits", qr/creating the replication slot: waiting for transactions/);
    ($rc, $out, $err) = $target->psql('open', "SELECT livemigrate.migration_abort('open')");
    unlike($err, qr/could not clean up/, "$plugin: abort cleans up meanwhile");
    $open->assert_nothing_left("$plugin: nothing is left");
}
$open->start(plugin => 'pgoutput');
says($open, 'the slot waits once more', qr/creating the replication slot: waiting for transactions/);
$open->pause;
$open->wait_state('paused');
$open->resume;
says($open, 'and when the stage begins anew', qr/creating the replication slot: waiting for transactions/);
is(slots($open), '1', 'there is one');
$open->end_session($writer);
$open->wait_stage('streaming');
$open->finish('a slot that was asked for twice');

done_testing();
