# R04, R06, D14, D23: a backlog that is read in chunks, through the SQL functions of the slot, arrives like
# a streamed one: each transaction once, whatever is killed meanwhile, with both plugins, in binary
# form and as text, with several apply workers; and what cannot be read so is streamed.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair = LiveMigrate::Test->new(
    source_conf => "autovacuum = off\nmax_prepared_transactions = 5\n",
    target_conf => "livemigrate.backlog_chunk_size = 1MB\n");
my ($source, $target) = ($pair->source, $pair->target);

plan skip_all => 'the source cannot move a slot by a function'
  if $pair->source_sql('SHOW server_version_num') < 110000;

my $log_position;

sub remember_log { $log_position = -s $source->logfile }

# Chunks that were asked for since remember_log.
sub chunks {
    my $log = slurp_file($source->logfile, $log_position);
    my %end = map { $_ => 1 }
      $log =~ /STATEMENT:  COPY \(SELECT lsn, data FROM pg_catalog\.pg_logical_slot_peek_binary_changes\('[^']*', '([^']*)'/g;
    return scalar keys %end;
}

# A migration that is paused while it streams.
sub paused_while_streaming {
    my ($name, %start) = @_;
    my $one = $pair->database($name);
    $one->create_ledger;
    $one->source_sql(
        'CREATE TABLE public.item (id int PRIMARY KEY, v text, w text); CREATE TABLE public.emptied (id int PRIMARY KEY)');
    $one->start(%start);
    $one->wait_stage('streaming');
    pause_at_restart_lsn($one);
    return $one;
}

# Where nothing would be read again: restart_lsn follows a checkpoint, or 15 seconds behind.
sub pause_at_restart_lsn {
    my ($one) = @_;
    my $lag = 'SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), restart_lsn) < 2e6'
      . " FROM pg_replication_slots WHERE slot_name = 'livemigrate_" . $one->name . "'";
    $one->poll(sub { $one->source_sql('CHECKPOINT'); $one->source_sql($lag) eq 't' }) or
      die "restart_lsn stands still\n";
    $one->pause;
    $one->wait_state('paused');
}

# What does not compress, of some 1900 bytes.
my $filler = "(SELECT string_agg(md5(g::text || h), '') FROM generate_series(1, 60) h)";

# Some eight megabytes of WAL in many transactions, of every kind.
my $turn = 0;

sub make_backlog {
    my ($one) = @_;
    for (1 .. 4) {
        ++$turn;
        $one->work(20);
        my $first = $turn * 1000;
        $one->source_sql(<<"SQL");
INSERT INTO public.item SELECT g, 'v' || g, $filler FROM generate_series($first, $first + 499) g;
UPDATE public.item SET v = v || 'x' WHERE id % 3 = 0 AND id >= $first;
UPDATE public.item SET id = id + 100000 WHERE id % 50 = 7 AND id BETWEEN $first AND $first + 999;
DELETE FROM public.item WHERE id % 11 = 5 AND id >= $first;
BEGIN; SAVEPOINT a; INSERT INTO public.item VALUES (-$turn, 'undone'); ROLLBACK TO a;
INSERT INTO public.item VALUES (-$turn, 'kept', repeat('long', 20000)); COMMIT;
BEGIN; INSERT INTO public.item VALUES (0, 'undone'); ROLLBACK;
INSERT INTO public.emptied VALUES (-$turn); TRUNCATE public.emptied;
INSERT INTO public.emptied VALUES ($turn);
SELECT pg_logical_emit_message(true, 'note', 'in a transaction'), pg_logical_emit_message(false, 'note', 'outside');
CREATE TEMP TABLE mine AS SELECT 1; DROP TABLE mine;
SQL
        $one->source_sql("UPDATE ledger.bulk SET filler = filler || '$turn' WHERE id % 20 = $turn % 20");
    }
}

# From where each chunk since remember_log began to give transactions out, and where it ended.
sub begins_and_ends {
    return slurp_file($source->logfile, $log_position) =~
      /Streaming transactions committing after ([^,]+),.*\n.*STATEMENT:  COPY \(SELECT lsn, data FROM pg_catalog\.pg_logical_slot_peek_binary_changes\('[^']*', '([^']*)'/g;
}

sub resume_and_finish {
    my ($one, $label) = @_;
    $one->resume;
    $one->finish($label);
    $one->assert_ledger('target', "$label: the ledger holds");
}

for my $plugin (qw(pgoutput wal2json)) {
    my $one = paused_while_streaming("chunks_$plugin", plugin => $plugin);
    make_backlog($one);
    remember_log();
    resume_and_finish($one, "$plugin, in chunks");
    cmp_ok(chunks(), '>=', 3, "$plugin: the backlog was read in chunks");
    my ($first, @between) = begins_and_ends();
    pop @between;
    is_deeply([ @between[ grep { $_ % 2 } 0 .. $#between ] ], [ @between[ grep { $_ % 2 == 0 } 0 .. $#between ] ],
        "$plugin: each chunk begins where the one before it ended");
}

{
    my $one = paused_while_streaming('several', options => '{"apply_jobs": 3}');
    make_backlog($one);
    remember_log();
    resume_and_finish($one, 'three apply workers');
    cmp_ok(chunks(), '>=', 3, 'three apply workers: the backlog was read in chunks');
}

# Nothing is done twice, whoever dies between a chunk's arrival and the slot's advance. A lock of
# the source's own keeps the receiver's session where it is to be killed.
{
    my $one = paused_while_streaming('killed');
    my %disturb = (
        'kill -9 of the receiver'      => sub { $one->kill_worker('receiver') },
        'kill -9 of the apply worker'  => sub { $one->kill_worker('apply') },
        'the session is ended'         => sub {
            $one->source_sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                  . " WHERE application_name = 'livemigrate' AND backend_type = 'walsender'");
        },
        'immediate restart of the target' => sub { $target->stop('immediate'); $target->start },
        'immediate restart of the source' => sub { $source->stop('immediate'); $source->start });
    for my $what (sort keys %disturb) {
        make_item_backlog($one, $what);
        remember_log();
        $one->resume;
        ok($one->poll(sub { chunks() > 1 }), "$what: chunks are being read") or
          $one->diagnose($what);
        $disturb{$what}->();
        $one->wait_for_connections($source);
        $one->wait_for_connections($target);
        my $applied = $one->poll(sub {
            my ($rc, $out) = $target->psql($one->dbname, "SELECT count(*) FROM public.item WHERE v = '$what'");
            return $rc == 0 && $out == 2000;
        });
        ok($applied, "R01 $what while a backlog is read: it arrives") or $one->diagnose($what);
        $one->assert_ledger('target', "R01 $what while a backlog is read: the ledger holds");
        pause_at_restart_lsn($one);
    }
    resume_and_finish($one, 'R01 after all of this');
}

# Two thousand transactions of the ledger and as many rows, some seven megabytes.
sub make_item_backlog {
    my ($one, $what) = @_;
    my $item_filler = $filler =~ s/\bg::/i::/r;
    $one->source_sql('TRUNCATE public.item');
    $one->work(100);
    $one->source_sql(<<"SQL");
DO \$\$ BEGIN FOR i IN 1..2000 LOOP
    INSERT INTO public.item VALUES (i, '$what', $item_filler);
    IF i % 20 = 0 THEN PERFORM ledger.work(); END IF;
    COMMIT;
END LOOP; END \$\$;
SQL
}

# A transaction that stays open holds restart_lsn: what would be read again and again is streamed.
{
    my $one  = paused_while_streaming('open_transaction');
    my $open = $one->session($source, 'BEGIN; INSERT INTO public.item VALUES (-1000000, \'open\')');
    $one->source_sql('CHECKPOINT');
    make_backlog($one) for 1 .. 2;
    $one->source_sql('CHECKPOINT');
    remember_log();
    $one->resume;
    $one->poll(sub { $one->source_sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'") });
    $open->query_safe('COMMIT');
    $one->end_session($open);
    $one->finish('a transaction that was open meanwhile');
    $one->assert_ledger('target', 'a transaction that was open meanwhile: the ledger holds');
}

# One transaction, larger than chunks: the first brings nothing, and the rest is streamed.
{
    my $one = paused_while_streaming('large');
    $one->source_sql("INSERT INTO public.item SELECT g, 'v', $filler FROM generate_series(1, 4000) g");
    remember_log();
    resume_and_finish($one, 'one large transaction');
    cmp_ok(chunks(), '<=', 1, 'one large transaction is streamed');
}

# Some megabytes of it, in transactions of half of one.
sub insert_rows {
    my ($one, $first) = @_;
    for my $i (0 .. 7) {
        my $from = $first + 250 * $i;
        $one->source_sql("INSERT INTO public.item SELECT g, 'v' || g, $filler FROM generate_series($from, $from + 249) g");
    }
}

# X03: a transaction that is prepared in one chunk, and committed in a later one, comes with that; one that is rolled
# back does not.
{
    my $one = paused_while_streaming('prepared');
    $one->source_sql("INSERT INTO public.item VALUES (-1, 'gone')");
    $one->source_sql("BEGIN; INSERT INTO public.item VALUES (-2, 'kept'); DELETE FROM public.item WHERE id = -1; PREPARE TRANSACTION 'kept'");
    $one->source_sql("BEGIN; INSERT INTO public.item VALUES (-3, 'undone'); PREPARE TRANSACTION 'undone'");
    my $prepared = $one->source_sql('SELECT pg_current_wal_lsn()');
    insert_rows($one, 1);
    my $committed = $one->source_sql('SELECT pg_current_wal_lsn()');
    $one->source_sql("COMMIT PREPARED 'kept'");
    $one->source_sql("ROLLBACK PREPARED 'undone'");
    my $decided = $one->source_sql('SELECT pg_current_wal_lsn()');
    insert_rows($one, 3001);
    remember_log();
    resume_and_finish($one, 'X03 prepared in an earlier chunk');
    my $positions = join ', ', map { "('$_'::pg_lsn)" } begins_and_ends();
    is($pair->source_sql("SELECT bool_or(p BETWEEN '$prepared' AND '$committed'), bool_or(p >= '$decided') FROM (VALUES $positions) v (p)"),
        't|t', 'X03 a chunk ended between PREPARE and COMMIT PREPARED, and one behind that');
}

# A type that is not known to be the same in binary form, in a column that has come and gone.
{
    my $one = paused_while_streaming('switch');
    make_backlog($one);
    $one->source_sql('ALTER TABLE public.item ADD m money');
    $one->target_sql('ALTER TABLE public.item ADD m money');
    $one->source_sql("INSERT INTO public.item SELECT g, 'x', $filler, g FROM generate_series(50001, 51000) g");
    $one->source_sql('ALTER TABLE public.item DROP m');
    make_backlog($one);
    my $from = -s $target->logfile;
    remember_log();
    $one->resume;
    $one->set_endpos;
    $one->wait_stage('done');
    cmp_ok(chunks(), '>=', 3, 'a column that ends the binary form: in chunks all the same');
    like(slurp_file($target->logfile, $from), qr/changes are received as text from now on/,
        'a column that ends the binary form: the log says so');
    is($one->target_sql('SELECT count(m), sum(m::numeric) FROM public.item'),
        $one->target_sql('SELECT count(*), sum(g)::numeric(20,2) FROM generate_series(50001, 51000) g WHERE g % 11 <> 5'),
        'a column that ends the binary form: its values');
    $one->target_sql('ALTER TABLE public.item DROP m');
    $one->assert_equal_tables('a column that ends the binary form: equal tables');
    $one->assert_ledger('target', 'a column that ends the binary form: the ledger holds');
    $one->cleanup;
}

# A source that does not let it, or a spool without room: streamed, and the log says why.
{
    my $one  = paused_while_streaming('refused');
    my $role = $one->source_sql('SELECT quote_ident(current_user)');
    make_backlog($one);
    $one->source_sql("ALTER ROLE $role SET temp_file_limit = '64kB'");
    $one->source_sql("ALTER ROLE $role SET work_mem = '64kB'");
    my $from = -s $target->logfile;
    resume_and_finish($one, 'a source that limits temporary files');
    like(slurp_file($target->logfile, $from),
        qr/LOG:  a backlog is streamed instead of read in chunks\n.*DETAIL:  source: temporary file size exceeds/,
        'a source that limits temporary files: the log says why');
    $one->source_sql("ALTER ROLE $role RESET temp_file_limit; ALTER ROLE $role RESET work_mem");
}
# So does one that is in the way of a later chunk only: values that the WAL has compressed come whole.
{
    my $one  = paused_while_streaming('refused_later');
    my $role = $one->source_sql('SELECT quote_ident(current_user)');
    insert_rows($one, 1);
    $one->source_sql("INSERT INTO public.item SELECT -g, repeat('long', 200000) FROM generate_series(1, 60) g");
    insert_rows($one, 3001);
    $one->source_sql("ALTER ROLE $role SET temp_file_limit = '12MB'");
    $one->source_sql("ALTER ROLE $role SET work_mem = '64kB'");
    my $from = -s $target->logfile;
    remember_log();
    resume_and_finish($one, 'a source that limits temporary files later');
    cmp_ok(chunks(), '>=', 2, 'a source that limits temporary files later: some chunks came');
    my @refused = slurp_file($target->logfile, $from) =~
      /LOG:  a backlog is streamed instead of read in chunks\n.*DETAIL:  source: temporary file size exceeds/g;
    is(scalar @refused, 1, 'a source that limits temporary files later: it is asked once');
    $one->source_sql("ALTER ROLE $role RESET temp_file_limit; ALTER ROLE $role RESET work_mem");
}
for my $setting ('livemigrate.spool_size_limit = 2MB', 'livemigrate.backlog_chunk_size = 0') {
    my $one = paused_while_streaming($setting =~ /(\w+) =/);
    make_backlog($one);
    my ($name, $value) = $setting =~ /(\S+) = (\S+)/;
    $pair->target_sql("ALTER SYSTEM SET $name = '$value'");
    $target->reload;
    remember_log();
    resume_and_finish($one, $setting);
    is(chunks(), 0, "$setting: nothing is read in chunks");
    $pair->target_sql("ALTER SYSTEM RESET $name");
    $target->reload;
}

# Many short changes: a chunk ends behind the transaction with which there are enough, so that apply need not
# wait for all of its WAL, and the next one begins there.
{
    my $one = paused_while_streaming('many');
    $one->source_sql('INSERT INTO public.item SELECT g, $$short$$ FROM generate_series('
          . "$_ * 10000 + 1, $_ * 10000 + 10000) g") for 10 .. 29;
    $one->source_sql("UPDATE public.item SET v = 'other' WHERE id % 1000 = $_") for 1 .. 50;
    $pair->target_sql('ALTER SYSTEM SET livemigrate.backlog_chunk_size = $$8MB$$');
    $target->reload;
    remember_log();
    resume_and_finish($one, 'many short changes');
    my @asked = slurp_file($source->logfile, $log_position) =~
      /STATEMENT:  COPY \(SELECT lsn, data FROM pg_catalog\.pg_logical_slot_peek_binary_changes\('[^']*', '[^']*', (\d+)/g;
    is($asked[0], 32768, 'many short changes: the first chunk has a bound');
    ok((grep { $_ == 65536 } @asked), 'many short changes: it was reached, so the next has twice as many');
    my (undef, $first_end, $second_begin) = begins_and_ends();
    is($one->source_sql("SELECT '$second_begin'::pg_lsn < '$first_end'::pg_lsn"), 't',
        'many short changes: the next chunk begins before the end that the first was asked for');
    $pair->target_sql('ALTER SYSTEM RESET livemigrate.backlog_chunk_size');
    $target->reload;
}

# A second session moves the slot; without one, the feedback of streaming does.
{
    my $one = paused_while_streaming('sender');
    make_backlog($one);
    $source->append_conf('postgresql.conf', 'max_wal_senders = 1');
    $source->restart;
    $one->wait_for_connections($source);
    my $from = -s $target->logfile;
    resume_and_finish($one, 'a source with one sender only');
    like(slurp_file($target->logfile, $from),
        qr/LOG:  a backlog is streamed instead of read in chunks\n.*DETAIL:  .*max_wal_senders/,
        'a source with one sender only: the log says why');
}

done_testing();
