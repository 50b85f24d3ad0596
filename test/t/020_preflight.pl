# migration_check: each finding is provoked, its fix is run as it is, and then the check is green.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP ();
use LiveMigrate::Checks;
use LiveMigrate::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair = LiveMigrate::Test->new(source_conf => "max_prepared_transactions = 5\n");
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1)');

sub rows {
    my (%opt) = @_;
    my $on     = $opt{pair} // $pair;
    my $given  = LiveMigrate::Test::quote_literal($opt{source} // $on->conninfo(%{ $opt{as} // {} }));
    my $plugin = $opt{plugin} // 'auto';
    my $set    = $opt{set} // '';
    my $json   = $on->target_sql(
        "$set SELECT coalesce(json_agg(c), '[]') FROM livemigrate.migration_check($given, '$plugin') c");
    return keep_rows(@{ JSON::PP->new->decode($json) });
}

sub select_rows {
    my ($check_id, $severity, $object, @rows) = @_;
    return grep {
        $_->{check_id} eq $check_id && $_->{severity} eq $severity
          && (!defined $object || ($_->{object} // '') =~ $object)
    } @rows;
}

sub say_rows { return join "\n", map { "$_->{severity} $_->{check_id} $_->{object}: $_->{message}" } @_ }

sub finds {
    my ($label, $check_id, %opt) = @_;
    my @rows = rows(%opt);
    my ($row) = select_rows($check_id, $opt{severity} // 'error', $opt{object}, @rows);
    ok($row && $row->{message} =~ ($opt{message} // qr/./), "$label: found")
      or diag say_rows(@rows);
    return $row // {};
}

# Finds the row, runs its fix on the node, restarts that one if asked to, and finds no such row.
sub mends {
    my ($label, $check_id, %opt) = @_;
    my $row  = finds($label, $check_id, %opt);
    my $node = $opt{on} // $source;
    my $fix  = $row->{fix} // 'no fix';
    my ($where) = $opt{where} ? $fix =~ $opt{where} : ($opt{pair} // $pair)->dbname;
    my ($rc, $out, $err) = $node->psql($where // 'nowhere', $fix);
    is($rc, 0, "$label: the fix runs as it is") or diag $row->{fix}, $err;
    $node->restart if $opt{restart};
    my @left;
    my $mended = $pair->poll(sub {
            @left = select_rows($check_id, $opt{severity} // 'error', $opt{object}, rows(%opt));
            return !@left;
        });
    ok($mended, "$label: mended") or diag say_rows(@left);
}

# What only migration_start can ask for.
sub refuses {
    my ($label, $sqlstate, $arguments, $message) = @_;
    return $pair->assert_error($pair->start_sql(%$arguments), $label,
        sqlstate => $sqlstate, message => $message // qr/./);
}

# --- a source with nothing wrong
{
    my @rows = rows();
    ok(!grep({ $_->{severity} eq 'error' } @rows), 'nothing is wrong') or diag say_rows(@rows);
    my %ok = map { $_->{check_id} => 1 } grep { $_->{severity} eq 'ok' } @rows;
    ok($ok{$_}, "$_ is ok")
      for qw(connection replication_connection source_version same_server wal_level
      replication_slots wal_senders replication_role slot_exists publication plugin encoding
      replica_identity row_security select_rights own_schema target_empty target_recovery
      target_workers target_origins target_rights preload extensions client_binaries
      prepared_transactions long_transactions);
    is(scalar(grep { $_->{severity} !~ /^(?:ok|notice|warning|error)$/ } @rows), 0, 'severities');
    ok(!grep({ !defined $_->{message} || $_->{message} =~ /\.\z/ } @rows), 'messages are no sentences');
    $pair->assert_nothing_left('migration_check changes nothing');
}

# --- the connection itself is a row, and for migration_start an error of its own SQLSTATE
finds('no such database', 'connection', as => { dbname => 'nowhere' }, message => qr/nowhere/);
finds('nothing listens', 'connection', as => { port => PostgreSQL::Test::Cluster::get_free_port() });
refuses('no such database', qr/^3D000/, { source => $pair->conninfo(dbname => 'nowhere') });
{
    my @rows = rows(source => $pair->conninfo . " password='s3cret'");
    unlike(say_rows(@rows), qr/s3cret/, 'no password in any row');
}

# --- server settings that need no restart
if ($source->safe_psql('postgres', "SELECT count(*) FROM pg_settings WHERE name = 'max_slot_wal_keep_size'")) {
    $pair->source_sql('ALTER SYSTEM SET max_slot_wal_keep_size = 0');
    $source->reload;
    $source->poll_query_until('app', "SELECT current_setting('max_slot_wal_keep_size') = '0'");
    mends('S09 max_slot_wal_keep_size', 'slot_wal_limit', severity => 'warning');
}

# --- D01, D02: the plugin
SKIP: {
    skip 'this minor release loads any output plugin', 6
      unless $source->safe_psql('postgres',
        "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'");
    $pair->source_sql("ALTER SYSTEM SET output_plugin_libraries = pgoutput");
    $source->reload;
    $source->poll_query_until('app', "SELECT current_setting('output_plugin_libraries') = 'pgoutput'");
    my ($row) = select_rows('plugin', 'ok', qr/pgoutput/, rows());
    like($row->{message}, qr/can publish/, 'D01 auto takes pgoutput, and says why');
    mends('D01 wal2json is not allowed', 'plugin', plugin => 'wal2json',
        message => qr/output_plugin_libraries/);
    $source->reload;
    is( $source->safe_psql('postgres', 'SHOW output_plugin_libraries'),
        'pgoutput, test_decoding, wal2json', 'D01 the fix is a list');
    $pair->source_sql("ALTER SYSTEM SET output_plugin_libraries = wal2json");
    $source->reload;
    $source->poll_query_until('app', "SELECT current_setting('output_plugin_libraries') = 'wal2json'");
    finds('D01 auto without pgoutput', 'plugin', severity => 'notice', object => qr/pgoutput/);
    ok(select_rows('plugin', 'ok', qr/wal2json/, rows()), 'D01 auto takes wal2json then')
      or diag say_rows(rows());
    $pair->source_sql('ALTER SYSTEM RESET output_plugin_libraries');
    $source->reload;
    $source->poll_query_until('app', "SELECT current_setting('output_plugin_libraries') ~ 'pgoutput'");
}
$pair->source_sql("ALTER SYSTEM SET dynamic_library_path = '/nonexistent'");
$source->restart;
like(finds('D02 not installed', 'plugin', plugin => 'wal2json', message => qr/not installed/)->{fix},
    qr/^-- on the source's machine: apt-get install postgresql-\d+-wal2json$/m, 'D02 names the package');
$pair->source_sql('ALTER SYSTEM RESET dynamic_library_path');
$source->restart;

# D03: plain float and numeric columns lose NaN with an old wal2json, anything around them does not.
{
    my $values = $pair->database('plugin_values');
    $values->source_sql(<<'SQL');
CREATE DOMAIN amount AS numeric;
CREATE TABLE plain (id int PRIMARY KEY, f float8);
CREATE TABLE wrapped (id int PRIMARY KEY, d amount, a numeric[], r numrange);
SQL
    my @rows = rows(pair => $values, plugin => 'wal2json');
    is(scalar(select_rows('plugin_values', 'error', qr/"wrapped"/, @rows)),
        0, 'D06 a domain, an array and a range are no loss');
    if ($values->wal2json_is_lossless) {
        ok(select_rows('plugin_values', 'ok', undef, @rows), 'D03 wal2json 2.6 is no loss');
    } else {
        ok(select_rows('plugin_values', 'error', qr/"plain"/, @rows), 'D03 a float column is refused');
    }
    ok(!select_rows('plugin_values', 'error', undef, rows(pair => $values)), 'D03 auto takes pgoutput');
}

# --- open transactions: the probe does not wait for them, and leaves nothing behind
{
    my $open = $pair->session($source, 'BEGIN; INSERT INTO t VALUES (100)');
    finds('C06 an open transaction', 'slot_wait', severity => 'notice');
    is($open->query('SELECT count(*) FROM t WHERE id = 100'), '1', 'C06 the check does not wait for it');
    $source->poll_query_until('app', 'SELECT count(*) = 0 FROM pg_replication_slots');
    $source->poll_query_until('app', 'SELECT count(*) = 0 FROM pg_stat_replication');
    $pair->end_session($open);
    ok($pair->poll(sub { !select_rows('slot_wait', 'notice', undef, rows()) }), 'C06 it has ended');
}
$source->safe_psql('postgres', "BEGIN; CREATE TABLE elsewhere (); PREPARE TRANSACTION 'it''s \"mine\"'");
mends('C06 a prepared transaction', 'prepared_transactions', severity => 'warning',
    object => qr/mine/, where => qr/^-- in database "(\w+)", as role "\w+" or a superuser:$/m);

# --- rights
$pair->source_sql(<<'SQL');
CREATE ROLE "Mi grator" LOGIN;
CREATE SCHEMA "a.b";
CREATE TABLE "a.b"."it's ""one""" (id serial PRIMARY KEY);
CREATE SEQUENCE "a.b".loose;
CREATE TABLE "a.b".guarded (id int PRIMARY KEY);
ALTER TABLE "a.b".guarded ENABLE ROW LEVEL SECURITY;
SELECT lo_create(4711);
SQL
my %as = (as => { user => 'Mi grator' });
my ($reason) = select_rows('large_objects', 'notice', undef, rows(%as));
like($reason->{message}, qr/^1 large object/, 'C17 large objects are announced');
mends('S03 REPLICATION', 'replication_role', %as);
mends('S03 rights on a schema', 'select_rights', %as, object => qr/a\.b/,
    message => qr/USAGE.*2 tables.*2 sequences/);
mends('S03 rights on tables', 'select_rights', %as, object => qr/public/);
mends('S03 rights on large objects', 'large_object_rights', %as, message => qr/4711/);
mends('C15 row security', 'row_security', %as, object => qr/guarded/);
($reason) = select_rows('plugin', 'ok', qr/wal2json/, rows(%as));
like($reason->{message}, qr/CREATE on database "app" and does not own 3/, 'auto: why wal2json');
mends('who may publish', 'plugin', %as, plugin => 'pgoutput', message => qr/does not own 3/);
ok(select_rows('plugin', 'ok', qr/pgoutput/, rows(%as)), 'auto: pgoutput then');
ok(!grep({ $_->{severity} eq 'error' } rows(%as)), 'a role that is no superuser: all green')
  or diag say_rows(rows(%as));
$pair->source_sql('SELECT lo_unlink(4711); DROP SCHEMA "a.b" CASCADE');

# --- I01-I03: replica identities
{
    my $identity = $pair->database('identity');
    $identity->source_sql(<<'SQL');
CREATE TABLE no_key (a int);
CREATE TABLE "odd
name; -- ""x""" (a int);
CREATE TABLE unique_only (a int NOT NULL, b int NOT NULL, UNIQUE (a, b));
CREATE TABLE unique_null (a int UNIQUE, b int NOT NULL);
CREATE UNIQUE INDEX ON unique_null (b) WHERE b > 0;
CREATE TABLE deferrable_key (id int PRIMARY KEY DEFERRABLE);
CREATE TABLE nothing (id int PRIMARY KEY);
ALTER TABLE nothing REPLICA IDENTITY NOTHING;
CREATE TABLE lost_index (id int NOT NULL UNIQUE);
ALTER TABLE lost_index REPLICA IDENTITY USING INDEX lost_index_id_key;
ALTER TABLE lost_index DROP CONSTRAINT lost_index_id_key;
CREATE TABLE root (id int, k int) PARTITION BY LIST (k);
CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1);
CREATE TABLE full_already (a int);
ALTER TABLE full_already REPLICA IDENTITY FULL;
CREATE TABLE by_index (a int NOT NULL);
CREATE UNIQUE INDEX by_index_a ON by_index (a);
ALTER TABLE by_index REPLICA IDENTITY USING INDEX by_index_a;
CREATE UNLOGGED TABLE unlogged (a int);
CREATE DOMAIN reference AS oid; CREATE DOMAIN again AS reference; CREATE TYPE packed AS (a int, r again[]);
CREATE TYPE span AS RANGE (subtype = oid); CREATE TYPE other AS (a int, r regclass);
CREATE TABLE oids (id int PRIMARY KEY, o oid, many oid[], "a b" reference, r regclass, d again, p packed[], s span,
    m span_multirange, n other);
INSERT INTO no_key VALUES (1); INSERT INTO "odd
name; -- ""x""" VALUES (1); INSERT INTO unique_only VALUES (1, 1);
INSERT INTO unique_null VALUES (1, 1); INSERT INTO deferrable_key VALUES (1);
INSERT INTO nothing VALUES (1); INSERT INTO lost_index VALUES (1); INSERT INTO root VALUES (1, 1);
CREATE TABLE empty (a int);
CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far_away (a int) SERVER nowhere;
SQL
    my %in = (pair => $identity);
    my @rows = rows(%in);
    is_deeply(
        [ sort map { $_->{object} } select_rows('replica_identity', 'error', undef, @rows) ],
        [ sort map { "\"public\".$_" } '"no_key"', "\"odd\nname; -- \"\"x\"\"\"", '"unique_only"',
            '"unique_null"', '"deferrable_key"', '"nothing"', '"lost_index"', '"leaf"' ],
        'I01-I03 the tables without a usable replica identity');
    ok(select_rows('replica_identity', 'warning', qr/"empty"/, @rows), 'I01 an empty table: a warning')
      or diag say_rows(@rows);
    ok(select_rows('unlogged_tables', 'notice', qr/"unlogged"/, @rows), 'C20 unlogged is announced');
    my ($oids) = select_rows('oid_columns', 'notice', undef, @rows);
    like($oids->{message}, qr/"oids" has OIDs in o, many, "a b", d, p, s, m:/, 'T07 OIDs are announced');
    ok(select_rows('foreign_tables', 'notice', qr/"far_away"/, @rows), 'C20 foreign is announced');
    ok(select_rows('deferrable_keys', 'warning', qr/deferrable_key/, @rows), 'I10 a deferrable key');
    my ($row) = select_rows('replica_identity', 'error', qr/unique_only/, @rows);
    like($row->{fix}, qr/^ALTER TABLE .* USING INDEX "unique_only_a_b_key";\n-- or: .*FULL;\n-- or: .*ADD PRIMARY KEY/,
        'I01 three choices, the index first');
    ($row) = select_rows('replica_identity', 'error', qr/"nothing"/, @rows);
    like($row->{fix}, qr/^ALTER TABLE .* REPLICA IDENTITY DEFAULT;/, 'I03 back to the primary key');
    for my $row (select_rows('replica_identity', 'error', undef, @rows)) {
        my ($rc, $out, $err) = $source->psql('identity', $row->{fix});
        is($rc, 0, "I01-I03 the fix of $row->{object} runs as it is") or diag $row->{fix}, $err;
    }
    @rows = rows(%in);
    ok(!select_rows('replica_identity', 'error', undef, @rows), 'I01-I03 mended') or diag say_rows(@rows);
}
$pair->source_sql('CREATE TABLE no_key (a int); INSERT INTO no_key VALUES (1)');
refuses('I01 migration_start', qr/^55000/, {}, qr/no primary key/);
{
    # Accepted, and stopped by something else that is checked later.
    my $error = refuses('I01 accepted as insert-only', qr/^42P01/,
        { options => { insert_only_tables => ['public.no_key'] }, on_existing => 'truncate' });
    unlike($error->{all}, qr/no_key.* no primary key/, 'I01 no error about the accepted table');
}

# --- several errors at once: the first is the message, the others the detail, all fixes the hint
$pair->source_sql('CREATE TABLE no_key_either (a int); INSERT INTO no_key_either VALUES (1)');
{
    my $error = refuses('two errors', qr/^55000/, {}, qr/"no_key" has no primary key/);
    like($error->{detail}, qr/Also replica_identity: table "public"\."no_key_either"/, 'the other one');
    like($error->{hint}, qr/^ALTER TABLE "public"\."no_key" REPLICA IDENTITY FULL;.*^-- replica_identity, "public"\."no_key_either":\nALTER TABLE "public"\."no_key_either" REPLICA IDENTITY FULL;/ms,
        'the fixes of both');
    my ($rc, $out, $err) = $source->psql('app', $error->{hint});
    is($rc, 0, 'the hint runs as it is') or diag $error->{hint}, $err;
    ok(!select_rows('replica_identity', 'error', undef, rows()), 'both are mended');
}
$pair->source_sql('DROP TABLE no_key, no_key_either');

# --- names that are taken
$pair->source_sql("SELECT pg_create_physical_replication_slot('livemigrate_main')");
mends('S17 the slot is there', 'slot_exists');
$pair->source_sql('CREATE PUBLICATION livemigrate_main; CREATE PUBLICATION livemigrate_main_insert');
mends('S17 the publication is there', 'publication');
$pair->source_sql('CREATE SCHEMA livemigrate; CREATE TABLE livemigrate.migration (id int PRIMARY KEY)');
mends('N04 a schema of our name', 'own_schema');
$pair->source_sql('DROP SCHEMA livemigrate_source CASCADE');

$pair->target_sql("SELECT pg_replication_origin_create('livemigrate_main')");
{
    my $row = finds('G12 a migration of this name in another database', 'origin_exists');
    my ($drop) = $row->{fix} =~ /^-- or: (SELECT .*?;)/m;
    $pair->target_sql($drop // 'no choice');
    ok(select_rows('origin_exists', 'ok', undef, rows()), 'G12 mended');
}

# --- the options existing_slot and publication
{
    my $slots = $pair->database('slots');
    $slots->source_sql(<<'SQL');
CREATE TABLE here (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);
CREATE PUBLICATION partial FOR TABLE here;
CREATE PUBLICATION inserts FOR ALL TABLES WITH (publish = 'insert');
CREATE PUBLICATION via_root FOR ALL TABLES WITH (publish_via_partition_root);
SELECT pg_create_physical_replication_slot('physical');
SELECT pg_create_logical_replication_slot('other_plugin', 'test_decoding');
SELECT pg_create_logical_replication_slot('right', 'pgoutput');
SQL
    $source->safe_psql('postgres', "SELECT pg_create_logical_replication_slot('elsewhere', 'pgoutput')");
    my $refuse = sub {
        my ($label, $sqlstate, $message, %options) = @_;
        my %more = %{ delete $options{more} // {} };
        return $slots->assert_error($slots->start_sql(options => \%options, %more), $label,
            sqlstate => $sqlstate, message => $message);
    };
    $refuse->('I7 no such slot', qr/^42704/, qr/does not exist/, existing_slot => 'no_such_slot');
    $refuse->('I7 a physical slot', qr/^55000/, qr/not a logical/, existing_slot => 'physical');
    $refuse->('I7 another plugin', qr/^0A000/, qr/test_decoding/, existing_slot => 'other_plugin');
    $refuse->('I7 another database', qr/^55000/, qr/"postgres"/, existing_slot => 'elsewhere');
    $refuse->('I7 not the plugin asked for', qr/^22023/, qr/not wal2json/,
        existing_slot => 'right', more => { plugin => 'wal2json' });
    $refuse->('I7 pgoutput without a publication', qr/^22023/, qr/publication/, existing_slot => 'right');
    $refuse->('no such publication', qr/^42704/, qr/"nowhere" does not exist/,
        existing_slot => 'right', publication => 'nowhere');
    my %fixed = (partial => qr/lacks 1 selected table: "public"."other"/,
        inserts => qr/every kind of change/, via_root => qr/as the root's/);
    for my $name (sort keys %fixed) {
        my %options = (existing_slot => 'right', publication => $name);
        my $error = $refuse->("publication $name", qr/^55000/, $fixed{$name}, %options);
        # What is altered now leaves changes out that the slot has to send: it takes a new one.
        my ($alter) = $error->{hint} =~ /^-- (ALTER PUBLICATION .*;) -- and then make the slot anew/;
        $slots->source_sql($alter);
        $slots->source_sql("SELECT pg_drop_replication_slot('right')");
        $slots->source_sql("SELECT pg_create_logical_replication_slot('right', 'pgoutput')");
        # What is missing now is the schema.
        $refuse->("publication $name mended", qr/^42P01/, qr/target lacks/, %options);
    }
    $slots->source_sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots");
}

# --- the filter
refuses('a pattern without a table', qr/^42P01/, { include_tables => ['public.tt'] }, qr/'public\.tt'/);
$pair->source_sql('CREATE TABLE r (k int PRIMARY KEY) PARTITION BY LIST (k);'
      . ' CREATE TABLE r_1 PARTITION OF r FOR VALUES IN (1)');
refuses('C09 a root without its partition', qr/^22023/, { include_tables => ['public.r'] },
    qr/partition "public"."r_1" is left out/);
$pair->source_sql('DROP TABLE r');

# --- extensions
$pair->source_sql("CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'pg_nowhere' WHERE extname = 'hstore'");
like(finds('G11 an extension', 'extensions', object => qr/pg_nowhere/)->{fix},
    qr/^-- on the target's machine: apt-get install postgresql-\d+-pg-nowhere$/, 'G11 names a package');
$pair->source_sql("UPDATE pg_extension SET extname = 'citus' WHERE extname = 'pg_nowhere'");
like(finds('a database of another kind', 'table_extensions', object => qr/citus/)->{fix},
    qr{^-- see "A source with Citus" in doc/citus\.md: }, 'a database of another kind: where to read on');
$pair->source_sql("UPDATE pg_extension SET extname = 'hstore' WHERE extname = 'citus'; DROP EXTENSION hstore");

# --- what the target has already
$pair->source_sql(<<'SQL');
CREATE SCHEMA "we ird"; CREATE TYPE "we ird".mood AS ENUM ('a'); CREATE VIEW v AS SELECT 1 AS one;
CREATE FUNCTION f(a int, b "we ird".mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f(a int) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT lo_create(0);
SQL
$pair->target_sql(<<'SQL');
CREATE SCHEMA "we ird"; CREATE TYPE "we ird".mood AS ENUM ('a'); CREATE SEQUENCE v;
CREATE FUNCTION f(a int, b "we ird".mood) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION f(a text) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE TABLE t (id int); CREATE VIEW on_t AS SELECT * FROM t;
SELECT lo_create(0);
SQL
mends('C13 objects in the way', 'target_empty', on => $target,
    message => qr/^the target database has 4 objects.*"f"\(a integer, b "we ird"."?mood"?\)/);
mends('C13 large objects', 'target_large_objects', on => $target);
is($pair->target_sql("SELECT count(*) FROM pg_proc WHERE proname = 'f'"), '1', 'C13 another one stays');
$pair->target_sql('CREATE TABLE not_ours (id int)');
finds('C13 a database with other tables', 'target_empty', message => qr/not empty.*"not_ours"/);
refuses('C13 skip_schema without tables', qr/^42P01/, { on_existing => 'skip_schema' },
    qr/lacks 1 selected table: "public"\."t"/);
$pair->target_sql('CREATE TABLE t (id int); INSERT INTO t VALUES (1)');
{
    my $error = refuses('C13 skip_schema with rows', qr/^55000/, { on_existing => 'skip_schema' },
        qr/have rows already: "public"\."t"/);
    like($error->{hint}, qr/^TRUNCATE "public"\."t";/, 'C13 the fix');
}
$pair->target_sql('DROP TABLE t, not_ours; DROP FUNCTION f; DROP SCHEMA "we ird"');

# --- the caller on the target
$pair->target_sql('CREATE ROLE operator; GRANT USAGE ON SCHEMA livemigrate TO operator;'
      . ' GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA livemigrate TO operator');
$pair->target_sql('ALTER SYSTEM SET livemigrate.source_password_required = off');
$target->reload;
$target->poll_query_until('postgres', "SELECT current_setting('livemigrate.source_password_required') = 'off'");
SKIP: {
    skip 'GRANT SET ON PARAMETER came with 15', 3
      if $target->safe_psql('postgres', 'SHOW server_version_num') < 150000;
    mends('G04 the caller', 'target_rights', on => $target, set => 'SET ROLE operator;',
        message => qr/session_replication_role/);
}

# --- encodings
{
    my $ascii = $pair->database('ascii', encoding => 'SQL_ASCII');
    finds('D10 SQL_ASCII', 'encoding', pair => $ascii);
    my $latin = $pair->database('latin', encoding => 'LATIN1');
    my @rows  = rows(pair => $latin, plugin => 'wal2json');
    ok(select_rows('encoding', 'ok', undef, @rows), 'D09 LATIN1 is converted');
    ok(select_rows('plugin_encoding', 'warning', undef, @rows), 'D09 wal2json does not do it');
    my $narrow = $pair->database('narrow', target_encoding => 'LATIN1');
    finds('D09 a narrower target', 'encoding', pair => $narrow, severity => 'warning');
}

# --- the two servers
finds('source and target are the same', 'same_server',
    as => { host => $target->host, port => $target->port });
finds('two databases of one server', 'same_server', severity => 'notice',
    as => { host => $target->host, port => $target->port, dbname => 'postgres' });
$pair->target_sql("ALTER SYSTEM SET livemigrate.client_bin_dir = '/nonexistent'");
$target->reload;
$target->poll_query_until('app', "SELECT current_setting('livemigrate.client_bin_dir') ~ 'non'");
finds('no pg_dump', 'client_binaries', object => qr/pg_dump/, message => qr/could not find/);
finds('no pg_restore', 'client_binaries', object => qr/pg_restore/);
$pair->target_sql('ALTER SYSTEM RESET livemigrate.client_bin_dir');
$target->reload;

# --- standbys
for my $node ($source, $target) {
    $node->backup('standby_base');
    my $standby = PostgreSQL::Test::Cluster->new($node->name . '_standby');
    $standby->init_from_backup($node, 'standby_base', has_streaming => 1);
    $standby->start;
    if ($node == $source) {
        $standby->poll_query_until('app', 'SELECT count(*) = 1 FROM t WHERE id = 1');
        finds('S06 the source is a standby', 'source_recovery',
            as => { host => $standby->host, port => $standby->port });
    } else {
        my $given = LiveMigrate::Test::quote_literal($pair->conninfo);
        is( $standby->safe_psql('app', 'SELECT severity FROM livemigrate.migration_check('
                  . "$given) WHERE check_id = 'target_recovery'"),
            'error', 'G03 the target is a standby');
    }
    $standby->stop('immediate');
}

# --- settings that need a restart: too small all at once, then what the fixes say
$pair->source_sql("SELECT pg_create_physical_replication_slot('only_one')");
my %small = (
    $source => "wal_level = replica\nmax_replication_slots = 1\nmax_wal_senders = 0\n"
      . "max_connections = 20\nmax_locks_per_transaction = 10\nold_snapshot_threshold = 10min\n",
    $target => "max_worker_processes = 3\nmax_replication_slots = 0\nmax_wal_senders = 0\n"
      . "max_connections = 20\nmax_locks_per_transaction = 10\n");
for my $node ($source, $target) {
    my $conf = $small{$node};
    $conf =~ s/old_snapshot_threshold.*\n//
      if $node->safe_psql('postgres', 'SHOW server_version_num') >= 170000;
    $conf =~ s/max_replication_slots = 0/max_active_replication_origins = 0/
      if $node->safe_psql('postgres', 'SHOW server_version_num') >= 180000;
    $small{$node} = $conf;
    $node->append_conf('postgresql.conf', $conf);
    $node->adjust_conf('postgresql.conf', 'shared_preload_libraries', undef) if $node == $target;
    $node->restart;
}
my $many = join ' ', map { "CREATE TABLE many_$_ (id int PRIMARY KEY);" } 1 .. 400;
$pair->source_sql($many);
my @rows = rows();
my @wanted = (
    [ $source, 'wal_level' ], [ $source, 'replication_slots' ], [ $source, 'wal_senders' ],
    [ $source, 'source_locks' ], [ $target, 'target_workers' ], [ $target, 'target_origins' ],
    [ $target, 'target_locks' ], [ $target, 'preload', 'notice' ]);
push @wanted, [ $source, 'old_snapshot_threshold' ] if $small{$source} =~ /old_snap/;
for my $one (@wanted) {
    my ($node, $check_id, $severity) = @$one;
    my ($row) = select_rows($check_id, $severity // 'error', undef, @rows);
    ok($row, "$check_id: found") or diag say_rows(@rows);
    my ($rc, $out, $err) = $node->psql('app', $row->{fix} // 'no fix');
    is($rc, 0, "$check_id: the fix runs as it is") or diag $row->{fix}, $err;
}
$_->restart for $source, $target;
@rows = rows();
for my $one (@wanted) {
    my ($node, $check_id, $severity) = @$one;
    ok(!select_rows($check_id, $severity // 'error', undef, @rows), "$check_id: mended")
      or diag say_rows(@rows);
}
$pair->source_sql("SELECT pg_drop_replication_slot('only_one')");

assert_fixes($pair, 'every fix can be pasted');
$pair->assert_nothing_left('all these checks have changed nothing');
done_testing();
