# N05: roles with all that belongs to them, but for passwords and what the target refuses.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $long = 'é' x 31 . 'x';    # 63 bytes
$pair->source_sql("CREATE ROLE \"$long\" CONNECTION LIMIT 0;" . <<'SQL');
CREATE ROLE migrator LOGIN REPLICATION PASSWORD 'secret1';
CREATE TABLE t (id int PRIMARY KEY); ALTER TABLE t OWNER TO migrator;
GRANT CREATE ON DATABASE app TO migrator;
CREATE ROLE team; COMMENT ON ROLE team IS 'the "team''s" \ role';
CREATE ROLE "Odd ""Role' \ %s" LOGIN CREATEDB CONNECTION LIMIT 7 VALID UNTIL '2030-01-01 12:00+02'
    PASSWORD 'secret2' IN ROLE team;
CREATE ROLE boss SUPERUSER REPLICATION BYPASSRLS CREATEROLE NOINHERIT VALID UNTIL 'infinity';
SET password_encryption = 'md5';
CREATE ROLE old_hash LOGIN PASSWORD 'secret3';
CREATE ROLE member LOGIN IN ROLE "Odd ""Role' \ %s"; GRANT team TO member WITH ADMIN OPTION;
GRANT pg_monitor TO member;
CREATE ROLE existing LOGIN IN ROLE team; ALTER ROLE existing SET work_mem = '5MB';
CREATE ROLE rds_superuser; CREATE ROLE rdsadmin LOGIN; CREATE ROLE azure_pg_admin;
CREATE ROLE cloudsqladmin; CREATE ROLE alloydbsuperuser; GRANT rds_superuser TO member;
ALTER ROLE member SET search_path = "$user", 'odd, "schema', public;
ALTER ROLE member SET work_mem = '77MB'; ALTER ROLE member SET my.secret = 'hush''h';
ALTER ROLE member SET log_min_duration_statement = 5; ALTER ROLE member SET DateStyle = 'SQL, DMY';
ALTER ROLE member SET session_preload_libraries = 'auto_explain', 'x"y';
ALTER ROLE member SET temp_tablespaces = ''; ALTER ROLE team SET search_path = '';
ALTER ROLE member IN DATABASE app SET work_mem = '1GB';
SQL
$pair->target_sql('CREATE ROLE existing NOLOGIN CREATEDB');

# The source's role cannot read pg_authid.
$pair->start(plugin => 'pgoutput', source => $pair->conninfo(user => 'migrator'),
    pause_after => ['roles']);
$pair->wait_stage('roles');
$pair->wait_state('paused');

my $names   = "('team', 'Odd \"Role'' \\ %s', 'boss', 'member', 'migrator', 'old_hash', '$long')";
my %queries = (
    'attributes' =>
        "SELECT rolname, rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin,
            rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil, rolconfig,
            shobj_description(oid, 'pg_authid')
         FROM pg_roles WHERE rolname IN $names ORDER BY rolname",
    'memberships' =>
        "SELECT roleid::regrole, member::regrole, admin_option FROM pg_auth_members
         WHERE member::regrole::text !~ '^(pg_|existing)' AND roleid::regrole::text !~ '^rds'
         ORDER BY roleid::regrole::text, member::regrole::text");
for my $what (sort keys %queries) {
    is($pair->target_sql($queries{$what}), $pair->source_sql($queries{$what}), "N05 $what are the same");
}
is($pair->target_sql("SELECT count(*) FROM pg_authid WHERE rolname IN $names AND rolpassword IS NOT NULL"),
    '0', 'N05 no password was copied');
is( $pair->target_sql(
        "SELECT rolcanlogin, rolcreatedb, rolconfig IS NULL, (SELECT count(*) FROM pg_auth_members
         WHERE member = r.oid) FROM pg_roles r WHERE rolname = 'existing'"),
    'f|t|t|0', 'N05 a role that exists is left alone');
is( $pair->target_sql("SELECT count(*) FROM pg_roles WHERE rolname ~ '^(rds|azure|cloudsql|alloydb)'"),
    '0', "N05 a provider's roles stay where they are");
is( $pair->target_sql("SELECT count(*) FROM pg_db_role_setting WHERE setdatabase <> 0"),
    '0', 'settings for one database are not those of the role');

my $notes = $pair->target_sql(
    "SELECT string_agg(message, E'\\n' ORDER BY id) FROM livemigrate.events WHERE stage = 'roles'");
like($notes, qr/alloydbsuperuser.*azure_pg_admin.*cloudsqladmin.*rds_superuser.*rdsadmin/,
    'those left out are listed');
like($notes, qr/"rds_superuser" does not exist on the target: GRANT "rds_superuser" TO "member"( WITH [^;]+)?;/,
    'a membership that cannot be is reported');
like($notes, qr/password.*"Odd ""Role' \\ %s", "member", "migrator", "old_hash"/,
    'roles that need a password are listed');
unlike($notes, qr/secret[123]|hush|SCRAM|md5/, 'no secret is in the notes');
unlike($notes, qr/"existing"/,           'the existing role is not among them');

# As the members see it.
is($pair->target_sql('SET SESSION AUTHORIZATION member; SELECT 1'), '1', 'a role can be taken on');
$pair->resume;
$pair->wait_stage('streaming');
$pair->set_endpos;
$pair->wait_stage('done');
$pair->cleanup;

# Again, with all roles there; and not at all.
my $second = $pair->database('second');
$second->source_sql('CREATE TABLE t (id int PRIMARY KEY)');
$second->migrate('roles that are all there');
is( $second->target_sql(
        "SELECT message FROM livemigrate.events WHERE stage = 'roles' AND message ~ 'created'"),
    '0 roles created', 'a second migration creates none');
$pair->source_sql('CREATE ROLE unwanted');
my $third = $pair->database('third');
$third->migrate('roles => false', start => { roles => \'false' });
is($third->target_sql("SELECT count(*) FROM pg_roles WHERE rolname = 'unwanted'"),
    '0', 'roles => false copies none');
done_testing();
