# Settings of roles, databases and servers that would break a migration: C05 and G02 time limits,
# read-only defaults and a hostile search_path on either side; G05 row security that is forced; G06 a
# synchronous standby that is not there; G13 a target without replication origins; G04 a caller who is
# no superuser.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

# Our own sessions are ordinary; only workers and what they start live with the settings below.
my $pair = LiveMigrate::Test->new(source_conf => "max_prepared_transactions = 2\n");
my ($source, $target) = ($pair->source, $pair->target);
$pair->create_ledger;
$pair->source_sql(<<'SQL');
CREATE TABLE ledger.guarded (id int PRIMARY KEY, v text);
INSERT INTO ledger.guarded SELECT g, 'row ' || g FROM generate_series(1, 100) g;
ALTER TABLE ledger.guarded ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger.guarded FORCE ROW LEVEL SECURITY;
CREATE POLICY few ON ledger.guarded USING (id < 10);
SQL
my $hostile = <<'SQL';
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.count() RETURNS bigint LANGUAGE sql AS 'SELECT 0::bigint';
CREATE FUNCTION hostile.int4eq(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false';
CREATE OPERATOR hostile.= (LEFTARG = int, RIGHTARG = int, FUNCTION = hostile.int4eq);
ALTER DATABASE app SET search_path = hostile, pg_catalog, public;
SQL
$pair->source_sql($hostile);
$pair->target_sql($hostile =~ s/hostile/hostile_here/gr);
my $limits_transactions = $target->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
for my $node ($source, $target) {
    my $user = $node->safe_psql('app', 'SELECT quote_ident(current_user)');
    $node->safe_psql('app', join ' ', map {"ALTER ROLE $user IN DATABASE app SET $_;"} (
        "statement_timeout = '50ms'",
        "lock_timeout = '50ms'",
        "idle_in_transaction_session_timeout = '200ms'",
        "idle_session_timeout = '200ms'",
        $limits_transactions ? "transaction_timeout = '200ms'" : (),
        'default_transaction_read_only = on',
        "default_transaction_isolation = 'serializable'",
        'row_security = on',
        "bytea_output = 'escape'",
        "DateStyle = 'SQL, DMY'",
        "client_min_messages = 'error'",
        "session_replication_role = 'origin'"));
}

# Options of a session win over those of its role.
$ENV{PGOPTIONS} = join ' ', map {"-c $_"} (
    'statement_timeout=0',             'lock_timeout=0',
    'idle_session_timeout=0',          'default_transaction_read_only=off',
    'idle_in_transaction_session_timeout=0', 'search_path=public',
    'default_transaction_isolation=read\ committed',
    $limits_transactions ? 'transaction_timeout=0' : ());
$pair->start_load(rate => 20);
$pair->start(pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->wait_state('paused');

# What waits for a lock of the target, which lasts longer than any of the limits.
sub outlast_lock {
    my ($table) = @_;
    my $lock = $pair->lock_table($target, $table, 'SHARE');
    $pair->resume(@_[ 1 .. $#_ ]) if @_ > 1;
    $pair->wait_blocked($target);
    $pair->wait_for_load(10);
    $pair->end_session($lock);
}

# The session that holds the snapshot is idle in transaction for longer than the limit; then the copy
# of a table waits, and the build of its index.
$pair->wait_for_load(20);
outlast_lock('ledger.guarded', ['data']);
$pair->wait_stage('data');
$pair->wait_state('paused');
outlast_lock('ledger.guarded', []);
$pair->wait_stage('streaming');
is( $pair->target_sql("SELECT string_agg(message, '; ') FROM livemigrate.events
        WHERE severity <> 'info' AND message ~ 'snapshot|could not be|worker'"),
    '', 'C05, G02 no limit ends a transaction of the copy or of an index');
is($pair->target_sql('SELECT count(*) FROM ledger.guarded'), '100', 'G05 every row is copied');
$pair->source_sql(q{INSERT INTO ledger.guarded VALUES (200, 'late');
    UPDATE ledger.guarded SET v = 'new' WHERE id = 50; DELETE FROM ledger.guarded WHERE id = 51});

outlast_lock('ledger.account');
$pair->assert_ledger('target', 'G02 the ledger holds');

# --- G06: nobody acknowledges; apply does not wait for it, an ordinary commit would
$target->safe_psql('postgres', "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
$target->reload;
$target->poll_query_until('postgres', "SELECT current_setting('synchronous_standby_names') = 'nobody'");
my $before = $pair->target_sql('SELECT max(id) FROM ledger.audit');
$pair->wait_for_load(10);
ok($pair->poll(sub { $pair->target_sql('SELECT max(id) FROM ledger.audit') > $before }),
    'G06 changes are applied without the standby');
$target->safe_psql('postgres',
    "SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names");
$target->reload;

$pair->stop_load;

# --- E08: a prepared transaction at the end
$pair->source_sql(q{BEGIN; INSERT INTO ledger.inbox (body) VALUES ('prepared');
    PREPARE TRANSACTION 'it''s prepared'});
my $error = $pair->assert_error("SELECT livemigrate.set_endpos()",
    'E08 set_endpos is refused', sqlstate => qr/^55000$/, message => qr/prepared transactions/);
my ($command) = ($error->{hint} // '') =~ /(COMMIT PREPARED .*?;)/;
is($command, q{COMMIT PREPARED 'it''s prepared';}, 'E08 the hint has the command');
is($pair->status_row->{endpos}, undef, 'E08 no endpos is set');
$pair->source_sql($command);
$pair->finish('hostile settings');
is($pair->target_sql("SELECT count(*) FROM ledger.inbox WHERE body = 'prepared'"),
    '1', 'E08 what was prepared is there');

# --- G04, SEC-11, SEC-12: the target's side by a role that is no superuser
my $plain = $pair->database('plain');
$plain->create_ledger;
$plain->source_sql('CREATE TABLE ledger.pk_less (v int); ALTER TABLE ledger.pk_less REPLICA IDENTITY FULL;
    CREATE MATERIALIZED VIEW ledger.total AS SELECT sum(balance) FROM ledger.account;
    CREATE EXTENSION pageinspect; CREATE PUBLICATION of_everything FOR ALL TABLES;
    CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
    CREATE EVENT TRIGGER watches ON ddl_command_end EXECUTE FUNCTION watch();
    ALTER EVENT TRIGGER watches DISABLE;');
# What only a superuser may make, and has made beforehand.
$plain->target_sql('CREATE EXTENSION pageinspect');
$plain->target_sql(<<'SQL');
CREATE ROLE operator LOGIN;
GRANT CREATE ON DATABASE plain TO operator;
GRANT CREATE ON SCHEMA public TO operator;
GRANT SET ON PARAMETER session_replication_role TO operator;
GRANT USAGE ON SCHEMA livemigrate TO operator;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA livemigrate TO operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA livemigrate TO operator;
SQL

sub as_operator {
    my ($sql) = @_;
    my ($rc, $out, $err)
        = $target->psql('plain', $sql, timeout => 300, extra_params => [ '-U', 'operator' ]);
    is($rc, 0, "G04 as operator: " . substr $sql, 0, 60) or diag $err;
    return $out;
}

SKIP: {
    skip 'GRANT SET ON PARAMETER came with 15', 1
      if $target->safe_psql('postgres', 'SHOW server_version_num') < 150000;
    # This source trusts everybody, and asks for no password.
    $target->safe_psql('plain', 'ALTER SYSTEM SET livemigrate.source_password_required = off');
    $target->reload;
    $target->poll_query_until('plain', "SELECT current_setting('livemigrate.source_password_required') = 'off'");
    as_operator($plain->start_sql(roles => \'false', pause_after => ['slot']));
    $plain->wait_stage('slot');
    $plain->wait_state('paused');
    as_operator("SELECT livemigrate.migration_resume('plain', '{}')");
    as_operator($plain->wait_sql('streaming'));
    is( $target->safe_psql('plain',
            "SELECT string_agg(DISTINCT usename, ',') FROM pg_stat_activity
                WHERE datname = 'plain' AND backend_type ~ 'livemigrate'"),
        'operator',
        'SEC-12 the workers run as the role that started the migration');
    my @open = grep { (stat $_)[2] & 0077 } $target->data_dir . '/livemigrate',
      glob($target->data_dir . '/livemigrate/*'), $plain->spool_files;
    is_deeply(\@open, [], 'SEC-21 nobody else can read the buffered changes');
    $plain->work(20);
    as_operator('SELECT livemigrate.set_endpos()');
    as_operator('CALL livemigrate.migration_wait()');
    is(as_operator('SELECT count(*) FROM livemigrate.compare_data() WHERE NOT equal'),
        '0', 'G04 equal, says compare_data');
    is( $target->safe_psql('plain',
            "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
                WHERE relnamespace = 'ledger'::regnamespace AND relkind IN ('r', 'S', 'm')"),
        'operator',
        'G04 everything belongs to that role');
    is($target->safe_psql('plain', "SELECT string_agg(substring(message FROM '^(a.*) is left out'), ', ' ORDER BY at)
            FROM livemigrate.events WHERE severity = 'warning' AND message ~ 'is left out'"),
        'a publication, an event trigger', 'G04 what only a superuser may make is left out, and told');
    $plain->assert_equal_tables('G04 equal tables');
    as_operator('SELECT livemigrate.migration_cleanup()');
}

# --- G13
$target->safe_psql('postgres', 'ALTER SYSTEM SET max_replication_slots = 0');
$target->safe_psql('postgres', 'ALTER SYSTEM SET max_active_replication_origins = 0')
  if $target->safe_psql('postgres',
    "SELECT count(*) FROM pg_settings WHERE name = 'max_active_replication_origins'");
$target->restart;
like(join("\n", $pair->check_errors), qr/origin|max_replication_slots/, 'G13 found beforehand');

done_testing();
