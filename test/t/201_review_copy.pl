# Sequences that no column owns; what the slot stage leaves behind when it is paused; pg_dump and its
# coordinator; waits at the cutover; and what is claimed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

sub says {
    my ($one, $label, $message) = @_;
    ok($one->poll(sub { $one->status_row->{message} =~ $message }), $label)
      or diag $one->status_row->{message};
}

sub our_sessions {
    my ($one) = @_;
    return $one->source_sql("SELECT count(*) FROM pg_stat_activity
        WHERE application_name = 'livemigrate' AND datname = current_database()");
}

# --- sequences outside the patterns: set all the same, if their table is not left out
my $sequences = $pair->database('sequences');
$sequences->source_sql(<<'SQL');
CREATE ROLE mover LOGIN SUPERUSER;
CREATE SCHEMA hidden; CREATE SEQUENCE hidden.s;
CREATE SEQUENCE invoice_no; CREATE SEQUENCE unreadable;
CREATE TABLE orders (id serial PRIMARY KEY, n bigint DEFAULT nextval('invoice_no'));
CREATE TABLE other (id serial PRIMARY KEY);
INSERT INTO orders (n) SELECT nextval('invoice_no') FROM generate_series(1, 40);
INSERT INTO other SELECT FROM generate_series(1, 7);
SELECT setval('unreadable', 9);
SQL
$sequences->start(
    include_tables => ['public.orders'],
    plugin         => 'pgoutput',
    source         => $sequences->conninfo(user => 'mover'));
$sequences->wait_stage('streaming');
$sequences->source_sql('ALTER ROLE mover NOSUPERUSER REPLICATION; GRANT SELECT ON orders, orders_id_seq,
    invoice_no TO mover; GRANT USAGE ON SCHEMA hidden TO mover');
my ($rc, $set, $warnings) = $target->psql('sequences', 'SELECT livemigrate.copy_sequences()');
is($set, '2', 'the table\'s own and the one without a table');
like($warnings, qr/WARNING: .*not set for want of rights on the source: "hidden"\."s", "public"\."unreadable"; .*GRANT SELECT ON SEQUENCE "hidden"\."s" TO "mover";/,
    'those that may not be read are told');
is($sequences->target_sql('SELECT a.last_value, b.last_value FROM invoice_no a, orders_id_seq b'),
    '40|40', 'both stand where the source\'s stand');
$sequences->source_sql('INSERT INTO orders DEFAULT VALUES; ALTER ROLE mover SUPERUSER');
$sequences->set_endpos;
$sequences->wait_stage('done');
is($sequences->target_sql('INSERT INTO orders DEFAULT VALUES RETURNING n'), '42', 'cutover sets it, too');
is($sequences->target_sql("SELECT last_value FROM unreadable"), '9', 'and all others');
$sequences->cleanup;

# --- the target's schema is the user's: what it lacks is passed over; of extensions the configuration goes
my $skip = $pair->database('skip');
for my $sql (qw(source_sql target_sql)) {
    $skip->$sql(<<'SQL');
CREATE EXTENSION tcn; CREATE SEQUENCE job_no; CREATE SEQUENCE internal;
ALTER EXTENSION tcn ADD SEQUENCE job_no; ALTER EXTENSION tcn ADD SEQUENCE internal;
UPDATE pg_extension SET extconfig = ARRAY['job_no'::regclass::oid], extcondition = ARRAY[''] WHERE extname = 'tcn';
CREATE TABLE orders (id int PRIMARY KEY);
SQL
}
$skip->source_sql("CREATE SEQUENCE invoice_no; SELECT nextval('invoice_no'), setval('job_no', 30), setval('internal', 20)");
$skip->start(include_tables => ['public.orders'], on_existing => 'skip_schema');
$skip->wait_stage('streaming');
is($skip->call('copy_sequences'), '1', 'a sequence that neither the patterns nor the target have is passed over');
is($skip->target_sql('SELECT j.last_value, i.last_value FROM job_no j, internal i'),
    '30|1', 'an extension\'s sequence is set if it is configuration');
$skip->abort;

# --- the slot stage fails when it has the snapshot: no session stays behind on the source
my $half = $pair->database('half');
$half->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1);
    CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (2)');
$half->target_sql("ALTER TABLE livemigrate.table_copy ADD CONSTRAINT broken CHECK (table_name <> 't')");
$half->start(pause_after => ['schema']);
$half->wait_state('failed');
like($half->status_row->{message}, qr/violates check constraint "broken"/, 'the stage fails');
ok($half->poll(sub { our_sessions($half) == 0 }), 'no session is left with locks and a snapshot')
  or diag our_sessions($half);
$half->target_sql('ALTER TABLE livemigrate.table_copy DROP CONSTRAINT broken');

# --- a claim that nobody has: the coordinator that is still there gives it back
$half->resume;
$half->wait_state('paused');
my $lock = $half->lock_table($target, 't');
$half->resume([]);
$half->wait_blocked($target);
$half->pause;
$half->wait_state('paused');
$half->end_session($lock);
my $coordinator = $half->worker_pid('coordinator');
$half->target_sql("UPDATE livemigrate.copy_part SET state = 'copying', worker = 7, attempts = attempts + 1
    WHERE state = 'pending'");
$half->resume;
$half->wait_stage('data');
is($half->worker_pid('coordinator'), $coordinator, 'the same coordinator has gone on');
$half->wait_stage('streaming');
$half->finish('after a lost claim');

# --- pg_dump: killed if it hangs, and ends with its coordinator
my $dump = $pair->database('dump');
$dump->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');

sub pg_dump_pid {
    my ($parent) = @_;
    my ($pid) = grep {/\d/} `ps -o pid= --ppid $parent` =~ /(\d+)/g;
    return $pid;
}
$dump->start(pause_after => ['roles']);
$dump->wait_state('paused');
my $truncate = $dump->session($source);
$truncate->query_until(qr/sent/, "\\echo sent\nBEGIN; LOCK TABLE t;\n");
ok($dump->poll(sub { $dump->source_sql("SELECT count(*) FROM pg_locks WHERE NOT granted") == 1 }), 'a lock waits for ours');
$dump->resume([]);
says($dump, 'pg_dump waits behind it', qr/^dumping the schema: waiting for locks/);
$coordinator = $dump->worker_pid('coordinator');
my $pid = pg_dump_pid($coordinator);
kill 'STOP', $pid;
$dump->pause;
$dump->wait_state('paused');
ok(!kill(0, $pid), 'a pg_dump that does not answer is killed');
$dump->resume;
says($dump, 'the next one waits', qr/^dumping the schema: waiting for locks/);
$coordinator = $dump->worker_pid('coordinator');
$pid = pg_dump_pid($coordinator);
ok($pid && kill(0, $pid), 'it runs');
kill 'KILL', $coordinator;
ok($dump->poll(sub { !kill 0, $pid }), 'it ends with its coordinator');
$dump->wait_for_connections($target);
$dump->end_session($truncate);
$dump->wait_stage('streaming');
my @files = glob $target->data_dir . '/livemigrate/*/schema.dump*';
ok(@files > 0 && !grep({/dump\.\d/} @files), 'no file of it is left') or diag "@files";
$dump->finish('after pg_dump and its coordinator were ended');

# --- parts that were copied before a new snapshot are not counted as attempts that failed
my $again = $pair->database('again');
$again->source_sql('CREATE TABLE big (id int PRIMARY KEY, filler text);
    INSERT INTO big SELECT g, repeat(md5(g::text), 10) FROM generate_series(1, 12000) g');
$again->start(pause_after => ['schema'], table_jobs => 2, split_tables_larger_than => '1 MB');
$again->wait_state('paused');
$again->target_sql(<<'SQL');
CREATE SCHEMA aside; CREATE TABLE aside.gate ();
CREATE FUNCTION aside.act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM FROM aside.gate; RETURN NEW; END $$;
CREATE TRIGGER act BEFORE INSERT ON big FOR EACH ROW WHEN (NEW.id = 11990) EXECUTE FUNCTION aside.act();
ALTER TABLE big ENABLE ALWAYS TRIGGER act;
SQL
$lock = $again->lock_table($target, 'aside.gate');
$again->resume(['data']);
ok($again->poll(sub { $again->target_sql("SELECT count(*) FILTER (WHERE state = 'done') > 1
        AND count(*) FILTER (WHERE state <> 'done') = 1 FROM livemigrate.copy_part") eq 't' }), 'all parts but one are copied');
$again->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'livemigrate'
    AND backend_type = 'client backend' AND datname = current_database()");
ok($again->poll(sub { $again->target_sql("SELECT count(*) FROM livemigrate.events
        WHERE message ~ 'a new snapshot was taken'") == 1 }), 'the snapshot is taken anew');
$again->end_session($lock);
$again->wait_stage('data');
is($again->target_sql("SELECT max(attempts) FROM livemigrate.copy_part WHERE table_id IS NOT NULL"), '1',
    'each part was tried once under it');
$again->abort;

# --- cutover waits for locks on the source: they are named, and a pause is served
my $cut = $pair->database('cut');
$cut->source_sql(<<'SQL');
CREATE SEQUENCE s; SELECT nextval('s');
CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (1000);
INSERT INTO p VALUES (1);
SQL
$cut->start(plugin => 'pgoutput');
$cut->wait_stage('streaming');
my $rename = $cut->session($source, 'BEGIN; ALTER SEQUENCE s RENAME TO s2');
my $first  = $rename->query('SELECT pg_backend_pid()');
$cut->set_endpos;
says($cut, 'the holder of a sequence\'s lock is named',
    qr/^setting sequences: waiting for locks on the source: held by process $first /);
$cut->pause;
$cut->wait_state('paused');
my $table  = $cut->lock_table($source, 'p1');
my $second = $table->query('SELECT pg_backend_pid()');
$rename->query_safe('ROLLBACK');
$cut->end_session($rename);
$cut->resume;
says($cut, 'and that of a table', qr/^checking (?:partitions|publications): waiting for locks on the source: held by process $second /);
$cut->pause;
$cut->wait_state('paused');
$cut->end_session($table);
$cut->resume;
$cut->finish('after waits at the cutover', endpos => 0);

done_testing();
