# SEC-04 to SEC-08, 10, 12 to 16, 18 to 20, 22, 24 to 27, 29: attacks tried. The attackers are an
# operator of the target, who has what doc/installation.md grants and is no superuser; the owner of a
# table of the source; and whoever sends changes.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy ();
use IO::Socket::INET;
use JSON::PP   ();
use LiveMigrate::Pooler;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $pair = LiveMigrate::Test->new(
    source_conf => "listen_addresses = '*'\n",
    target_conf => "log_statement = none\nlog_min_error_statement = panic\n");
my ($source, $target) = ($pair->source, $pair->target);

# Roles that are asked for a password; the others of this machine are trusted.
my $hba = slurp_file($source->data_dir . '/pg_hba.conf');
open my $file, '>', $source->data_dir . '/pg_hba.conf' or die $!;
print $file "local all,replication migrator,tenant scram-sha-256\nhost all migrator all scram-sha-256\n$hba";
close $file;
$source->reload;

# SEC-10: what doc/installation.md gives the source's role, and no more.
$source->safe_psql('postgres', "CREATE ROLE tenant LOGIN PASSWORD 'tenant';"
      . " CREATE ROLE migrator LOGIN REPLICATION PASSWORD 'secret'");
sub grant_source {
    my ($one, @more) = @_;
    $one->source_sql(join '; ', sprintf('GRANT CREATE ON DATABASE %s TO migrator', $one->dbname),
        'GRANT tenant TO migrator', 'GRANT USAGE ON SCHEMA public TO migrator',
        'GRANT SELECT ON ALL TABLES IN SCHEMA public TO migrator',
        'GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO migrator', @more);
}
sub by_migrator {
    my ($one, %more) = @_;
    return $one->conninfo(user => 'migrator', password => 'secret', %more);
}
my $page = slurp_file("$FindBin::RealBin/../../doc/installation.md");
my ($grants) = $page =~ /^```sql\n(GRANT CREATE ON DATABASE app TO operator;.*?)^```/ms;

sub grant_target {
    my ($one) = @_;
    $one->target_sql($grants =~ s/DATABASE app/DATABASE ${\$one->dbname}/r);
}

sub as_operator {
    my ($one, $sql) = @_;
    my ($rc, $out, $err) = $target->psql($one->dbname, $sql,
        timeout => 300, extra_params => [ '-U', 'operator', '-v', 'VERBOSITY=verbose' ]);
    return ($rc, $out, $err);
}

sub refused {
    my ($one, $label, $sqlstate, $sql, $message) = @_;
    my ($rc, $out, $err) = as_operator($one, $sql);
    isnt($rc, 0, "$label: refused");
    like($err, qr/(?:ERROR|FATAL):  $sqlstate: /, "$label: SQLSTATE");
    like($err, $message, "$label: says why") if $message;
    return $err;
}

$target->safe_psql('postgres', 'CREATE ROLE operator LOGIN');
grant_target($pair);

