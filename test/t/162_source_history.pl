# The source is another than it was: promoted with all its changes, or restored without some that came
# from it already (invariant 6). And what bears the migration's names or its database is not dropped.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(append_to_file slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# As a standby that has all of this server's files, and is promoted.
sub start_promoted {
    append_to_file($source->data_dir . '/recovery.signal', '');
    $source->append_conf('postgresql.conf', "restore_command = 'false'");
    $source->start;
    $source->poll_query_until('app', 'SELECT NOT pg_is_in_recovery()') or die 'not promoted';
}

sub arrives {
    my ($id, $label) = @_;
    ok($pair->poll(sub { $pair->target_sql("SELECT count(*) FROM t WHERE id = $id") == 1 }), $label)
      or $pair->diagnose($label);
}

sub move {
    my ($from, $to) = @_;
    rename $from, $to or die "$from, $to: $!";
}

# --- promoted between the checks and the slot: that is where the stream begins
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$pair->start(pause_after => ['preflight']);
$pair->wait_state('paused');
$source->stop;
start_promoted();
$pair->resume([]);
$pair->wait_stage('streaming');
is($pair->target_sql('SELECT source_timeline FROM livemigrate.migration'), '2', 'the slot is on timeline 2');
$pair->source_sql('INSERT INTO t VALUES (1)');
arrives(1, 'changes are streamed');

