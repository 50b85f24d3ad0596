# migration_check with the arguments of migration_start; and what it knows of extensions, of the
# caller's rights on the target, of the disk and of triggers of tables that are there already. Each
# finding is provoked, its fix is run as it is, and then the check is green.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Checks;
use LiveMigrate::Test;
use Test::More;

my $limit = 'timescaledb.max_tuples_decompressed_per_dml_transaction';
my $pair  = LiveMigrate::Test->new(source_conf => "max_connections = 30\n", target_conf => "$limit = 5\n");
my ($source, $target) = ($pair->source, $pair->target);
my $version = $target->safe_psql('postgres', 'SHOW server_version_num');

sub rows { my ($on, %arg) = @_; return keep_rows($on->check_rows(%arg)) }

# The rows of a check that are not ok.
sub found {
    my ($on, $check_id, %arg) = @_;
    return grep { $_->{check_id} eq $check_id && $_->{severity} ne 'ok' } rows($on, %arg);
}

sub finds {
    my ($on, $label, $check_id, $severity, $message, %arg) = @_;
    my @found = found($on, $check_id, %arg);
    my ($row) = grep { $_->{severity} eq $severity && $_->{message} =~ $message } @found;
    ok($row, "$label: found") or diag explain \@found;
    return $row // { fix => 'no fix', message => '' };
}

sub is_green {
    my ($on, $label, $check_id, %arg) = @_;
    my @left = found($on, $check_id, %arg);
    ok(!@left, "$label: green") or diag explain \@left;
    return;
}

sub mends {
    my ($on, $label, $check_id, $severity, $message, $node, %arg) = @_;
    my $row = finds($on, $label, $check_id, $severity, $message, %arg);
    my ($rc, $out, $err) = $node->psql($on->dbname, $row->{fix});
    is($rc, 0, "$label: the fix runs as it is") or diag $row->{fix}, $err;
    is_green($on, $label, $check_id, %arg);
    return $row;
}