# --- SEC-19, SEC-20: the extension itself.  migration_name, which views call for each row, finds
# nothing by search_path; a setting would be set anew for each row.
is( $pair->target_sql("SELECT superuser, trusted, relocatable, schema
        FROM pg_available_extension_versions WHERE name = 'livemigrate' LIMIT 1"),
    't|f|f|livemigrate', 'SEC-20 control file');
is( $pair->target_sql("SELECT string_agg(proname, ' ') FROM pg_proc
        WHERE pronamespace = 'livemigrate'::regnamespace AND (prosecdef OR
            (prokind = 'f' AND prorettype <> 'trigger'::regtype AND proname <> 'migration_name' AND NOT coalesce(proconfig::text ~ 'search_path=pg_catalog, pg_temp', false)))"),
    '', 'SEC-19 nobody lends rights, and search_path is fixed');
{
    $target->safe_psql('postgres', 'CREATE DATABASE squat');
    $target->safe_psql('squat', 'GRANT CREATE ON DATABASE squat TO operator');
    $target->safe_psql('squat', "SET ROLE operator; CREATE SCHEMA livemigrate;
        CREATE FUNCTION livemigrate.migration_check(text) RETURNS int LANGUAGE sql AS 'SELECT 1'");
    my ($rc, $out, $err) = $target->psql('squat', 'CREATE EXTENSION livemigrate');
    isnt($rc, 0, 'SEC-20 not into a schema that somebody else has prepared');
    like($err, qr/belongs to a role that is no superuser/, 'SEC-20 and says so');
    ($rc) = $target->psql('squat', 'SET ROLE operator; DROP SCHEMA livemigrate CASCADE; CREATE EXTENSION livemigrate');
    isnt($rc, 0, 'SEC-20 nor by the operator');
}

# --- SEC-12, N03: code that comes with a table of the source runs as the table's owner
grant_source($pair);
$pair->source_sql(<<'SQL');
GRANT CREATE ON SCHEMA public TO tenant;
ALTER ROLE migrator BYPASSRLS;
SET ROLE tenant;
CREATE FUNCTION public.attack() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('cluster_name') <> 'target' THEN RETURN; END IF;
    BEGIN EXECUTE 'ALTER ROLE tenant SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN EXECUTE 'SET ROLE NONE'; EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN PERFORM set_config('DateStyle', 'SQL, DMY', false); EXCEPTION WHEN OTHERS THEN NULL; END;
END $$;
-- An immutable function changes nothing itself.
CREATE FUNCTION public.evil(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN PERFORM public.attack(); RETURN v; END $$;
CREATE FUNCTION public.evil_trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM public.evil('x'); RETURN NEW; END $$;
CREATE DOMAIN public.bait AS text CHECK (public.evil(VALUE) = VALUE);
CREATE TABLE public.trap (id int PRIMARY KEY, v text CHECK (public.evil(v) = v), b public.bait,
    d date DEFAULT '2026-03-04', g text GENERATED ALWAYS AS (public.evil(v)) STORED);
CREATE INDEX ON public.trap (public.evil(v));
CREATE TABLE public.full_trap (LIKE public.trap INCLUDING ALL);
ALTER TABLE public.full_trap DROP CONSTRAINT full_trap_pkey, REPLICA IDENTITY FULL;
CREATE TABLE public.fired (LIKE public.trap INCLUDING ALL);
CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON public.fired FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
CREATE TRIGGER evil_too BEFORE TRUNCATE ON public.fired EXECUTE FUNCTION public.evil_trigger();
ALTER TABLE public.fired ENABLE ALWAYS TRIGGER evil, ENABLE ALWAYS TRIGGER evil_too;
ALTER TABLE public.trap ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY nothing ON public.trap USING (false);
RESET ROLE;
INSERT INTO public.trap VALUES (1, 'a', 'b'), (2, 'c', 'd');
INSERT INTO public.full_trap VALUES (1, 'a', 'b'), (2, 'c', 'd');
INSERT INTO public.fired VALUES (1, 'a', 'b'), (2, 'c', 'd');
SQL
grant_source($pair);

sub assert_no_superuser {
    my ($label) = @_;
    is($pair->target_sql('SELECT rolsuper FROM pg_roles WHERE rolname = $$tenant$$'), 'f', "SEC-12 $label");
}
$pair->start(source => by_migrator($pair), owner => \'true', privileges => \'true', pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->wait_state('paused');
# So do defaults of columns that only the target has, be the rows written by COPY or, as an extension is
# said to watch the table, by INSERT.
for my $table (qw(trap full_trap)) {
    $pair->target_sql("ALTER TABLE $table ADD COLUMN x text; ALTER TABLE $table ALTER x SET DEFAULT public.evil('x')");
}
$pair->target_sql('CREATE TRIGGER seen AFTER INSERT ON full_trap FOR EACH ROW EXECUTE FUNCTION public.evil_trigger();
    ALTER TRIGGER seen ON full_trap DEPENDS ON EXTENSION plpgsql');
$pair->resume(['data']);
$pair->wait_stage('data');
$pair->wait_state('paused');
assert_no_superuser('after the copy');
for my $table (qw(trap full_trap)) {
    is($pair->target_sql("SELECT count(*), count(x) FROM $table"), '2|2', "N03 $table: the target's default");
}
$pair->target_sql('ALTER TABLE trap DROP COLUMN x; ALTER TABLE full_trap DROP COLUMN x; DROP TRIGGER seen ON full_trap');
$pair->resume([]);
$pair->wait_stage('streaming');
is( $pair->target_sql("SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class
        WHERE relname IN ('trap', 'full_trap', 'fired')"),
    'tenant', 'SEC-12 the tables are the tenant\'s');
for my $table (qw(trap full_trap fired)) {
    $pair->source_sql("INSERT INTO $table VALUES (3, 'e', 'f'); UPDATE $table SET v = 'new', d = '2026-05-06' WHERE id = 1;
        DELETE FROM $table WHERE id = 2");
}
$pair->source_sql("TRUNCATE fired; INSERT INTO fired VALUES (9, 'nine', 'nine')");

# SEC-16: values and names are data.
$pair->source_sql(q{INSERT INTO trap VALUES (10, '''); DROP TABLE public.trap; --', $$"; \! touch x$$)});

# SEC-18: so are logical messages.
$pair->source_sql("SELECT pg_logical_emit_message($_, p, 'DROP TABLE public.trap')
    FROM unnest('{livemigrate,pglogical,ddl}'::text[]) p") for qw(true false);

# --- what an operator may do with a migration that is not his
$pair->poll(sub { $pair->target_sql('SELECT count(*) FROM trap') == 3 }) or $pair->diagnose('not applied');
assert_no_superuser('after changes');
refused($pair, 'a superuser\'s migration is not the operator\'s to pause', '42501',
    'SELECT livemigrate.migration_pause()', qr/must be owner of migration "main".*GRANT "\w+" TO "operator"/s);
refused($pair, "nor to $_", '42501', "SELECT * FROM livemigrate.$_") for
  ('migration_abort()', 'set_endpos()', 'migration_cleanup()', 'copy_sequences()', 'compare_data()');
for my $attack (
    'UPDATE livemigrate.migration SET owner = 10',
    "UPDATE livemigrate.migration SET source = 'host=evil'",
    'UPDATE livemigrate.migration SET owner = (SELECT oid FROM pg_roles WHERE rolname = current_user)',
    'DELETE FROM livemigrate.migration',
    "INSERT INTO livemigrate.schema_job (migration, id, phase, kind, sql)
        SELECT id, 99999, 1, 'index', 'ALTER ROLE operator SUPERUSER' FROM livemigrate.migration",
    "UPDATE livemigrate.schema_job SET sql = 'ALTER ROLE operator SUPERUSER', state = 'pending'",
    "INSERT INTO livemigrate.copy_part (migration, id, part, condition, bytes)
        SELECT id, 99999, 1, '; ALTER ROLE operator SUPERUSER', 1 FROM livemigrate.migration",
    "INSERT INTO livemigrate.migration (name, owner, source, source_redacted, requested_plugin, pause_after, table_jobs,
        index_jobs, split_bytes, exclude_tables, exclude_table_data, roles, restore_owner, restore_privileges, on_existing, options)
        SELECT 'mine', 10, source, '', 'auto', '{}', 1, 1, 0, '{}', '{}', false, false, false, 'error', '{}'
        FROM livemigrate.migration"
) {
    refused($pair, 'SEC-09 ' . substr($attack, 0, 50), '42501',
        "SET session_replication_role = replica; $attack", qr/must be owner of the migration/);
}

# --- SEC-27: who did what
$pair->pause;
$pair->wait_state('paused');
$pair->resume;
$pair->finish('SEC-12 and SEC-16', skip => qr/"?trap"? |fired|full_trap/);
$pair->assert_equal_tables('SEC-18 nothing but the changes', relations => 0);
my $me = scalar getpwuid $<;
my %by = map { split /\|/, $_, 2 } split /\n/,
  $pair->target_sql("SELECT message, detail FROM livemigrate.events WHERE detail ~ '^by '");
for my $what ('migration started', 'pause asked for', 'resumed', 'cleaned up') {
    is($by{$what}, "by $me", "SEC-27 $what: by whom");
}
ok((grep { /^endpos set to/ } keys %by), 'SEC-27 endpos: by whom');

# --- SEC-06, SEC-07: where an operator may send this server
my $own = $pair->database('own');
$own->source_sql("CREATE TABLE t (id int PRIMARY KEY, v text);
    INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 100) g; ALTER TABLE t OWNER TO tenant");
grant_source($own);
grant_target($own);
my %forbidden = (
    'without a password'        => [ $own->conninfo,                                          qr/must have a password/ ],
    'an empty password'         => [ $own->conninfo(password => ''),                          qr/must have a password/ ],
    'a password not asked for'  => [ $own->conninfo(password => 'x'),                         qr/did not ask for the password/ ],
    'a password file'           => [ by_migrator($own, passfile => '/etc/passwd'),            qr/"passfile"/ ],
    'a service'                 => [ "service=root password=x",                               qr/"service"/ ],
    'a key'                     => [ by_migrator($own, sslkey => '/etc/ssl/private/key.pem'), qr/"sslkey"/ ],
    'a certificate'             => [ by_migrator($own, sslrootcert => '/etc/passwd'),         qr/"sslrootcert"/ ],
    'options'                   => [ by_migrator($own, options => '-c role=postgres'),        qr/"options"/ ]);
for my $what (sort keys %forbidden) {
    my ($conninfo, $message) = @{ $forbidden{$what} };
    my $literal = LiveMigrate::Test::quote_literal($conninfo);
    refused($own, "SEC-06 $what", '42501', $own->start_sql(source => $conninfo, roles => \'false'), $message);
    my ($rc, $out) = as_operator($own, "SELECT check_id, severity, message FROM livemigrate.migration_check($literal)");
    like($out, qr/^connection\|error\|[^\n]*$message[^\n]*$/, "SEC-06 $what: migration_check has that row alone");
}
$target->safe_psql('own', "ALTER SYSTEM SET livemigrate.allowed_source_hosts = 'other.example, localhost'");
$target->reload;
$own->poll(sub { $own->target_sql("SHOW livemigrate.allowed_source_hosts") ne '*' });
my $denied = refused($own, 'SEC-07 a host that is not listed', '42501',
    $own->start_sql(source => by_migrator($own), roles => \'false'), qr/only a superuser may connect to host/);
refused($own, 'SEC-07 nor by its address', '42501', $own->start_sql(
        source => by_migrator($own, host => 'localhost', hostaddr => '169.254.169.254'), roles => \'false'),
    qr/169\.254/);
is(join(' ', $own->check_errors(source => by_migrator($own))), '', 'SEC-07 a superuser may');
for my $address ('169.254.169.254', 'fe80::1', '::ffff:169.254.0.1') {
    $target->safe_psql('own', "ALTER SYSTEM SET livemigrate.allowed_source_hosts = '*'");
    $target->reload;
    $own->poll(sub { $own->target_sql('SHOW livemigrate.allowed_source_hosts') eq '*' });
    refused($own, "SEC-07 $address where any host is allowed", '42501',
        $own->start_sql(source => by_migrator($own, host => 'somewhere', hostaddr => $address), roles => \'false'), qr/link-local/);
}
refused($own, 'SEC-07 one host', '42501',
    $own->start_sql(source => by_migrator($own, host => 'localhost,localhost', port => '1,2'), roles => \'false'), qr/more than one host/);

# SEC-07: ports that are closed, silent, or somebody else's, and names of nobody, cannot be told apart.
{
    my %answer = (
        silent => sub { 1 while sysread $_[0], my $read, 4096 },
        closes => sub { close $_[0] },
        http   => sub { sysread $_[0], my $request, 8; syswrite $_[0], "HTTP/1.1 400 Bad Request\r\n\r\n" });
    my (%probe, @children);
    for my $what (sort keys %answer) {
        my $listen = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 5) or die $!;
        $probe{$what} = { port => $listen->sockport };
        push @children, my $pid = fork // die $!;
        if (!$pid) {
            while (my $client = $listen->accept) { $answer{$what}->($client) }
            require POSIX;
            POSIX::_exit(0);
        }
    }
    $probe{closed}  = { port => PostgreSQL::Test::Cluster::get_free_port() };
    $probe{nowhere} = { port => 1, host => 'nobody.invalid' };
    $probe{forged}  = { port => PostgreSQL::Test::Cluster::get_free_port(), host => 'x" failed: FATAL:  y', hostaddr => '127.0.0.1' };
    my %said;
    for my $what (sort keys %probe) {
        my %at = (host => '127.0.0.1', sslmode => 'disable', gssencmode => 'disable', connect_timeout => 1, %{ $probe{$what} });
        my ($begin, $logged) = (time, -s $target->logfile);
        my $error = refused($own, "SEC-07 $what", '08001', $own->start_sql(source => by_migrator($own, %at), roles => \'false'));
        cmp_ok(time - $begin, '>=', 0.95, "SEC-07 $what: no sooner than by silence");
        $said{$what} = $error =~ s/host .*? user migrator//gsr;
        like(slurp_file($target->logfile, $logged), qr/could not connect to the source: .*(?:refused|closed|No answer|received|translate)/,
            "SEC-07 $what: the log has the reason");
    }
    is($said{$_}, $said{closed}, "SEC-07 $_: is told like a closed port") for sort keys %said;
    like($said{closed}, qr/No PostgreSQL server answered/, 'SEC-07 and what is told');
    like($own->target_error($own->start_sql(source => by_migrator($own, %{ $probe{closed} }, host => '127.0.0.1')))->{message},
        qr/refused/, 'SEC-07 a superuser is told more');
    refused($own, 'SEC-07 what the source says is told', '28P01',
        $own->start_sql(source => by_migrator($own, password => 'wrong'), roles => \'false'), qr/password authentication failed/);
    kill 'KILL', @children; # on TERM they would end the servers as this process does
    waitpid $_, 0 for @children;
}
$target->safe_psql('own', "ALTER SYSTEM SET livemigrate.allowed_source_hosts = 'other.example, localhost'");
$target->reload;
$own->poll(sub { $own->target_sql('SHOW livemigrate.allowed_source_hosts') ne '*' });
my ($command) = $denied =~ /As superuser: (ALTER SYSTEM .*?;)/s;
$target->safe_psql('own', $_) for $command, 'SELECT pg_reload_conf()';
$own->poll(sub { (as_operator($own, 'SELECT 1'))[0] == 0 &&
      $own->target_sql('SHOW livemigrate.allowed_source_hosts') =~ m{/} });

# --- SEC-10, SEC-11: a whole migration without a superuser on either side
my ($rc, $out, $err) = as_operator($own, $own->start_sql(source => by_migrator($own), roles => \'false'));
is($rc, 0, 'SEC-10 an operator starts, with a role of the source that is no superuser') or diag $err;
$own->wait_stage('streaming');

# --- SEC-13, SEC-15: rights that are lost stop it; nothing is passed over
sub lost_right {
    my ($label, $take, $give, $id) = @_;
    $own->target_sql($take);
    $own->source_sql("INSERT INTO t VALUES ($id, 'late')");
    $own->wait_state('failed');
    like($own->target_sql('SELECT last_error_sqlstate FROM livemigrate.migrations'), qr/^42501$/, "$label: it stops");
    is($own->target_sql("SELECT count(*) FROM t WHERE id = $id"), '0', "$label: with nothing written");
    $own->target_sql($give);
    as_operator($own, 'SELECT livemigrate.migration_resume()');
    ok($own->poll(sub { $own->target_sql("SELECT count(*) FROM t WHERE id = $id") eq '1' }), "$label: goes on");
}
lost_right('SEC-13 the table is somebody else\'s', "ALTER TABLE t OWNER TO $me", 'ALTER TABLE t OWNER TO operator', 201);
lost_right('SEC-15 row security on the target',
    'ALTER TABLE t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (true) WITH CHECK (true)',
    'DROP POLICY p ON t; ALTER TABLE t DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', 202);

# --- SEC-22: the rows of a change that cannot be applied are not shown
$own->target_sql("ALTER TABLE t ADD CONSTRAINT no_canary CHECK (v !~ 'canary')");
$own->source_sql("INSERT INTO t VALUES (203, 'a canary in a coal mine')");
$own->wait_state('failed');
like($own->target_sql('SELECT key FROM livemigrate.conflicts ORDER BY at DESC LIMIT 1'), qr/\(203\)/,
    'SEC-22 the conflict has the key');
unlike($own->target_sql("SELECT row_to_json(t)::text FROM livemigrate.$_ t"), qr/coal mine/, "SEC-22 $_: without the row")
  for qw(conflicts events migration_status() migrations);
unlike(slurp_file($target->logfile), qr/coal mine/, 'SEC-22 the log: without the row');
$own->target_sql('ALTER TABLE t DROP CONSTRAINT no_canary');
as_operator($own, "SELECT livemigrate.migration_resume(); SELECT livemigrate.set_endpos()");
$own->wait_stage('done');
$own->assert_equal_tables('SEC-13 equal in the end');
is((as_operator($own, 'SELECT livemigrate.migration_cleanup()'))[0], 0, 'SEC-29 cleaned up by the operator');
$own->assert_nothing_left('SEC-29 nothing is left');
is($own->target_sql("SELECT count(*) FROM livemigrate.events WHERE detail = 'by operator'") > 3, 1,
    'SEC-27 the operator is named');

# --- SEC-14: changes that name a table of the server, or of ours
SKIP: {
    my $wal = $pair->database('wal');
    $wal->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
    skip 'wal2json is not installed', 3 if grep { /^plugin/ } $wal->check_errors(plugin => 'wal2json');
    $wal->start(plugin => 'wal2json');
    $wal->wait_stage('streaming');
    my $before = $wal->target_sql('SELECT count(*) FROM information_schema.sql_features');
    $wal->source_sql(<<'SQL');
CREATE SCHEMA livemigrate;
CREATE TABLE livemigrate.event (id bigint PRIMARY KEY, migration int, severity text, stage text, message text);
INSERT INTO livemigrate.event VALUES (-1, 1, 'info', 'done', 'forged');
INSERT INTO information_schema.sql_features VALUES ('evil', 'evil', '', '', 'YES', NULL, NULL);
INSERT INTO t VALUES (1);
SQL
    ok($wal->poll(sub { $wal->target_sql('SELECT count(*) FROM t') eq '1' }), 'SEC-14 what is behind them is applied')
      or $wal->diagnose('SEC-14');
    is($wal->target_sql("SELECT count(*) FROM livemigrate.event WHERE message = 'forged'"), '0',
        'SEC-14 our own tables are out of reach');
    is($wal->target_sql('SELECT count(*) FROM information_schema.sql_features'), $before,
        'SEC-14 so are the server\'s');
    $wal->abort;
}

# --- SEC-04, SEC-05, SEC-08, SEC-24, SEC-25: found beforehand
sub check {
    my ($conninfo, $check_id, %opt) = @_;
    my $literal = LiveMigrate::Test::quote_literal($conninfo);
    my $set = join '', map {"SET $_;"} @{ $opt{set} // [] };
    my $json = $pair->target_sql("$set SELECT json_agg(c) FROM livemigrate.migration_check($literal) c
        WHERE check_id = '$check_id'");
    my ($row) = length $json ? @{ JSON::PP->new->decode($json) } : ();
    return $row // { severity => 'no row', message => '', fix => '' };
}
is(check($pair->conninfo, 'password_in_call')->{severity}, 'ok', 'SEC-04 no password');
is(check(by_migrator($pair), 'password_in_call')->{severity}, 'notice', 'SEC-04 a password');
for my $settings ([ 'log_statement', q{'all'} ], [ 'log_min_duration_statement', 0, 'log_min_duration_sample', 60000 ],
    [ 'log_transaction_sample_rate', 0.5, 'log_min_error_statement', 'error' ]) {
    my @set    = map {"$settings->[2 * $_] = $settings->[2 * $_ + 1]"} 0 .. $#$settings / 2;
    my $logged = check(by_migrator($pair), 'password_in_call', set => \@set);
    is($logged->{severity}, 'warning', "SEC-04 a password that is logged by $settings->[0]");
    my $after = check(by_migrator($pair), 'password_in_call', set => [ @set, $logged->{fix} =~ /\bSET (.*?);/g ]);
    is("$after->{severity} $after->{message}",
        'notice the connection string holds a password: it stays in the table of migrations', 'SEC-04 the fix does it');
}
like(check(by_migrator($pair), 'password_in_call', set => ['log_min_error_statement = error'])->{message},
    qr/, and a call that is refused in the target's server log \(log_min_error_statement = error\)$/,
    'SEC-04 a password that is logged with an error');
is(check($pair->conninfo, 'encryption')->{severity}, 'ok', 'SEC-05 a socket is no network');
SKIP: {
    my ($address) = `hostname -I 2>/dev/null` =~ /^(\d+\.\d+\.\d+\.\d+)/;
    skip 'this machine has no address', 1 unless $address;
    like(check(by_migrator($pair, host => $address, sslmode => 'prefer'), 'encryption')->{message},
        qr/not encrypted/, 'SEC-05 clear text over a network');
}
is(check($pair->conninfo, 'powerful_code')->{severity}, 'ok', 'SEC-25 a tenant\'s functions are ordinary');
$pair->source_sql("CREATE FUNCTION power() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';
    CREATE FUNCTION watcher() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION watcher()");
like(check($pair->conninfo, 'powerful_code')->{message}, qr/event trigger watch, public\.power/, 'SEC-25 named');

# SEC-08: what is asked for when connecting is asked for again behind it.
{
    my $pooler = LiveMigrate::Pooler->start($source, change => [ 'row_security=off', 'row_security=on ' ]);
    my ($error) = $pair->target_error($pair->start_sql(source => $pooler->conninfo('app'), migration => 'through'));
    like($error->{message}, qr/ignores setting "row_security"/, 'SEC-08 settings that do not arrive');
    $pooler->stop;
}

my $programs = $target->basedir . '/programs';
mkdir $programs;
my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
chomp(my $bindir = `$pg_config --bindir`);
for my $program (qw(pg_dump pg_restore)) {
    File::Copy::copy("$bindir/$program", "$programs/$program") or die $!;
    chmod 0755, "$programs/$program";
}
my @set = ("livemigrate.client_bin_dir = '$programs'");
my $usable = check($pair->conninfo, 'client_binaries', set => \@set);
is($usable->{severity}, 'ok', 'SEC-24 programs in a directory of the server\'s user') or diag $usable->{message};
chmod 0777, "$programs/pg_dump";
my $writable = check($pair->conninfo, 'client_binaries', set => \@set);
is($writable->{severity}, 'error', 'SEC-24 one that everybody may write');
like($writable->{message}, qr/others could replace it/, 'SEC-24 and says so');
refused($pair, 'SEC-24 an operator cannot choose the directory', '42501', "SET livemigrate.client_bin_dir = '$programs'");

# SEC-26: limits
$own->assert_error($own->start_sql(table_jobs => \'1000'), 'SEC-26 jobs are limited', sqlstate => qr/^22023$/);

done_testing();
