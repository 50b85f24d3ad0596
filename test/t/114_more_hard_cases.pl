# Hard cases on one pair of servers: S18 an output plugin that fails, G09 somebody else on the target,
# L05 definition and rows changed in one transaction, L06 a table renamed in one, L07 an index made
# meanwhile, T13 extensions of other versions, I02 a deferrable key, E16 statistics at the end, S11
# the source's minor release, S07 old_snapshot_threshold; and who holds the lock that the schema's
# restore waits for.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP ();
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(target_conf => "livemigrate.source_password_required = off\n");
my ($source, $target) = ($pair->source, $pair->target);

sub row_of {
    my ($one, $check_id, $object, $where, $role) = @_;
    my $given = LiveMigrate::Test::quote_literal($one->conninfo);
    my $json  = $one->target_sql(($role ? "SET ROLE $role; " : '') . "SELECT json_agg(c) FROM livemigrate."
          . ($where // "migration_check($given)") . " c WHERE check_id = '$check_id'");
    my @rows = length $json ? @{ JSON::PP->new->decode($json) } : ();
    @rows = grep { ($_->{object} // '') eq $object } @rows if defined $object;
    return $rows[0] // { severity => 'no row', message => '', fix => '' };
}

sub applied {
    my ($one, $label, $sql, $want) = @_;
    ok($one->poll(sub { $one->target_sql($sql) eq $want }), $label)
      or $one->diagnose("$label: " . $one->target_sql($sql));
}

# --- G09
$pair->source_sql('CREATE SCHEMA s; CREATE TABLE s.t (id int PRIMARY KEY, v text);
    INSERT INTO s.t SELECT g, g FROM generate_series(1, 1000) g;
    CREATE TABLE late (id int PRIMARY KEY DEFERRABLE); INSERT INTO late VALUES (1)');
$target->safe_psql('app', 'CREATE ROLE visitor LOGIN; CREATE SCHEMA scratch AUTHORIZATION visitor;
    CREATE TABLE scratch.note (v int); ALTER TABLE scratch.note OWNER TO visitor');
# Sessions of this test that have ended may be seen for another moment.
ok($pair->poll(sub { row_of($pair, 'target_sessions')->{severity} eq 'ok' }), 'G09 nobody is there');
my $visitor = $pair->session($target, 'SET SESSION AUTHORIZATION visitor');
like(row_of($pair, 'target_sessions')->{message}, qr/^1 other session \(\w+\)/, 'G09 somebody is there');
is(row_of($pair, 'target_sessions')->{severity}, 'notice', 'G09 who does nothing');
$pair->target_sql('CREATE ROLE operator; GRANT USAGE ON SCHEMA livemigrate TO operator;
    GRANT EXECUTE ON ALL ROUTINES IN SCHEMA livemigrate TO operator; GRANT SELECT ON ALL TABLES IN SCHEMA livemigrate TO operator');
my $hidden = row_of($pair, 'target_sessions', undef, undef, 'operator');
like("$hidden->{severity} $hidden->{message}", qr/^notice of what kind \d+ sessions? of other roles \(\w+\) .* not shown to role operator:/,
    'G09 a role that is shown nothing of others does not call it ok');
$pair->target_sql($hidden->{fix});
like(row_of($pair, 'target_sessions', undef, undef, 'operator')->{message}, qr/^\d+ other sessions? \(\w+\)/, 'G09 and the fix shows them');
$visitor->query_safe('BEGIN; INSERT INTO scratch.note VALUES (1)');
my $row = row_of($pair, 'target_sessions');
is($row->{severity}, 'warning', 'G09 and one who writes');
$pair->target_sql($row->{fix});
$pair->end_session($visitor);
ok($pair->poll(sub { row_of($pair, 'target_sessions')->{severity} eq 'ok' }), 'G09 the fix ends that');
my ($rc, $out, $err) = $target->psql('app', 'INSERT INTO scratch.note VALUES (2)', extra_params => [ '-U', 'visitor' ]);
like($err, qr/read-only transaction/, 'G09 and keeps others from writing');

# --- I02
is(row_of($pair, 'replica_identity', '"public"."late"')->{severity}, 'error', 'I02 a deferrable key is none');
$pair->source_sql('ALTER TABLE late DROP CONSTRAINT late_pkey, ADD PRIMARY KEY (id)');

# --- the restore of the schema waits for somebody who makes the same schema
$ENV{PGOPTIONS} = '-c default_transaction_read_only=off';
$pair->target_sql('DROP SCHEMA scratch CASCADE');
my $holder = $pair->session($target, 'BEGIN; CREATE SCHEMA s');
$pair->start;
my $status;
ok($pair->poll(sub {
            $status = $pair->status_row;
            return $status->{stage} eq 'schema' && $status->{message} =~ /process \d+ \(\w+, since \d\d:\d\d:\d\d\) holds on the target/;
        }), 'a lock on the target while the schema is made') or diag explain $status;
like($status->{hint}, qr/^SELECT pg_terminate_backend\(\d+\);/, 'and the hint ends it');
$pair->target_sql($status->{hint} =~ s/ --.*//r);
$pair->end_session($holder);
$pair->wait_stage('streaming');

# --- L05: apply stops at the first row that does not fit, with nothing of its transaction written
$pair->source_sql("BEGIN; INSERT INTO s.t VALUES (2001, 'before'); ALTER TABLE s.t ADD c int;
    INSERT INTO s.t VALUES (2002, 'between', 5); ALTER TABLE s.t DROP COLUMN v; INSERT INTO s.t VALUES (2003, 6); COMMIT");
$pair->wait_state('failed');
like($pair->status_row->{message}, qr/column "c"/, 'L05 it says which column');
is($pair->target_sql('SELECT count(*) FROM s.t WHERE id > 2000'), '0', 'L05 with nothing of the transaction');
$pair->target_sql('ALTER TABLE s.t ADD c int');
$pair->resume;
applied($pair, 'L05 each row as it was defined then',
    "SELECT string_agg(concat_ws(',', id, v, c), ' ' ORDER BY id) FROM s.t WHERE id > 2000",
    '2001,before 2002,between,5 2003,6');
$pair->target_sql('ALTER TABLE s.t DROP COLUMN v');

# The same late in a transaction that is written piece by piece.
$pair->source_sql("BEGIN; INSERT INTO s.t SELECT 3000 + g, 7 FROM generate_series(1, 50000) g; ALTER TABLE s.t ADD d int;
    INSERT INTO s.t VALUES (60000, 8, 9); COMMIT");
$pair->wait_state('failed');
like($pair->status_row->{message}, qr/column "d"/, 'L05 it says which column, late in a large transaction');
is($pair->target_sql('SELECT count(*) FROM s.t WHERE id > 3000'), '0', 'L05 with nothing of it');
my ($add) = $pair->status_row->{hint} =~ /(ALTER TABLE .*?;)/;
$pair->target_sql($add);
$pair->resume;
applied($pair, 'L05 all of it', 'SELECT count(*), max(c), max(d) FROM s.t WHERE id > 3000', '50001|8|9');

# And many at once.
my $many = join ', ', map {"ADD a_column_with_quite_a_long_name_$_ numeric(12, 4) DEFAULT $_"} 1 .. 40;
$pair->source_sql("ALTER TABLE s.t $many; INSERT INTO s.t VALUES (60001)");
$pair->wait_state('failed');
my ($statements) = $pair->status_row->{hint} =~ /(ALTER TABLE .*)/s;
$pair->target_sql($statements);
applied($pair, 'L05 many columns are followed by what the hint says',
    'SELECT a_column_with_quite_a_long_name_40 FROM s.t WHERE id = 60001', '40.0000');

# --- L06
$pair->source_sql('BEGIN; INSERT INTO late VALUES (2); ALTER TABLE late RENAME TO later; INSERT INTO later VALUES (3); COMMIT');
$pair->wait_state('failed');
like($pair->status_row->{message}, qr/"later"/, 'L06 the new name is unknown');
is($pair->target_sql('SELECT count(*) FROM late'), '1', 'L06 nothing of the transaction is there');
$pair->target_sql('CREATE TABLE later (LIKE late INCLUDING ALL)');
$pair->resume;
applied($pair, 'L06 each row under the name of its time',
    'SELECT (SELECT max(id) FROM late), (SELECT max(id) FROM later)', '2|3');
$pair->target_sql('INSERT INTO later TABLE late; DROP TABLE late; ALTER INDEX later_pkey RENAME TO late_pkey');

# --- L07
$pair->source_sql('CREATE INDEX t_c ON s.t (c); ALTER TABLE s.t ADD CONSTRAINT positive CHECK (c > 0)');
my $drift = $pair->target_sql('SELECT object FROM livemigrate.compare_schema() WHERE target IS NULL');
like($drift, qr/t_c/,      'L07 an index that is missing');
like($drift, qr/positive/, 'L07 a constraint that is missing');
$pair->target_sql('CREATE INDEX t_c ON s.t (c); ALTER TABLE s.t ADD CONSTRAINT positive CHECK (c > 0)');
is($pair->target_sql("SELECT object FROM livemigrate.compare_schema()"), '', 'L07 mended');

# --- G09: the guard must go before the application comes; E16
is(row_of($pair, 'target_read_only', undef, 'cutover_check()')->{severity}, 'warning', 'G09 found at cutover');
$pair->target_sql(row_of($pair, 'target_read_only', undef, 'cutover_check()')->{fix});
is(row_of($pair, 'target_read_only', undef, 'cutover_check()')->{severity}, 'ok', 'G09 mended');
$pair->set_endpos;
$pair->wait_stage('done');
is($pair->target_sql("SELECT count(*) FROM pg_stats WHERE schemaname = 's' AND tablename = 't' AND attname = 'id'"), '1',
    'E16 the planner has statistics');
$pair->assert_equal_tables('L05 to L07: equal tables', relations => 0);
$pair->cleanup;

# --- S18: what the plugin said, at which position, and no spinning
my $plugin = $pair->database('plugin');
$plugin->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$plugin->start(plugin => 'pgoutput');
$plugin->wait_stage('streaming');
$plugin->source_sql('DROP PUBLICATION livemigrate_plugin; INSERT INTO t VALUES (1)');
$plugin->source_sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active_pid IS NOT NULL');
$plugin->wait_state('failed');
like($plugin->target_sql("SELECT concat_ws(' ', last_error, last_error_detail) FROM livemigrate.migrations WHERE migration = 'plugin'"),
    qr/publication "livemigrate_plugin".*output plugin "pgoutput".*LSN [0-9A-F]+\/[0-9A-F]+/s, 'S18 error, plugin and position');
cmp_ok($plugin->status_row->{attempts}, '<=', 3, 'S18 it does not spin');
$plugin->abort;

# --- T13, S11, S07
my $other = $pair->database('other');
$other->source_sql("CREATE TABLE t (id int PRIMARY KEY); CREATE EXTENSION hstore VERSION '1.7'");
$other->target_sql('CREATE EXTENSION hstore');
like(row_of($other, 'extension_versions')->{message} . row_of($other, 'extensions')->{message}, qr/hstore.*1\.7|1\.7.*hstore/s,
    'T13 named with its version');
like(row_of($other, 'source_minor')->{severity}, qr/^(ok|warning|notice)$/, 'S11 the minor release is looked at');
SKIP: {
    skip 'there is no old_snapshot_threshold from 17 on', 2
      if $source->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
    $source->safe_psql('postgres', 'ALTER SYSTEM SET old_snapshot_threshold = 60');
    $source->restart;
    my $old = row_of($other, 'old_snapshot_threshold');
    is($old->{severity}, 'error', 'S07 found');
    $source->safe_psql('postgres', $old->{fix} =~ s/\n.*//sr);
    $source->restart;
    is(row_of($other, 'old_snapshot_threshold')->{severity} =~ /ok|no row/ ? 1 : 0, 1, 'S07 mended');
}
done_testing();