# --- which tables
{
    my $chosen = $pair->database('chosen');
    $chosen->source_sql(<<'SQL');
CREATE TABLE here (id int PRIMARY KEY);
CREATE TABLE no_key (id int); INSERT INTO no_key VALUES (1);
CREATE UNLOGGED TABLE apart (id int PRIMARY KEY);
CREATE TABLE r (k int PRIMARY KEY) PARTITION BY LIST (k); CREATE TABLE r_1 PARTITION OF r FOR VALUES IN (1);
CREATE FOREIGN DATA WRAPPER nothing; CREATE SERVER nowhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE far_away (id int) SERVER nowhere;
SQL
    finds($chosen, 'all tables', 'replica_identity', 'error', qr/"no_key"/);
    finds($chosen, 'all tables', 'foreign_tables', 'notice', qr/"far_away"/);
    my @without = rows($chosen, exclude_tables => [ 'public.no_key', 'public.apart', 'public.far_away' ]);
    is_deeply([ map { $_->{message} } grep { join(' ', $_->{object} // '', $_->{message}) =~ /no_key|apart|far_away/ } @without ],
        [], 'what is excluded has no findings');
    is_green($chosen, 'excluded', $_, exclude_tables => ['public.*']) for qw(replica_identity foreign_tables);
    my ($tables) = grep { $_->{check_id} eq 'tables' } rows($chosen, include_tables => ['public.here']);
    like($tables->{message}, qr/^1 table selected/, 'include_tables');
    is_green($chosen, 'rows left out', 'unlogged_tables', exclude_table_data => ['public.apart']);

    my $row = finds($chosen, 'a mistyped pattern', 'table_patterns', 'error',
        qr/'public\.heer' of include_tables selects no table/, include_tables => ['public.heer']);
    like($row->{fix}, qr/^-- write schema\.table/, 'a mistyped pattern: the fix');
    is_green($chosen, 'a pattern', 'table_patterns', include_tables => ['public.here']);
    $row = finds($chosen, 'a root alone', 'partitions', 'error', qr/partition "public"\."r_1" is left out/,
        include_tables => ['public.r']);
    my ($add) = $row->{fix} =~ /^-- add to include_tables: "public"\."(\w+)"$/;
    is_green($chosen, 'a root with it', 'partitions', include_tables => [ 'public.r', 'public.' . ($add // '') ]);
    finds($chosen, 'a partition excluded', 'partitions', 'warning', qr/partition "public"\."r_1" is left out/,
        exclude_tables => ['public.r_1']);
}

# --- how many jobs, which name
{
    $pair->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
    finds($pair, 'table_jobs', 'source_connections', 'warning', qr/^36 connections .* are needed/, table_jobs => 32);
    is_green($pair, 'table_jobs', 'source_connections', table_jobs => 1);
    my ($memory) = grep { $_->{check_id} eq 'target_memory' } rows($pair, index_jobs => 7);
    like($memory->{message}, qr/^7 index workers/, 'index_jobs');
    $pair->source_sql(q{SELECT pg_create_physical_replication_slot('livemigrate_main')});
    finds($pair, 'the name', 'slot_exists', 'error', qr/"livemigrate_main" already/);
    is_green($pair, 'another name', 'slot_exists', migration => 'other');
    $pair->source_sql(q{SELECT pg_drop_replication_slot('livemigrate_main')});
}

# --- what is on the target, and its triggers. While changes are applied TimescaleDB's limit is off,
# which a trigger sees without TimescaleDB, too.
{
    $pair->target_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (7)');
    finds($pair, 'a table in the way', 'target_empty', 'error', qr/names that the source's need/);
    is_green($pair, 'on_existing', 'target_empty', on_existing => 'truncate');
    $pair->source_sql('CREATE TABLE later (id int PRIMARY KEY)');
    finds($pair, 'a table that is not there', 'target_tables', 'error', qr/lacks 1 selected table: "public"\."later"/,
        on_existing => 'truncate');
    is_green($pair, 'all tables are there', 'target_tables', on_existing => 'truncate', exclude_tables => ['public.later']);
    $pair->source_sql('DROP TABLE later');
    mends($pair, 'a table with rows', 'target_rows', 'error', qr/rows already: "public"\."t"/, $target,
        on_existing => 'skip_schema');

    $pair->target_sql(<<'SQL');
CREATE TABLE seen (id int, value text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN INSERT INTO public.seen
    VALUES (NEW.id, current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true)); RETURN NULL; END$$;
CREATE TRIGGER notes AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
CREATE RULE "al so" AS ON DELETE TO t DO ALSO DELETE FROM seen;
ALTER TABLE t ENABLE ALWAYS TRIGGER notes; ALTER TABLE t ENABLE REPLICA RULE "al so";
SQL
    is_green($pair, 'triggers of the source', 'firing_triggers');
    my @with = (on_existing => 'truncate');
    finds($pair, 'a rule of the target', 'firing_triggers', 'warning', qr/^rule "al so" of table .* of the target fires/, @with);
    my @firing = found($pair, 'firing_triggers', @with);
    is(scalar @firing, 2, 'both fire') or diag explain \@firing;
    $pair->start(@with);
    $pair->wait_stage('streaming');
    $pair->source_sql('INSERT INTO t VALUES (2)');
    ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM seen WHERE id = 2') eq '1' }), 'a change has come');
    is($pair->target_sql('SELECT string_agg(id || $$ $$ || value, $$, $$ ORDER BY id) FROM seen'), '1 0, 2 0',
        'copy and apply have no limit of decompressed rows');
    $pair->abort;
    for my $row (@firing) {
        my ($rc, $out, $err) = $target->psql('app', $row->{fix});
        is($rc, 0, "the fix of $row->{message} runs as it is") or diag $row->{fix}, $err;
    }
    is_green($pair, 'triggers of the target', 'firing_triggers', @with);
    $pair->target_sql('DROP TABLE seen CASCADE; DROP TABLE t CASCADE; DROP FUNCTION note');

    $pair->source_sql('CREATE RULE "al so" AS ON DELETE TO t DO ALSO NOTIFY t; ALTER TABLE t ENABLE ALWAYS RULE "al so"');
    is_green($pair, 'a rule of a table that is left out', 'firing_triggers', exclude_tables => ['public.t']);
    mends($pair, 'a rule of the source', 'firing_triggers', 'warning', qr/^rule "al so" of table "public"\."t" fires/, $source);
    $pair->source_sql('DROP RULE "al so" ON t');
}

# --- a slot that is there: nothing is copied
{
    $pair->source_sql(q{CREATE PUBLICATION everything FOR ALL TABLES;
        SELECT pg_create_logical_replication_slot('given', 'pgoutput')});
    my @with = (options => { existing_slot => 'given', publication => 'everything' });
    is_green($pair, 'no limit', 'slot_wal_limit', @with);
    $pair->set_and_wait($source, 'max_slot_wal_keep_size', "'1GB'");
    my $row = finds($pair, 'an existing slot', 'slot_wal_limit', 'warning', qr/is 1GB: .* start again; that is .* of WAL from now$/, @with);
    unlike($row->{message}, qr/copying/, 'an existing slot: nothing is copied');
    my ($rc, $out, $err) = $source->psql('app', $row->{fix});
    is($rc, 0, 'an existing slot: the fix runs as it is') or diag $err;
    ok($pair->poll(sub { !found($pair, 'slot_wal_limit', @with) }), 'an existing slot: green');
    $pair->source_sql(q{SELECT pg_drop_replication_slot('given'); DROP PUBLICATION everything});
}

# --- what goes onto the target's disk
{
    my $disk = $pair->database('disk');
    my $said = sub { my ($row) = grep { $_->{check_id} eq 'target_disk' } rows($disk, @_); return $row->{message} };
    $disk->source_sql(<<'SQL');
CREATE TABLE small (id int PRIMARY KEY);
CREATE TABLE big (id int PRIMARY KEY, v text);
INSERT INTO big SELECT g, repeat('x', 100) FROM generate_series(1, 50000) g;
CREATE INDEX ON big (v, id); VACUUM ANALYZE big;
SQL
    like($said->(), qr/^1\d(\.\d)? MB of tables and indexes and up to/, 'tables and indexes');
    like($said->(exclude_table_data => ['public.big']), qr/^\d+ (?:bytes|kB) of tables and indexes and up to/,
        'a table that is left out takes its indexes with it');
    $disk->source_sql(q{CREATE MATERIALIZED VIEW shown AS SELECT * FROM big; SELECT lo_from_bytea(0, repeat('l', 3000000)::bytea)});
    like($said->(), qr/ of tables and indexes, \d{4} kB of materialized views, \d+ kB of large objects and up to/,
        'materialized views and large objects');
}

# --- extensions
my $operator = $pair->database('operator');
$target->safe_psql('operator', <<'SQL');
CREATE ROLE operator LOGIN;
GRANT CREATE ON DATABASE operator TO operator;
GRANT USAGE ON SCHEMA livemigrate TO operator;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA livemigrate TO operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA livemigrate TO operator;
ALTER SYSTEM SET livemigrate.source_password_required = off;
SQL
$target->reload;
$target->poll_query_until('operator', "SELECT current_setting('livemigrate.source_password_required') = 'off'");
my @as = (set => 'SET ROLE operator;');
{
    $operator->source_sql('CREATE SCHEMA "Ext"; CREATE EXTENSION hstore SCHEMA "Ext"; CREATE EXTENSION dblink SCHEMA "Ext"');
    is_green($operator, 'a superuser', 'extensions');
    my @found = found($operator, 'extensions', @as);
    is(join(' ', map { $_->{object} } @found), '"dblink"', 'one of them is not trusted') or diag explain \@found;
    mends($operator, 'not trusted', 'extensions', 'error', qr/^extension "dblink" .* takes a superuser/, $target, @as);
    is($operator->target_sql(q{SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'dblink'}), '"Ext"',
        'it is where it is on the source');

    # T05: in another schema; where something uses it, that could not be created.
    $operator->target_sql('CREATE EXTENSION hstore');
    mends($operator, 'T05 another schema', 'extensions', 'warning', qr/"hstore" is in schema "Ext" on the source and in "public"/, $target);
    $operator->target_sql('ALTER EXTENSION hstore SET SCHEMA public');
    $operator->source_sql('CREATE TABLE uses (id int PRIMARY KEY, h "Ext".hstore[])');
    is_green($operator, 'T05 with tables that are there', 'extensions', on_existing => 'truncate');
    mends($operator, 'T05 another schema, and used', 'extensions', 'error', qr/what uses it cannot be created/, $target);
    $operator->source_sql('CREATE EXTENSION xml2 SCHEMA "Ext"');
    $operator->target_sql('CREATE EXTENSION xml2');
    mends($operator, 'T05 one that cannot be moved', 'extensions', 'warning', qr/"xml2" is in schema/, $target);

    # versions
    $operator->target_sql(q{DROP EXTENSION hstore; CREATE EXTENSION hstore SCHEMA "Ext" VERSION '1.4'});
    mends($operator, 'an older version', 'extension_versions', 'warning', qr/"hstore" is version [\d.]+ on the source and will be 1\.4 on the target, which is older/, $target);
    $operator->source_sql(q{UPDATE pg_extension SET extversion = '9.10' WHERE extname = 'hstore'});
    like(finds($operator, 'a version that the target has not', 'extension_versions', 'warning', qr/which is older/)->{fix},
        qr/^-- on the target's machine: apt-get install --only-upgrade postgresql-\d+$/, 'its fix');
    $operator->source_sql(q{UPDATE pg_extension SET extversion = '0.10' WHERE extname = 'hstore'});
    finds($operator, 'a newer version', 'extension_versions', 'notice', qr/version 0\.10 on the source and will be [\d.]+ on the target$/);
    $operator->source_sql('DROP EXTENSION hstore CASCADE; DROP EXTENSION xml2; DROP EXTENSION dblink; DROP SCHEMA "Ext" CASCADE; DROP TABLE uses');
    $operator->target_sql('DROP EXTENSION hstore, xml2, dblink; DROP SCHEMA "Ext"');

    # What refuses to be loaded by a session, of what is installed here.
    my $name = $operator->target_sql(q{SELECT name FROM pg_available_extensions
        WHERE name IN ('citus', 'pg_cron', 'pg_net', 'pg_squeeze', 'pgaudit', 'pglogical', 'timescaledb') ORDER BY 1 LIMIT 1});
    SKIP: {
        skip 'no extension is installed that must be preloaded', 3 unless $name;
        $operator->source_sql("CREATE EXTENSION hstore; UPDATE pg_extension SET extname = '$name' WHERE extname = 'hstore'");
        my $row = finds($operator, 'not preloaded', 'extensions', 'error', qr/only be created where it is in shared_preload_libraries of the target: $name$/);
        $target->safe_psql('operator', $row->{fix});
        $target->restart;
        is_green($operator, 'preloaded', 'extensions');
        like($target->safe_psql('operator', 'SHOW shared_preload_libraries'), qr/livemigrate.*$name/, 'what was there stays');
        $operator->source_sql("UPDATE pg_extension SET extname = 'hstore' WHERE extname = '$name'; DROP EXTENSION hstore");
        $target->safe_psql('operator', 'ALTER SYSTEM RESET shared_preload_libraries');
        $target->restart;
    }

    # An extension of that name: what is asked of TimescaleDB itself is its version.
    my $is = sub { $operator->target_sql("UPDATE pg_extension SET extversion = '$_[0]' WHERE extname = 'timescaledb'") };
    $operator->target_sql(q{CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'timescaledb', extversion = '2.11.2' WHERE extname = 'hstore'});
    like(finds($operator, 'an old TimescaleDB', 'hypertables', 'error', qr/^TimescaleDB 2\.11\.2 is too old: its jobs cannot be stopped/)->{fix},
        qr/^ALTER EXTENSION timescaledb UPDATE;/, 'an old TimescaleDB: the fix');
    $is->('2.12.0');
    is_green($operator, 'a newer TimescaleDB', 'hypertables');

    # The columns that place rows, and how long chunks are.
    $operator->source_sql(<<'SQL');
CREATE TYPE mood AS ENUM ('good'); CREATE DOMAIN words AS text[]; CREATE DOMAIN docs AS json[];
CREATE TABLE h (at timestamptz, d date, n int2, big int8, code varchar(9), m mood, w words, docs docs, j json,
    p point, twice int GENERATED ALWAYS AS (n * 2) STORED);
ALTER TABLE h ALTER at SET NOT NULL, ALTER d SET NOT NULL, ALTER n SET NOT NULL, ALTER big SET NOT NULL;
SQL
    my $entry = sub { my ($time, %more) = @_; return (options => { hypertables => [ { table => 'h', time_column => $time, %more } ] }) };
    my $by = sub { $entry->('at', partition_column => $_[0], partitions => 2) };
    for my $case (
        [ qr/^chunk_interval '86400000000' of table "public"\."h" is a number, while column "at" is of type timestamptz$/,
            $entry->('at', chunk_interval => 86400000000) ],
        [ qr/is a number, while column "d" is of type date$/, $entry->('d', chunk_interval => '7') ],
        [ qr/^chunk_interval '7 dyas' .* is no interval: invalid input syntax for type interval: "7 dyas"$/,
            $entry->('at', chunk_interval => '7 dyas') ],
        [ qr/'-1 day' .* is not positive$/, $entry->('at', chunk_interval => '-1 day') ],
        [ qr/'36 hours' .* is no whole number of days, as column "d" of type date needs$/, $entry->('d', chunk_interval => '36 hours') ],
        [ qr/'7 days' .* is no number from 1 to 32767, as the integer time of column "n" needs$/, $entry->('n', chunk_interval => '7 days') ],
        [ qr/'40000' .* is no number from 1 to 32767/, $entry->('n', chunk_interval => 40000) ],
        [ qr/'0' .* is no number from 1 to \d{19},/,   $entry->('big', chunk_interval => 0) ],
        [ qr/'1\.5' .* is no number/, $entry->('big', chunk_interval => 1.5) ],
        [ qr/^column "n" .* for which TimescaleDB before 2\.13 has no default length of chunks$/, $entry->('n') ],
        [ qr/^partition_column of table "public"\."h" is its time_column$/, $by->('at') ],
        [ qr/^table "public"\."h" has no column "nosuch"/, $by->('nosuch') ],
        [ qr/^column "twice" .* it is generated$/, $by->('twice') ],
        map { [ qr/^column "$_" .* its type has no hash function$/, $by->($_) ] } qw(j p docs)) {
        my ($message, @options) = @$case;
        like(finds($operator, "a hypertable's $message", 'hypertables', 'error', $message, @options)->{fix},
            qr/^-- (?:write an? |add chunk_interval|name )/, '... with a fix');
    }
    is_green($operator, "a hypertable's $_->[1]", 'hypertables', @{ $_->[0] })
      for map { [ [ $entry->(@$_) ], join ' ', @$_ ] } [ at => chunk_interval => '1 year 6 hours' ], [ d => chunk_interval => '1 mon 24:00' ],
      [ n => chunk_interval => 32767 ], [ big => chunk_interval => '86400' ];
    is_green($operator, "a hypertable by $_", 'hypertables', $by->($_)) for qw(n code m w);
    $is->('2.13.0');
    is_green($operator, 'a default length for integers', 'hypertables', $entry->('n'));
    $operator->target_sql(q{UPDATE pg_extension SET extname = 'hstore' WHERE extname = 'timescaledb'; DROP EXTENSION hstore});
    $operator->source_sql('DROP TABLE h; DROP DOMAIN words, docs; DROP TYPE mood');
}

# --- the caller's rights on the target, one after the other; with all of them the migration runs
SKIP: {
    skip 'GRANT SET ON PARAMETER came with 15', 1 if $version < 150000;
    $operator->source_sql(<<'SQL');
CREATE ROLE "Own er" LOGIN; CREATE ROLE other;
CREATE TABLE owned (id int PRIMARY KEY); ALTER TABLE owned OWNER TO "Own er"; INSERT INTO owned VALUES (1);
CREATE SCHEMA apart; CREATE TYPE apart.mood AS ENUM ('good'); CREATE TABLE apart.moods (id int PRIMARY KEY, m apart.mood);
ALTER SCHEMA apart OWNER TO "Own er"; ALTER TYPE apart.mood OWNER TO "Own er"; ALTER TABLE apart.moods OWNER TO "Own er";
SQL
    is_green($operator, 'a superuser', 'target_rights');
    finds($operator, 'nobody makes the owner', 'target_rights', 'error', qr/^role "Own er", which owns objects .* does not exist/,
        owner => \'true', roles => \'false');
    my $row = finds($operator, 'all rights', 'target_rights', 'error', qr/session_replication_role/, @as);
    like($row->{message}, qr/^role "operator" of the target may not set session_replication_role and may not create in schema "public" and may not create the roles that the target lacks, "Own er", "other"$/,
        'all rights: which');
    like($row->{fix}, qr/^-- or: roles => false/m, 'all rights: without roles');
    my ($without) = found($operator, 'target_rights', @as, roles => \'false');
    unlike($without->{message}, qr/roles/, 'without roles');
    unlike((found($operator, 'target_rights', @as, on_existing => 'truncate'))[0]{message}, qr/in schema/, 'with tables that are there');
    mends($operator, 'all rights', 'target_rights', 'error', qr/session_replication_role/, $target, @as);
    $row = mends($operator, 'owners', 'target_rights', 'error',
        qr/^role "operator" of the target may not make objects those of their owners, "Own er", "Own er" in schema "public"$/,
        $target, @as, owner => \'true');
    like($row->{fix}, qr/^-- or: owner => false/m, 'owners: without');
    $operator->target_sql('SET ROLE operator; ' . $operator->start_sql(owner => \'true'));
    $operator->wait_stage('streaming');
    is($operator->target_sql(q{SELECT string_agg(relname || ' ' || relowner::regrole, ', ' ORDER BY relname)
        FROM pg_class WHERE relname IN ('owned', 'moods')}), 'moods "Own er", owned "Own er"', 'the caller may do all of it');
    $operator->finish('by a role with these rights');
}

# --- single-shard tables of Citus. It is not asked for more than its catalog, so that one with its name,
# and a table of that name, do.
{
    my $shards = $pair->database('shards');
    $shards->source_sql(<<'SQL');
CREATE SCHEMA "Tenant 1"; CREATE TABLE "Tenant 1".item (id int PRIMARY KEY); INSERT INTO "Tenant 1".item VALUES (1);
CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE everywhere (id int PRIMARY KEY);
SQL
    $shards->target_sql($_) for "SET allow_system_table_mods = on;
        CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partkey text, colocationid int, repmodel \"char\");
        CREATE FUNCTION pg_catalog.column_to_column_name(regclass, text) RETURNS text LANGUAGE sql AS 'SELECT \$2';
        CREATE FUNCTION pg_catalog.undistribute_table(regclass) RETURNS void LANGUAGE sql
            AS 'DELETE FROM pg_catalog.pg_dist_partition WHERE logicalrelid = \$1';
        CREATE TABLE pg_catalog.pg_dist_schema (schemaid oid, colocationid int);
        CREATE FUNCTION pg_catalog.citus_schema_undistribute(regnamespace) RETURNS void LANGUAGE sql
            AS 'DELETE FROM pg_catalog.pg_dist_schema WHERE schemaid = \$1'",
      q(CREATE EXTENSION hstore; UPDATE pg_extension SET extname = 'citus' WHERE extname = 'hstore'),
      'ALTER DATABASE shards SET citus.enable_schema_based_sharding = on';
    is_green($shards, 'schema-based sharding, and no schema is made', 'citus', include_tables => ['public.*'],
        options => { reference_tables => ['plain'] });
    my @reference = (options => { reference_tables => ['plain'] });
    $shards->target_sql(q(CREATE SCHEMA "Tenant 1"));
    is_green($shards, 'schema-based sharding, and the schemas are there', 'citus', @reference);
    $shards->target_sql(q(INSERT INTO pg_dist_schema VALUES ('"Tenant 1"'::regnamespace, 7)));
    mends($shards, 'a distributed schema', 'citus', 'error', qr/^schema "Tenant 1" of the target is distributed/, $target, @reference);
    $shards->target_sql(q(DROP SCHEMA "Tenant 1"));
    mends($shards, 'schema-based sharding', 'citus', 'error', qr/^citus\.enable_schema_based_sharding is on/, $target, @reference);

    $shards->start(pause_after => ['schema']);
    $shards->wait_state('paused');
    $shards->target_sql(q(INSERT INTO pg_dist_partition VALUES ('"Tenant 1".item', NULL, 7, 's'), ('plain', NULL, 0, 's'),
        ('everywhere', NULL, 8, 't')));
    $shards->resume([]);
    $shards->wait_state('failed');
    my $status = $shards->status_row;
    my $single = qr/table "Tenant 1"\."item" is a single-shard table of Citus's/;
    is($status->{stage}, 'data', 'a single-shard table is found before the copy');
    like($status->{hint}, qr/^SELECT undistribute_table\('"Tenant 1"\."item"'\);\n-- or, [^\n]*\nSELECT livemigrate\.migration_resume\('shards'\);$/,
        '... with the fix, and nothing else');
    $shards->abort;
    $shards->cleanup;
    $shards->target_sql("DELETE FROM pg_dist_partition WHERE logicalrelid <> 'everywhere'::regclass");
    $shards->start(pause_after => ['schema'], on_existing => 'truncate');
    $shards->wait_state('paused');
    $shards->target_sql(q(INSERT INTO pg_dist_partition VALUES ('"Tenant 1".item', NULL, 7, 's'), ('plain', NULL, 0, 's')));
    $shards->resume([]);
    $shards->wait_state('failed');
    like($shards->status_row->{message}, qr/^$single/, 'with tables that were there, too');
    $shards->abort;
    mends($shards, 'a single-shard table', 'citus', 'error', qr/^$single/, $target, on_existing => 'truncate');
    $shards->target_sql(q(UPDATE pg_extension SET extname = 'hstore' WHERE extname = 'citus'; DROP EXTENSION hstore));
}

assert_fixes($pair, 'every fix can be pasted');
$pair->assert_nothing_left('all these checks have changed nothing');
done_testing();
