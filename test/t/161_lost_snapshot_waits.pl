# The source's snapshot is lost, or waits: with tables that were there before, before anything is
# copied, behind statements that wait for our locks, with unlogged tables, behind an endpos, and with
# tables that were made anew meanwhile.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# Ends all sessions of livemigrate on the source but the receiver's.
sub lose_snapshot {
    my ($one) = @_;
    $one->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'livemigrate'
        AND backend_type = 'client backend' AND datname = current_database()");
}

sub done_tables {
    my ($one, @names) = @_;
    my $list = join ', ', map {"'$_'"} @names;
    return $one->poll(sub { $one->target_sql("SELECT count(*) FROM livemigrate.table_copy
            WHERE state = 'done' AND table_name IN ($list)") == @names });
}

sub snapshots {
    my ($one) = @_;
    return $one->target_sql("SELECT count(DISTINCT snapshot_lsn) FROM livemigrate.table_copy
        WHERE relkind = 'r' AND copy_data");
}

# --- on_existing => 'truncate': what is complete stays; foreign keys, partitions whose rows mix, and
# an extension's own rows
my $existing = $pair->database('existing');
for my $sql (qw(source_sql target_sql)) {
    $existing->$sql(<<'SQL');
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'proud', 'calm', 'wild');
CREATE TABLE customers (id int PRIMARY KEY);
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, v text);
CREATE TABLE felt (m mood, id int, v text) PARTITION BY HASH (m);
CREATE TABLE felt_0 PARTITION OF felt FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE felt_1 PARTITION OF felt FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE felt REPLICA IDENTITY FULL; ALTER TABLE felt_0 REPLICA IDENTITY FULL; ALTER TABLE felt_1 REPLICA IDENTITY FULL;
CREATE EXTENSION tcn; CREATE TABLE settings (name text PRIMARY KEY, ours boolean DEFAULT true);
ALTER EXTENSION tcn ADD TABLE settings;
UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid], extcondition = ARRAY['WHERE NOT ours']
    WHERE extname = 'tcn';
INSERT INTO settings VALUES ('of the extension', true);
INSERT INTO customers SELECT generate_series(1, 20000);
SQL
}
$existing->source_sql(<<'SQL');
INSERT INTO orders SELECT g, 1 + g % 100, repeat('x', 100) FROM generate_series(1, 20000) g;
INSERT INTO felt SELECT (enum_range(NULL::mood))[1 + g % 6], g, repeat('y', 200) FROM generate_series(1, 30000) g;
INSERT INTO settings VALUES ('of the user', false);
SQL
$existing->target_sql("INSERT INTO settings VALUES ('of the user before', false)");
my $larger = $existing->source_sql("SELECT c.relname FROM pg_class c WHERE relname IN ('felt_0', 'felt_1')
    ORDER BY pg_table_size(oid) DESC, relname LIMIT 1");
$existing->start(on_existing => 'truncate', pause_after => ['roles'], table_jobs => 1);
$existing->wait_state('paused');
# Largest first: orders and the partitions are copied, customers waits.
$existing->target_sql("CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock(77); RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON customers FOR EACH ROW EXECUTE FUNCTION hold();
    ALTER TABLE customers ENABLE ALWAYS TRIGGER hold");
my $lock = $existing->session($target, 'SELECT pg_advisory_lock(77)');
$existing->resume([]);
ok(done_tables($existing, 'orders', $larger), 'some tables are copied') or $existing->diagnose('truncate');
lose_snapshot($existing);
$existing->end_session($lock);
$existing->wait_stage('streaming');
is(snapshots($existing), '2', 'the others under a later snapshot');
is($existing->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'copied again'"),
    '0', 'partitions that are as they were are not copied again');
is($existing->target_sql('SELECT string_agg(name, $$, $$ ORDER BY name) FROM settings'),
    'of the extension, of the user', 'rows that came with the extension are there, others were replaced');
$existing->source_sql("UPDATE felt SET v = 'z' WHERE id % 7 = 0; INSERT INTO orders VALUES (99999, 1, 'later')");
$existing->finish("on_existing => 'truncate' and two snapshots", skip => qr/felt_/);
my $felt = 'SELECT count(*), sum(hashtextextended(f::text, 0)) FROM felt f';
is($existing->target_sql($felt), $existing->source_sql($felt), 'rows whose partitions mix are equal, too');

# --- a TRUNCATE between both snapshots, where rows mix whose partition only the source tells: by the hash
# of an enum, and in a plain table in place of ranges of text
my $mixed = $pair->database('mixed');
$mixed->source_sql(<<'SQL');
CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', 'p');
CREATE TABLE felt (m mood, id int, v text) PARTITION BY HASH (m);
CREATE TABLE felt_0 PARTITION OF felt FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE felt_1 PARTITION OF felt FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE word (w text, id int, v text) PARTITION BY RANGE (w);
CREATE TABLE word_a PARTITION OF word FOR VALUES FROM ('a') TO ('n');
CREATE TABLE word_n PARTITION OF word FOR VALUES FROM ('n') TO ('z');
ALTER TABLE felt_0 REPLICA IDENTITY FULL; ALTER TABLE felt_1 REPLICA IDENTITY FULL;
ALTER TABLE word_a REPLICA IDENTITY FULL; ALTER TABLE word_n REPLICA IDENTITY FULL;
INSERT INTO felt SELECT unnest(enum_range(NULL::mood)), 0, 'old';
INSERT INTO felt SELECT (SELECT m FROM felt_0 LIMIT 1), g, repeat('f', 200) FROM generate_series(1, 9000) g;
INSERT INTO word SELECT 'again', g, repeat('w', 200) FROM generate_series(1, 12000) g;
INSERT INTO word SELECT 'now', g, repeat('w', 200) FROM generate_series(1, 200) g;
SQL
$mixed->start(pause_after => ['schema'], table_jobs => 1);
$mixed->wait_state('paused');
# Largest first: word_a and felt_0 are copied, word_n is held, felt_1 waits.
$mixed->target_sql("DROP TABLE word; CREATE TABLE word (w text, id int, v text);
    CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN IF NEW.w = ''now'' THEN PERFORM pg_advisory_xact_lock(78); END IF; RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON word FOR EACH ROW EXECUTE FUNCTION hold();
    ALTER TABLE word ENABLE ALWAYS TRIGGER hold");
$lock = $mixed->session($target, 'SELECT pg_advisory_lock(78)');
$mixed->resume([]);
ok(done_tables($mixed, 'word_a', 'felt_0'), 'one partition of each is copied') or $mixed->diagnose('mixed');
my $emptying = $mixed->session($source);
my $emptier  = $emptying->query('SELECT pg_backend_pid()');
$emptying->query_until(qr/sent/, "\\echo sent\nBEGIN; TRUNCATE felt, word; INSERT INTO felt VALUES ('c', 1, 'new'), ('d', 2, 'new');
    INSERT INTO word VALUES ('again', 1, 'new'), ('now', 2, 'new'); COMMIT;\n");
ok($mixed->poll(sub { $mixed->source_sql("SELECT wait_event_type FROM pg_stat_activity
        WHERE pid = $emptier") eq 'Lock' }), 'TRUNCATE waits for the copy');
lose_snapshot($mixed);
$mixed->end_session($lock);
$mixed->wait_stage('streaming');
$mixed->end_session($emptying);
is($mixed->target_sql("SELECT message FROM livemigrate.events WHERE message ~ 'copied again'"),
    '2 partitions are copied again', 'those that were complete are copied again');
is(snapshots($mixed), '1', 'with the others, under the later snapshot');
$mixed->source_sql("UPDATE felt SET v = 'newer'; UPDATE word SET v = 'newer' WHERE id = 1");
$mixed->set_endpos;
$mixed->wait_stage('done');
for my $table (qw(felt word)) {
    my $rows = "SELECT string_agg(t::text, ' ' ORDER BY id) FROM $table t";
    is($mixed->target_sql($rows), $mixed->source_sql($rows), "and the TRUNCATE leaves what came after it in $table");
}
$mixed->cleanup;

# --- rows of both snapshots fit together only when apply has passed the later one: until then a foreign
# key has to wait
my $keys = $pair->database('keys');
$keys->source_sql(<<'SQL');
CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent SELECT generate_series(1, 1000);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent); INSERT INTO child VALUES (1, 1);
SQL
$keys->start(pause_after => ['schema']);
$keys->wait_state('paused');
$lock = $keys->lock_table($target, 'child');
$keys->resume(['indexes']);
ok(done_tables($keys, 'parent'), 'the parents are copied') or $keys->diagnose('keys');
$keys->source_sql('INSERT INTO parent VALUES (2000); INSERT INTO child VALUES (2, 2000)');
lose_snapshot($keys);
ok($keys->poll(sub { $keys->target_sql("SELECT count(*) FROM livemigrate.events
        WHERE message ~ 'a new snapshot was taken'") == 1 }), 'a new snapshot, with a child of a later parent');
$keys->end_session($lock);
$keys->wait_stage('indexes');
$keys->wait_state('paused');
is(snapshots($keys), '2', 'the children are of a later snapshot');
my $orphans  = 'SELECT count(*) FROM child c WHERE NOT EXISTS (SELECT FROM parent p WHERE p.id = c.parent)';
my $foreign  = "SELECT count(*), count(*) FILTER (WHERE convalidated) FROM pg_constraint WHERE conname = 'child_parent_fkey'";
is($keys->target_sql("$orphans") . ' ' . $keys->target_sql($foreign), '1 0|0',
    'one has no parent yet, and the foreign key is not there');
$keys->resume([]);
$keys->wait_stage('streaming');
is($keys->target_sql("$orphans") . ' ' . $keys->target_sql($foreign), '0 1|1', 'both come with the stream');
$keys->finish('a foreign key between two snapshots');

# --- lost before there is anything to copy: while the schema is restored
my $early = $pair->database('early');
$early->source_sql('CREATE SCHEMA late; CREATE TABLE late.t (id int PRIMARY KEY); INSERT INTO late.t VALUES (1)');
my $session = $early->session($target, 'BEGIN; CREATE SCHEMA late');
$early->start;
ok($early->poll(sub { $early->status_row->{message} =~ /creating the schema/ }), 'the schema waits');
lose_snapshot($early);
$session->query_safe('ROLLBACK');
$early->wait_stage('streaming');
$early->finish('a snapshot lost before the copy');

# --- a statement on the source that waits for our lock holds up ours: it is named, in both stages
my $queued = $pair->database('queued');
$queued->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 10)');
$queued->start(pause_after => ['roles']);
for my $stage (qw(schema data)) {
    $queued->wait_state('paused');
    my $truncate = $queued->session($source);
    my $pid      = $truncate->query('SELECT pg_backend_pid()');
    $truncate->query_until(qr/sent/, "\\echo sent\nTRUNCATE t;\n");
    ok($queued->poll(sub { $queued->source_sql("SELECT wait_event_type FROM pg_stat_activity
            WHERE pid = $pid") eq 'Lock' }), "$stage: TRUNCATE waits");
    $queued->resume($stage eq 'schema' ? ['schema'] : []);
    my $said = $stage eq 'schema'
        ? sub { my $s = $queued->status_row; "$s->{message} $s->{hint}" }
        : sub { $queued->target_sql("SELECT what FROM livemigrate.workers WHERE kind = 'copy'") };
    ok($queued->poll(sub { $said->() =~ /waiting for .*locks? .*held by process $pid/ }),
        "$stage: the process that we wait for is named")
      or diag $said->();
    $queued->source_sql("SELECT pg_cancel_backend($pid)");
    $queued->end_session($truncate);
}
$queued->wait_stage('streaming');
is($queued->target_sql('SELECT count(*) FROM t'), '10', 'all rows are there');
$queued->finish('statements that waited for our locks');

# --- an unlogged table is empty after a crash of the target: copied again, or told
my $unlogged = $pair->database('unlogged');
$unlogged->source_sql(<<'SQL');
CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text);
INSERT INTO u SELECT g, repeat('u', 300) FROM generate_series(1, 2000) g;
CREATE TABLE t (id int PRIMARY KEY); -- empty, and so copied last
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy', 'calm');
CREATE TABLE felt (m mood, id int) PARTITION BY HASH (m);
DO $$BEGIN FOR g IN 0 .. 15 LOOP
    EXECUTE format('CREATE UNLOGGED TABLE felt_%s PARTITION OF felt FOR VALUES WITH (MODULUS 16, REMAINDER %s)', g, g);
END LOOP; END$$;
INSERT INTO felt SELECT (enum_range(NULL::mood))[1 + g % 4], g FROM generate_series(1, 2000) g;
SQL
$unlogged->start(pause_after => ['schema'], table_jobs => 1);
$unlogged->wait_state('paused');
$lock = $unlogged->lock_table($target, 't');
$unlogged->resume([]);
my @felt = split /\n/, $unlogged->source_sql('SELECT DISTINCT tableoid::regclass FROM felt');
ok(done_tables($unlogged, 'u', @felt), 'the unlogged tables that have rows are copied');
lose_snapshot($unlogged);
ok($unlogged->poll(sub { $unlogged->target_sql("SELECT count(*) FROM livemigrate.events
        WHERE message ~ 'a new snapshot was taken'") == 1 }), 'a new snapshot without a crash');
is($unlogged->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'is copied again'"), '0',
    'no table is copied again, be its rows in other partitions on the target');
$unlogged->crash_and_start($target);
$unlogged->wait_for_connections($target);
$unlogged->end_session($lock);
$unlogged->wait_stage('streaming');
is($unlogged->target_sql('SELECT count(*) FROM u'), '2000', 'a crash during the copy: it is copied again');
is($unlogged->target_sql('SELECT count(*), count(DISTINCT id) FROM felt'), '2000|2000',
    'and so are partitions whose rows mix');
$unlogged->crash_and_start($target);
$unlogged->wait_for_connections($target);
ok($unlogged->poll(sub { $unlogged->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'warning'
        AND message ~ 'unlogged table .*\"u\" has no rows'") == 1 }), 'a crash behind it: a warning says so');
$unlogged->target_sql('COPY u FROM PROGRAM $$true$$');
$unlogged->abort;
$unlogged->cleanup;

# --- a new snapshot waits for a transaction of the source: the receiver goes on meanwhile
my $waiting = $pair->database('waiting');
$waiting->source_sql('CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE w (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
$waiting->start(pause_after => ['schema']);
$waiting->wait_state('paused');
my $writer = $waiting->session($source, 'BEGIN; INSERT INTO w VALUES (1)');
$target->restart;
$waiting->resume([]);
my $status;
ok($waiting->poll(sub {
            $status = $waiting->status_row;
            $status->{message} =~ /^taking a new snapshot on the source: waiting for transactions there: process \d+ \(\w+, since [\d:]+\)$/;
        }), 'a new snapshot waits');
like($status->{hint}, qr/^The snapshot is taken as soon as they have ended\. On the source: SELECT pg_terminate_backend\(\d+\);$/,
    'and the hint ends what it waits for');
$waiting->source_sql('INSERT INTO w VALUES (2)');
my $lsn = $waiting->source_sql('SELECT pg_current_wal_lsn()');
ok($waiting->poll(sub { $waiting->target_sql("SELECT coalesce(received_lsn >= '$lsn', false)
        FROM livemigrate.migration_status('waiting')") eq 't' }), 'changes are received meanwhile')
  or $waiting->diagnose('receiver');
# What is set now lies before the snapshot that comes.
my $before = $waiting->target_sql("SELECT livemigrate.set_endpos('$lsn', 'waiting')");
$waiting->end_session($writer);
$waiting->wait_state('failed');
like($waiting->status_row->{message} . $waiting->status_row->{last_error}, qr/lies behind endpos $before/,
    'a snapshot behind endpos is not copied under');
my $at = $waiting->target_sql("SELECT max(c.snapshot_lsn) FROM livemigrate.table_copy c
    JOIN livemigrate.migration m ON m.id = c.migration WHERE m.name = 'waiting'");
$waiting->assert_error("SELECT livemigrate.set_endpos('$lsn', 'waiting')", 'endpos before the later snapshot',
    sqlstate => qr/55000/, message => qr/lies before what is applied/, detail => qr/\Q$at\E/);
$waiting->set_endpos;
$waiting->resume;
$waiting->finish('a snapshot that waited, with what the hint says', endpos => 0);

# --- the same while the slot is made
my $slot = $pair->database('slot_waits');
$slot->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1); CREATE TABLE w (id int PRIMARY KEY)');
$writer = $slot->session($source, 'BEGIN; INSERT INTO w VALUES (1)');
$slot->start;
ok($slot->poll(sub { $slot->status_row->{message} =~ /creating the .*slot: waiting for transactions/ }), 'the slot waits');
$before = $slot->target_sql("SELECT livemigrate.set_endpos('" . $slot->source_sql('SELECT pg_current_wal_lsn()')
      . "', 'slot_waits')");
$slot->end_session($writer);
$slot->wait_state('failed');
like($slot->status_row->{last_error}, qr/lies behind endpos $before/, 'nor is one of a slot that is behind endpos');
$slot->set_endpos;
$slot->resume;
$slot->finish('a slot that waited', endpos => 0);

# --- a table that is made anew between two snapshots
my $anew = $pair->database('anew');
$anew->source_sql('CREATE TABLE t (a int PRIMARY KEY, b int); INSERT INTO t VALUES (1, 2)');
$anew->start(pause_after => ['schema']);
$anew->wait_state('paused');
$target->stop;
$anew->source_sql('DROP TABLE t; CREATE TABLE t (b int, a int PRIMARY KEY); INSERT INTO t VALUES (2, 1)');
$target->start;
$anew->resume([]);
$anew->wait_state('failed');
like($anew->status_row->{last_error}, qr/"t" was dropped, renamed or made anew on the source/,
    'a table that was made anew is not copied');
is($anew->target_sql('SELECT count(*) FROM t'), '0', 'no row of it is');
$anew->abort;
$anew->cleanup;

done_testing();
