# E12, E13, E15: whether a migration is ready for its cutover, told beforehand without changing the
# source, and what is left to do afterwards, each with its status. E14: back from the target to the
# source, by the commands of doc/rollback.md. T14: text that the target orders otherwise.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP ();
use LiveMigrate::Sessions qw(close_sessions);
use LiveMigrate::Test;
use Test::More;

# Autovacuum would be one that writes to the source.
my $pair = LiveMigrate::Test->new(
    source_conf => "autovacuum = off\n",
    target_conf => "wal_level = logical\nautovacuum = off\nlivemigrate.caught_up_lag = 200ms\n"
      . "cron.launch_active_jobs = off\n");
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text); CREATE INDEX t_v ON t (v);
CREATE TABLE numbered (id serial PRIMARY KEY, v text);
CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM t;
INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g;
INSERT INTO numbered (v) SELECT g FROM generate_series(1, 100) g;
SQL

sub checks {
    my ($one, $where) = @_;
    my $json = $one->target_sql('SELECT json_agg(c) FROM livemigrate.cutover_check() c WHERE ' . ($where // 'true'));
    return length $json ? @{ JSON::PP->new->decode($json) } : ();
}

sub row_of {
    my ($one, $check_id) = @_;
    my ($row) = checks($one, "check_id = '$check_id'");
    return $row // { severity => 'no row', message => '', fix => '', object => '' };
}

# Refused, with what is wrong, and nothing has changed. On a busy machine apply may be behind for a
# moment, which then is told besides.
sub refused {
    my ($label, $detail) = @_;
    my $error = {};
    $pair->poll(sub {
            $error = $pair->target_error('SELECT livemigrate.set_endpos(force => false)');
            return !%$error || $error->{detail} =~ $detail;
        });
    is($error->{sqlstate}, '55000', "E12 $label: refused");
    like($error->{message} // '', qr/not ready for its cutover/, "E12 $label: as not ready");
    like($error->{detail} // '', $detail, "E12 $label: says why");
    like($error->{hint} // '', qr/cutover_check\(\).*set_endpos\(force => true\)/, "E12 $label: and what to do");
    is($pair->target_sql('SELECT endpos IS NULL FROM livemigrate.migration_status()'), 't', "E12 $label: no endpos");
    return;
}

$pair->start(pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->assert_error('SELECT livemigrate.set_endpos(force => false)', 'E12 before the copy: refused',
    sqlstate => qr/^55000$/, message => qr/not on the target yet/, plain => 1);
$pair->resume(['catchup']);
$pair->wait_stage('catchup');
$pair->wait_state('paused');
my $time = row_of($pair, 'downtime');
is("$time->{severity}: $time->{message}", 'notice: cannot be told before changes are applied',
    'E15 the downtime of a migration that applies nothing');
$pair->resume;
$pair->wait_stage('streaming');

# --- E15: what a cutover would find and take, without one. Whoever writes takes a transaction number.
my $state_of_source = "SELECT (SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots),
    (SELECT count(*) FROM pg_class), txid_snapshot_xmax(txid_current_snapshot()),
    (SELECT last_value FROM numbered_id_seq), (SELECT count(*) FROM t)";
my $before = $pair->source_sql($state_of_source);
$time = row_of($pair, 'downtime');
is($time->{severity}, 'ok', 'E15 the downtime is told');
like($time->{message}, qr/from set_endpos\(\) to done about \d.* of lag, 1 sequence, 1 materialized view of/,
    'E15 and what it consists of');
is(row_of($pair, 'materialized_views')->{severity}, 'ok', 'E15 a view that cutover will refresh');
is(row_of($pair, 'sequences_behind')->{severity}, 'notice', 'E15 a sequence that cutover will set');
is($pair->source_sql($state_of_source), $before, 'E15 nothing has changed on the source');
is($pair->target_sql('SELECT stage, endpos IS NULL FROM livemigrate.migration_status()'), 'streaming|t',
    'E15 nor for the migration');

# --- E12: not compared
is(row_of($pair, 'compared')->{severity}, 'warning', 'E12 nothing has been compared');
refused('not compared', qr/^compared \(public\.numbered, public\.t\): 2 tables have not been compared$/);
is($pair->target_sql(row_of($pair, 'compared')->{fix} =~ s/;.*//sr), '', 'E12 equal');
is(row_of($pair, 'compared')->{severity}, 'ok', 'E12 compared');

# --- E12: behind
$pair->source_sql("INSERT INTO t VALUES (2000, 'applied')");
$pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t WHERE id = 2000') eq '1' });
my $lock = $pair->lock_table($target, 't', 'SHARE');
$pair->source_sql('INSERT INTO t SELECT g, g FROM generate_series(2001, 4000) g');
$pair->wait_blocked($target);
# So far that no error in the source's clock, known from when its messages come, makes it caught up.
$pair->poll(sub { $pair->target_sql("SELECT replay_lag > '3 s' FROM livemigrate.migration_status()") eq 't' }) or die 'no lag';
is(row_of($pair, 'replay_lag')->{severity}, 'warning', 'E12 lag is a warning');
refused('too far behind', qr/^replay_lag: apply is \d.* behind the source/);
$pair->end_session($lock);
ok($pair->poll(sub { row_of($pair, 'replay_lag')->{severity} eq 'ok' }), 'E12 caught up');

# --- E12: an index, a constraint
$pair->target_sql("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_v'::regclass;
    ALTER TABLE t ADD CONSTRAINT positive CHECK (id > 0) NOT VALID");
refused('an invalid index', qr/^invalid_indexes \(public\.t_v\): .*^constraints_not_validated \(public\.t\): /ms);
$pair->target_sql($_->{fix}) for checks($pair, "check_id IN ('invalid_indexes', 'constraints_not_validated')");

# --- E12: stopped by a conflict, then a transaction that was skipped
$pair->target_sql("INSERT INTO t VALUES (5000, 'in the way')");
$pair->source_sql("INSERT INTO t VALUES (5000, 'five thousand')");
$pair->wait_state('failed');
refused('failed', qr/^replay_lag: the migration is failed/);
$pair->target_sql('SELECT livemigrate.skip_transaction(end_lsn) FROM livemigrate.conflicts');
$pair->resume;
$pair->wait_state('running');
ok($pair->poll(sub { row_of($pair, 'skipped_transactions')->{severity} eq 'warning' }), 'E12 a transaction was skipped');
like(row_of($pair, 'skipped_transactions')->{message}, qr/skipped, as asked for by \w+: the target lacks its 1 change$/,
    'E12 by whom, and what is missing');
$pair->target_sql('SELECT count(*) FROM livemigrate.compare_data()');
$pair->poll(sub { row_of($pair, 'replay_lag')->{severity} eq 'ok' });
refused('a table that differs', qr/^skipped_transactions \(\S+\): .*^compared \(public\.t\): differed when it was compared/ms);
$pair->target_sql("UPDATE t SET v = 'five thousand' WHERE id = 5000; SELECT count(*) FROM livemigrate.compare_data()");
is(row_of($pair, 'compared')->{severity}, 'ok', 'E12 mended');

# Who knows all that goes on.
$pair->target_sql('SELECT livemigrate.set_endpos(force => true)');
$pair->wait_stage('done');

# --- E13: a checklist, each with its status
is( join(' ', sort map { $_->{check_id} } checks($pair)),
    'cleanup compared constraints_not_validated deferrable_duplicates foreign_key_orphans invalid_indexes '
      . 'large_objects_changed materialized_views replay_lag scheduled_jobs sequences_behind skipped_transactions statistics '
      . 'target_read_only trigger_states writes_after_endpos', 'E13 a row for each check');
is(join(' ', sort map {"$_->{check_id}=$_->{severity}"} grep { $_->{severity} ne 'ok' } checks($pair)),
    'cleanup=notice skipped_transactions=warning', 'E13 what is left to do');
$pair->target_sql("DELETE FROM pg_statistic WHERE starelid = 't'::regclass; REFRESH MATERIALIZED VIEW sums WITH NO DATA;
    CREATE SCHEMA cron; CREATE TABLE cron.job (jobid int PRIMARY KEY, active bool); INSERT INTO cron.job VALUES (1, true)");
for my $check_id (qw(statistics materialized_views scheduled_jobs cleanup)) {
    my $row = row_of($pair, $check_id);
    isnt($row->{severity}, 'ok', "E13 $check_id: found");
    $pair->target_sql($_) for split /\n/, $row->{fix};
    ok($pair->poll(sub { row_of($pair, $check_id)->{severity} eq 'ok' }), "E13 $check_id: mended");
}
$pair->target_sql('DROP SCHEMA cron CASCADE');
$pair->assert_equal_tables('E13 equal', skip => qr/sums/);
$pair->assert_nothing_left('E13 slot, publication and origin are gone');

# --- E14: back, with the page's commands
my %page = LiveMigrate::Test::page_commands('rollback.md');
my $back = sprintf "host=%s port=%d dbname=app", $target->host, $target->port;
$pair->target_sql('DROP EXTENSION livemigrate');
$pair->target_sql($page{publish});
$pair->source_sql($page{follow} =~ s/host=new dbname=app user=migrator/$back/r);
# SET has it run in a session that ends, and reports its statistics.
$pair->target_sql("SET jit = off; INSERT INTO t VALUES (6000, 'new'); UPDATE t SET v = 'changed' WHERE id < 10; DELETE FROM t WHERE id = 20;
    INSERT INTO numbered (v) SELECT 'new' FROM generate_series(1, 20)");
ok($pair->poll(sub { $pair->source_sql('SELECT count(*) FROM numbered') == 120 }), 'E14 writes on the target come back');
my $equal = 'SELECT md5(string_agg(t::text, $$,$$ ORDER BY id)) FROM t';
is($pair->source_sql($equal), $pair->target_sql($equal), 'E14 the source is equal');
# Who has written here tells of it when it ends, at the latest.
close_sessions($target);
ok($target->poll_query_until('postgres', "SELECT count(*) = 0 FROM pg_stat_activity
        WHERE datname = 'app' AND backend_type = 'client backend'"), 'E14 nobody else is there');
my $count = $pair->target_sql('SELECT pg_stat_get_tuples_inserted($$t$$::regclass)');
$pair->source_sql($pair->target_sql($page{sequences}));
is($pair->source_sql("SELECT nextval('numbered_id_seq')"), $pair->target_sql("SELECT nextval('numbered_id_seq')"),
    'E14 sequences go on');
my $written = $pair->target_sql('SELECT pg_current_wal_lsn()');
ok($pair->poll(sub {
            my $seen = $pair->source_sql($page{caught_up});
            return length $seen && $pair->source_sql("SELECT '$seen'::pg_lsn >= '$written'") eq 't';
        }), 'E14 the source has reached the target');
is($pair->target_sql('SELECT pg_stat_get_tuples_inserted($$t$$::regclass)'), $count, 'E14 nothing goes round in a loop');
$pair->source_sql($page{stay_source});
$pair->target_sql($page{stay_target});
is($pair->target_sql('SELECT count(*) FROM pg_replication_slots'), '0', 'E14 nothing is left');

# --- T14
my $sorted = $pair->database('sorted');
$target->safe_psql('postgres', 'DROP DATABASE sorted');
my ($rc) = $target->psql('postgres', "CREATE DATABASE sorted TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
      . " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
SKIP: {
    skip 'the target has no ICU', 14 if $rc != 0;
    $sorted->target_sql('CREATE EXTENSION livemigrate');
    $sorted->source_sql(<<'SQL');
CREATE TABLE words (id int, word text) PARTITION BY RANGE (word);
CREATE TABLE words_1 PARTITION OF words (PRIMARY KEY (id)) FOR VALUES FROM (MINVALUE) TO ('a');
CREATE TABLE words_2 PARTITION OF words (PRIMARY KEY (id)) FOR VALUES FROM ('a') TO (MAXVALUE);
CREATE TABLE fixed (id int, word text COLLATE "C") PARTITION BY RANGE (word);
CREATE TABLE fixed_1 PARTITION OF fixed (PRIMARY KEY (id)) FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
CREATE TABLE checked (id int PRIMARY KEY, v text, CONSTRAINT small CHECK (v >= 'a'), CONSTRAINT other CHECK (v <> 'x'));
CREATE TABLE indexed (id int PRIMARY KEY, v text UNIQUE);
INSERT INTO indexed SELECT g, chr(65 + g % 58) || g FROM generate_series(1, 2000) g;
INSERT INTO words VALUES (1, 'alpha'), (2, 'zeta');
CREATE TABLE keyed (word text PRIMARY KEY, n int);
INSERT INTO keyed SELECT (CASE WHEN g % 2 = 0 THEN upper(md5(g::text)) ELSE md5(g::text) END) || repeat('-', 200), g
FROM generate_series(1, 12000) g;
SQL
    my $literal = LiveMigrate::Test::quote_literal($sorted->conninfo);
    my $found   = sub { $sorted->target_sql("SELECT string_agg(concat_ws(' ', severity, object, message), E'\\n' ORDER BY object, message)
        FROM livemigrate.migration_check($literal) WHERE check_id = '$_[0]'") };
    like($found->('locale'), qr/^notice .*LC_COLLATE 'C'.*ICU's 'en-US'/, 'T14 the locales are told');
    my @order = split /\n/, $found->('collation_order');
    like($order[0], qr/^warning "public"\."checked" has the constraint "small", which compares text/, 'T14 a constraint by order');
    like($order[1], qr/^warning "public"\."words" is partitioned by ranges of text/, 'T14 partitions by order');
    is(scalar @order, 2, 'T14 and nothing else');

    # Indexes are the target's own.
    $sorted->start(split_tables_larger_than => '1 MB', table_jobs => 4);
    $sorted->wait_stage('streaming');
    $sorted->source_sql("INSERT INTO indexed SELECT 3000 + g, chr(65 + g % 58) || (3000 + g) FROM generate_series(1, 500) g");
    ok($sorted->poll(sub { $sorted->target_sql('SELECT count(*) FROM indexed') == 2500 }), 'T14 applied');
    my $by = sub { $sorted->target_sql("SET enable_$_[0] = off; SET enable_bitmapscan = off;
        SELECT md5(string_agg(v, ',' ORDER BY v)) FROM indexed WHERE v BETWEEN 'b' AND 'C2000'") };
    is($by->('seqscan'), $by->('indexscan'), 'T14 an index finds what is there');

    # C11: neither the copy nor the comparison cuts a table by the order of text.
    is($sorted->target_sql("SELECT parts > 1 FROM livemigrate.table_progress WHERE table_name = 'keyed'"), 't', 'C11 a key of text: the copy was cut');
    $sorted->source_sql("UPDATE keyed SET word = lower(word) WHERE n % 4 = 0; DELETE FROM keyed WHERE n % 9 = 0; UPDATE keyed SET n = -n WHERE n % 7 = 0");
    my $compare = sub { $sorted->target_sql("SET livemigrate.compare_range_size = '1MB';
        SELECT equal, source_rows, target_rows FROM livemigrate.compare_data(tables => '{public.keyed}')") };
    is($compare->(), 't|10667|10667', 'C11 a key of text: all rows are there');
    is($sorted->target_sql("SELECT ranges > 1 FROM livemigrate.compare_progress WHERE table_name = 'keyed'"), 't', 'C11 ... compared in ranges');
    my $swap = "UPDATE keyed SET n = CASE n WHEN 2 THEN 12001 ELSE 2 END WHERE n IN (2, 12001)";
    $sorted->target_sql($swap);
    is($compare->(), 'f|10667|10667', 'C11 ... of which one row differs');
    $sorted->target_sql($swap);
    is($compare->(), 't|10667|10667', 'C11 ... and is mended');

    # A row that belongs elsewhere on the target is not lost silently.
    $sorted->source_sql("INSERT INTO words VALUES (3, 'Beta')");
    $sorted->wait_state('failed');
    like($sorted->status_row->{message}, qr/words_1/, 'T14 a row that does not fit stops the migration');
    is($sorted->target_sql('SELECT count(*) FROM words'), '2', 'T14 with nothing of it written');
    $sorted->abort;
}
done_testing();