# --- promoted with all that was received; not yet at first
$source->stop;
my ($files, $old) = ($source->data_dir, $source->data_dir . '.old');
system('cp', '-a', $files, $old) == 0 or die;
append_to_file("$files/standby.signal", '');
$source->start;
ok($pair->poll(sub { ($pair->status_row->{last_error} // '') =~ /the source is a standby/ }),
    'a standby is waited for')
  or $pair->diagnose('standby');
$source->stop;
unlink "$files/standby.signal";
start_promoted();
$pair->source_sql('INSERT INTO t VALUES (2)');
arrives(2, 'a promoted source with all that was received goes on');
ok($pair->poll(sub { $pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'warning'
        AND message ~ 'on timeline 3'") == 1 }), 'an event says so');

# --- in this process it is known, too, when the stream goes over to text
for my $sql (qw(target_sql source_sql)) {
    $pair->$sql('CREATE TYPE two AS (a int, b int); ALTER TABLE t ADD c two');
}
$pair->source_sql('INSERT INTO t VALUES (22, (1, 2))');
arrives(22, 'a column of another type after that');

# --- the old primary is back
$source->stop;
move($files, "$files.promoted");
move($old, $files);
$source->start;
$pair->wait_state('failed');
like($pair->status_row->{last_error}, qr/an older primary/, 'the old primary is not taken for the new one');
$source->stop;
move($files, $old);
move("$files.promoted", $files);
$source->start;
$pair->resume;
$pair->source_sql('DELETE FROM t WHERE id = 22');
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t WHERE id = 22') == 0 }), 'the promoted one is');

# --- restored from a copy of its files: it ends before what was received
$source->stop;
my $copy = $source->data_dir . '.earlier';
system('cp', '-a', $source->data_dir, $copy) == 0 or die;
$source->start;
$pair->source_sql('INSERT INTO t VALUES (3)');
arrives(3, 'changes that the copy does not have');
$source->stop('immediate');
rename $source->data_dir, $source->data_dir . '.lost' or die;
rename $copy, $source->data_dir or die;
$source->start;
$pair->wait_state('failed');
like($pair->status_row->{last_error}, qr/the source no longer has changes that came from it/,
    'a source that was restored to an earlier state stops the migration');

# --- the same, promoted, and written beyond what was received: only the history tells
$source->stop;
start_promoted();
$pair->source_sql('INSERT INTO t VALUES (4); SELECT pg_switch_wal()');
$pair->source_sql('INSERT INTO t VALUES (5); SELECT pg_switch_wal()');
is($pair->source_sql("SELECT pg_current_wal_lsn() > '"
          . $pair->target_sql('SELECT received_lsn FROM livemigrate.migration_status()') . "'"), 't',
    'its WAL goes beyond what was received');
$pair->resume;
$pair->wait_state('failed');
my ($detail) = $pair->target_sql("SELECT string_agg(detail, ' ') FROM livemigrate.events
    WHERE message ~ 'no longer has changes'");
like($detail, qr/its WAL ends at .*it left timeline 3 at /s, 'and so does one that was promoted without some');
is($pair->target_sql('SELECT string_agg(id::text, $$,$$ ORDER BY id) FROM t'), '1,2,3', 'nothing of it is applied');

# --- a standby that was promoted apart from the other: its timeline has the same number
$source->stop;
move($files, "$files.apart");
move($old, $files);
start_promoted();
is($pair->source_sql('SELECT timeline_id FROM pg_control_checkpoint()'), '3', 'timeline 3 once more');
my $received = $pair->target_sql('SELECT received_lsn FROM livemigrate.migration_status()');
$pair->source_sql("INSERT INTO t VALUES (6$_); SELECT pg_switch_wal()") for 1 .. 10;
is($pair->source_sql("SELECT pg_current_wal_lsn() > '$received'"), 't', 'its WAL goes beyond what was received');
$pair->resume;
$pair->wait_state('failed');
like(
    $pair->target_sql("SELECT detail FROM livemigrate.events WHERE message ~ 'no longer has changes'
        ORDER BY at DESC LIMIT 1"),
    qr/its timeline 3 is not the one that began at \S+: it began at/, 'it is told from the other');
is($pair->target_sql('SELECT string_agg(id::text, $$,$$ ORDER BY id) FROM t'), '1,2,3', 'nothing of it is applied');

# --- a migration that is not cleaned up keeps its database, and gives up only outside a transaction
for my $force ('', ' WITH (FORCE)') {
    my ($rc, $out, $err) = $target->psql('postgres', "DROP DATABASE app$force");
    like($err, qr/cannot drop database "app": a migration in it is not cleaned up/, "DROP DATABASE$force is refused");
}
$pair->assert_error('BEGIN; SELECT livemigrate.migration_abort();', 'abort in a transaction block',
    sqlstate => qr/25000/, message => qr/cannot run inside a transaction block/);
is($pair->status_row->{state}, 'failed', 'which changes nothing');
$pair->abort;
$pair->cleanup;
is($target->psql('postgres', 'DROP DATABASE app'), 0, 'a database without a migration can be dropped');

# --- two databases begin a migration of one name: the second one takes nothing of the first
my ($first, $second) = map { $pair->database($_, migration => 'same') } qw(first second);
$_->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)') for $first, $second;
$second->start(pause_after => ['preflight']);
$second->wait_state('paused');
$first->start;
$first->wait_stage('streaming');
$second->resume([]);
$second->wait_state('failed');
like($second->status_row->{last_error}, qr/replication origin "livemigrate_same" exists on the target already/,
    'the second migration of a name is refused');
$second->abort;
$second->cleanup;
$first->source_sql('INSERT INTO t VALUES (2)');
$first->finish('the first one goes on');

# --- R17: with workers that run it is PostgreSQL's to refuse, or to end them
my $forced = $pair->database('forced');
$forced->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$forced->start;
$forced->wait_stage('streaming');
like(($target->psql('postgres', 'DROP DATABASE forced'))[2], qr/being accessed by other users/, 'R17 DROP DATABASE');
my ($rc, $out, $err) = $target->psql('postgres', 'DROP DATABASE forced WITH (FORCE)', timeout => 180);
is($rc, 0, 'R17 DROP DATABASE WITH (FORCE) comes to an end') or diag $err;
like($err, qr/a migration in the database is not cleaned up/, 'R17 with a warning');
ok($pair->poll(sub { slurp_file($target->logfile) =~ /coordinator of migration \d+ leaves: its database was dropped/ }),
    'R17 its coordinator, which the postmaster starts again, leaves for good');
ok($pair->poll(sub { !-e $target->data_dir . '/livemigrate' }), 'R17 and no file is left');

done_testing();
