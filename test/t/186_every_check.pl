# The rest of migration_check: each finding is provoked at its severity, its fix is run as it is where
# it is SQL, done as it says where it is words, and then the check is green. Every fix can be pasted.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use JSON::PP ();
use LiveMigrate::Checks;
use LiveMigrate::Pooler;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new(
    source_conf => "listen_addresses = '127.0.0.1'\nmax_connections = 40\n");
my ($source, $target) = ($pair->source, $pair->target);
my $version = $source->safe_psql('postgres', 'SHOW server_version_num');
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1)');

sub rows {
    my ($on, %opt) = @_;
    my $given  = LiveMigrate::Test::quote_literal($opt{source} // $on->conninfo(%{ $opt{as} // {} }));
    my $plugin = $opt{plugin} // 'auto';
    my $options = LiveMigrate::Test::quote_literal(JSON::PP->new->encode($opt{options} // {}));
    return keep_rows(@{ JSON::PP->new->decode($on->target_sql("SELECT coalesce(json_agg(c), '[]')
        FROM livemigrate.migration_check($given, '$plugin', $options) c")) });
}

# The row of a check that is not ok, if there is one.
sub row_of {
    my ($on, $check_id, %opt) = @_;
    my ($row) = grep { $_->{check_id} eq $check_id && $_->{severity} ne 'ok'
          && (!$opt{object} || $_->{object} =~ $opt{object}) } rows($on, %opt);
    return $row;
}

sub finds {
    my ($on, $check_id, $severity, $message, %opt) = @_;
    my $label = $opt{label} // $check_id;
    my $row   = row_of($on, $check_id, %opt) // {};
    is($row->{severity}, $severity, "$label: found") or diag explain [ rows($on, %opt) ];
    like($row->{message} // '', $message, "$label: the message says what");
    return $row;
}

sub is_green {
    my ($on, $check_id, %opt) = @_;
    my $label = $opt{label} // $check_id;
    my $row;
    ok($on->poll(sub { $row = row_of($on, $check_id, %opt); !$row }), "$label: green") or diag explain $row;
    return;
}

sub runs {
    my ($node, $dbname, $label, $sql) = @_;
    my ($rc, $out, $err) = $node->psql($dbname, $sql);
    is($rc, 0, "$label: the fix runs as it is") or diag $sql, $err;
    return;
}

sub mends {
    my ($on, $check_id, $severity, $message, %opt) = @_;
    my $row = finds($on, $check_id, $severity, $message, %opt);
    runs($opt{on} // $source, $on->dbname, $opt{label} // $check_id, $row->{fix} // 'no fix');
    is_green($on, $check_id, %opt, %{ $opt{then} // {} });
    return $row;
}

# What only migration_start can be told; nothing is started. Gives what it says.
sub started {
    my ($on, %arg) = @_;
    my ($rc, $out, $err) = $target->psql($on->dbname, 'BEGIN; ' . $on->start_sql(%arg) . '; ROLLBACK');
    return $err;
}

# --- the selection
{
    my $none = $pair->database('none');
    my $row  = finds($none, 'tables', 'notice', qr/^no table is selected$/);
    like($row->{fix}, qr/^-- see include_tables/, 'tables: the fix');
    $none->source_sql('CREATE TABLE here (id int PRIMARY KEY)');
    is_green($none, 'tables');

    my $error = $none->target_error($none->start_sql(include_tables => ['public.heer']));
    like("$error->{message} $error->{hint}", qr/selects no table.*-- write schema\.table/s, 'table_patterns: found');
    unlike(started($none, include_tables => ['public.here']), qr/ERROR/, 'table_patterns: green');

    $none->source_sql('CREATE TABLE r (k int PRIMARY KEY) PARTITION BY LIST (k);'
          . ' CREATE TABLE r_1 PARTITION OF r FOR VALUES IN (1)');
    $error = $none->target_error($none->start_sql(include_tables => ['public.r']));
    my ($add) = $error->{hint} =~ /^-- add to include_tables: "public"\."(\w+)"/;
    is($add, 'r_1', 'partitions: the fix names it');
    unlike(started($none, include_tables => [ 'public.r', "public.$add" ]), qr/ERROR|left out/, 'partitions: green');
    like(started($none, exclude_tables => ['public.r_1']),
        qr/NOTICE:  partition "public"."r_1" is left out.*HINT:  -- nothing to do if its rows are not wanted; else leave it out of exclude_tables/s,
        'partitions, on purpose: a warning');
    unlike(started($none), qr/left out/, 'partitions, on purpose: green');
    $none->source_sql('DROP TABLE r');
}

# --- tables
{
    my $tables = $pair->database('tables');
    $tables->source_sql(<<'SQL');
CREATE TABLE root (k int) PARTITION BY LIST (k); ALTER TABLE root REPLICA IDENTITY FULL;
CREATE TABLE whole (k int PRIMARY KEY) PARTITION BY LIST (k);
CREATE TABLE half PARTITION OF whole FOR VALUES IN (1) PARTITION BY LIST (k);
CREATE TABLE part PARTITION OF half FOR VALUES IN (1); ALTER TABLE part REPLICA IDENTITY NOTHING;
CREATE UNLOGGED TABLE u (id int PRIMARY KEY);
CREATE TABLE d (id int PRIMARY KEY DEFERRABLE); ALTER TABLE d REPLICA IDENTITY FULL;
CREATE TABLE o (id int PRIMARY KEY, o oid);
SELECT lo_create(4711);
CREATE EXTENSION hstore;
SQL
    $tables->source_sql("UPDATE pg_extension SET extversion = '0.9' WHERE extname = 'hstore'");
    my %root = (object => qr/"root"/);
    my $row  = finds($tables, 'new_partitions', 'warning', qr/^partitions of "public"\."root" .* no usable primary key/, %root);
    like($row->{fix}, qr/^-- create the partitions that will be needed/, 'new_partitions: before');
    my ($add) = $row->{fix} =~ /^-- or: (ALTER TABLE "public"\."root" ADD PRIMARY KEY )\(\.\.\.\);/m;
    runs($source, 'tables', 'new_partitions', ($add // 'no choice') . '(k)');
    is_green($tables, 'new_partitions', %root);
    finds($tables, 'new_partitions', 'warning', qr/as it is among insert_only_tables$/, %root,
        options => { insert_only_tables => ['public.root'] });
    like(started($tables, exclude_tables => ['public.part']), qr/"public"\."$_" [^\n]* partition "public"\."part" has no usable replica identity$/m,
        "new_partitions: $_ by a partition that is left out")
      for qw(whole half);
    $row = mends($tables, 'new_partitions', 'warning', qr/partition "public"\."part" has no usable/, object => qr/"whole"/);
    like($row->{fix}, qr/^-- or: create the partitions that will be needed/m, 'new_partitions: or before');
    mends($tables, 'unlogged_tables', 'notice', qr/is unlogged: its rows are copied/);
    like(finds($tables, 'deferrable_keys', 'warning', qr/has a deferrable key/)->{fix},
        qr/^-- nothing to do: .*cutover_check/, 'deferrable_keys: the fix');
    like(finds($tables, 'extension_versions', 'notice', qr/version 0\.9 on the source and will be/)->{fix},
        qr/^-- to have the same .*: ALTER EXTENSION "hstore" UPDATE TO '[\d.]+';$/, 'extension_versions: the fix');
    $tables->source_sql('DROP EXTENSION hstore; DROP TABLE d');
    is_green($tables, $_) for qw(deferrable_keys extension_versions);

    $tables->target_sql('CREATE TABLE o (id int PRIMARY KEY, o oid); CREATE TABLE u (id int PRIMARY KEY);'
          . 'CREATE TABLE root (k int PRIMARY KEY) PARTITION BY LIST (k);'
          . 'CREATE TABLE whole (k int PRIMARY KEY) PARTITION BY LIST (k);'
          . 'CREATE TABLE half PARTITION OF whole FOR VALUES IN (1) PARTITION BY LIST (k);'
          . 'CREATE TABLE part PARTITION OF half FOR VALUES IN (1); INSERT INTO o VALUES (1)');
    my $error = $tables->target_error($tables->start_sql(on_existing => 'skip_schema'));
    like($error->{message}, qr/have rows already: "public"\."o"/, 'target_rows: found');
    runs($target, 'tables', 'target_rows', $error->{hint});
    unlike(started($tables, on_existing => 'skip_schema'), qr/ERROR/, 'target_rows: green');
    keep_rows({ check_id => 'target_rows', severity => 'error', fix => $error->{hint}, message => '' });

    # Foreign keys lead to what has rows: from a partitioned table that is migrated, too, over another, and
    # from one that is the target's own.
    $tables->source_sql('DROP TABLE o, u, root');
    $tables->target_sql('DROP TABLE o, u, root');
    my $children = <<'SQL';
CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE q (id int PRIMARY KEY REFERENCES q);
CREATE TABLE "c,1" (id int PRIMARY KEY, p int REFERENCES p) PARTITION BY RANGE (id);
CREATE TABLE c_1 PARTITION OF "c,1" DEFAULT; CREATE TABLE g (id int PRIMARY KEY, c int REFERENCES "c,1");
CREATE TABLE s (id int PRIMARY KEY); CREATE TABLE r (id int PRIMARY KEY REFERENCES s);
SQL
    $tables->source_sql($children);
    $tables->target_sql("$children CREATE TABLE own (s int REFERENCES r);
        INSERT INTO p VALUES (1); INSERT INTO q VALUES (1); INSERT INTO s VALUES (1); INSERT INTO r VALUES (1)");
    $error = $tables->target_error($tables->start_sql(on_existing => 'skip_schema'));
    runs($target, 'tables', 'target_rows with foreign keys', $error->{hint});
    like($error->{hint}, qr/^TRUNCATE .*^-- "public"\."own" may .*^DELETE FROM "public"\."r";\n.*^DELETE FROM "public"\."s";/ms,
        'target_rows with foreign keys: rows are deleted where one leads from the target\'s own table, in order');
    unlike(started($tables, on_existing => 'skip_schema'), qr/ERROR/, 'target_rows with foreign keys: green');
    keep_rows({ check_id => 'target_rows', severity => 'error', fix => $error->{hint}, message => '' });
}

# --- more in the way than a fix names
{
    my $crowded = $pair->database('crowded');
    my $tables  = join ' ', map {"CREATE TABLE t_$_ (id int PRIMARY KEY);"} 1 .. 101;
    $crowded->source_sql($tables);
    $crowded->target_sql($tables);
    my $row = finds($crowded, 'target_empty', 'error', qr/^the target database has 101 objects/);
    like($row->{fix}, qr/;\n-- then 1 more, which another migration_check names\n-- or: on_existing/,
        'target_empty: how many objects are left');
    runs($target, 'crowded', 'target_empty', $row->{fix});
    mends($crowded, 'target_empty', 'error', qr/has 1 object /, on => $target, label => 'target_empty, the last object');
    $crowded->source_sql('CREATE TABLE t (id int PRIMARY KEY); DROP TABLE ' . join ', ', map {"t_$_"} 1 .. 101);
    $crowded->target_sql($tables);
    $row = finds($crowded, 'target_empty', 'error', qr/has 101 other tables/);
    my ($drop) = $row->{fix} =~ /^-- or: (DROP TABLE .*; -- then 1 more, which .*)$/m;
    runs($target, 'crowded', 'target_empty, other tables', $drop // 'no choice');
    ($drop) = finds($crowded, 'target_empty', 'error', qr/has 1 other table:/)->{fix} =~ /^-- or: (DROP TABLE .*;)/m;
    runs($target, 'crowded', 'target_empty, the last other table', $drop // 'no choice');
    is_green($crowded, 'target_empty');
}

# --- the plugin
{
    my $latin = $pair->database('latin', encoding => 'LATIN1');
    my $row = finds($latin, 'plugin_encoding', 'warning', qr/which the target converts/, plugin => 'wal2json');
    is($row->{fix}, "-- plugin => 'pgoutput'", 'plugin_encoding: the fix');
    is_green($latin, 'plugin_encoding', plugin => 'pgoutput');

    my $values = $pair->database('values');
    $values->source_sql('CREATE TABLE f (id int PRIMARY KEY, f float8)');
    SKIP: {
        skip 'this wal2json is without loss', 3 if $values->wal2json_is_lossless;
        $row = finds($values, 'plugin_values', 'error', qr/as NULL$/, plugin => 'wal2json');
        like($row->{fix}, qr/^-- plugin => 'pgoutput'\n-- or: install wal2json 2\.6/, 'plugin_values: the fix');
        is_green($values, 'plugin_values', plugin => 'pgoutput');
    }

    # A library of that name which is no output plugin.
    my $folder = PostgreSQL::Test::Utils::tempdir();
    chomp(my $libdir = `pg_config --pkglibdir`);
    PostgreSQL::Test::Utils::system_or_bail('cp', "$libdir/auto_explain.so", "$folder/wal2json.so");
    $values->source_sql( qq{ALTER DATABASE "values" SET dynamic_library_path = '$folder:\$libdir'});
    $row = finds($values, 'plugin', 'error', qr/^the source cannot use output plugin "wal2json": /, plugin => 'wal2json',
        label => 'a broken plugin');
    like($row->{fix}, qr/^-- plugin => 'pgoutput'\n-- or: see the source's server log/, 'a broken plugin: the fix');
    is_green($values, 'plugin', plugin => 'pgoutput', label => 'a broken plugin');
}

# --- encodings
{
    my $ascii = $pair->database('ascii', encoding => 'SQL_ASCII');
    my ($update) = finds($ascii, 'encoding', 'error', qr/SQL_ASCII/)->{fix} =~ /^-- (UPDATE .*;)/m;
    runs($source, 'ascii', 'encoding', $update // 'no fix');
    is_green($ascii, 'encoding');
    my $narrow = $pair->database('narrow', target_encoding => 'LATIN1');
    is(finds($narrow, 'encoding', 'warning', qr/LATIN1 lacks stops/)->{fix},
        "-- create the target database with ENCODING 'UTF8'", 'encoding, narrower: the fix');
    is_green($pair, 'encoding', label => 'encoding, narrower');
}

# --- slots, and names that are taken
{
    my $slots = $pair->database('slots');
    $slots->source_sql(<<'SQL');
CREATE TABLE here (id int PRIMARY KEY); CREATE TABLE there (id int PRIMARY KEY, v text);
CREATE PUBLICATION everything FOR ALL TABLES;
SELECT pg_create_logical_replication_slot('busy', 'pgoutput');
SELECT pg_create_logical_replication_slot('livemigrate_main', 'pgoutput');
SQL
    my @with = (options => { existing_slot => 'busy', publication => 'everything' });
    my $receive = sub {
        my ($slot) = @_;
        my $process = $slots->start_background('pg_recvlogical', '-d', $slots->conninfo, '-S', $slot, '--start',
            '-n', '-f', '-', '-o', 'proto_version=1', '-o', 'publication_names=everything');
        $source->poll_query_until('slots', "SELECT active FROM pg_replication_slots WHERE slot_name = '$slot'");
        return $process;
    };
    my $process = $receive->('busy');
    mends($slots, 'existing_slot', 'error', qr/^replication slot "busy" is active for process \d+$/, @with,
        label => 'an active slot');
    $slots->stop_background($process);
    $process = $receive->('livemigrate_main');
    my $row = finds($slots, 'slot_exists', 'error', qr/in use by its process \d+$/, label => 'a slot of our name, in use',
        as => {});
    like($row->{fix}, qr/^-- another migration of this name is running: give this one another name/, 'in use: the fix');
    $slots->stop_background($process);
    $slots->poll(sub { $slots->source_sql('SELECT count(*) FROM pg_replication_slots WHERE active') eq '0' });
    $slots->source_sql("SELECT pg_drop_replication_slot('livemigrate_main')");
    is_green($slots, 'slot_exists');

    my $session = $slots->session($source, "SELECT pg_create_logical_replication_slot('fleeting', 'pgoutput', true)");
    my @fleeting = (options => { existing_slot => 'fleeting', publication => 'everything' }, label => 'a temporary slot');
    is(finds($slots, 'existing_slot', 'error', qr/is temporary$/, @fleeting)->{fix}, '-- name a permanent slot',
        'a temporary slot: the fix');
    $slots->end_session($session);
    is_green($slots, 'existing_slot', @with, label => 'a permanent one');

    SKIP: {
        skip 'two_phase came with 14', 4 if $version < 140000;
        $slots->source_sql("SELECT pg_create_logical_replication_slot('two', 'pgoutput', false, true)");
        $row = finds($slots, 'existing_slot', 'error', qr/\(two_phase\)$/, label => 'a slot with two_phase',
            options => { existing_slot => 'two', publication => 'everything' });
        runs($source, 'slots', 'a slot with two_phase', $row->{fix});
        is_green($slots, 'existing_slot', label => 'a slot of its own');
    }
    SKIP: {
        skip 'filters came with 15', 6 if $version < 150000;
        $slots->source_sql('CREATE PUBLICATION rows FOR TABLE here WHERE (id > 5), there;'
              . ' CREATE PUBLICATION columns FOR TABLE here, there (id)');
        for my $name (qw(rows columns)) {
            my %given = (options => { existing_slot => 'busy', publication => $name }, label => "a publication of $name");
            is(finds($slots, 'publication', 'error', qr/has a row filter or a column list$/, %given)->{fix},
                '-- name a publication that sends whole tables', "a publication of $name: the fix");
        }
        is_green($slots, 'publication', @with, label => 'a publication of whole tables');
    }
    $pair->set_and_wait($source, 'max_slot_wal_keep_size', "'16MB'");
    $slots->source_sql('CREATE TABLE x (); DROP TABLE x; SELECT pg_switch_wal()') for 1 .. 4;
    $slots->source_sql('CHECKPOINT');
    $row = finds($slots, 'existing_slot', 'error', qr/has lost WAL that it needs$/, @with, label => 'a lost slot');
    runs($source, 'slots', 'a lost slot', $row->{fix});
    is_green($slots, 'existing_slot', label => 'another slot');
    $pair->source_sql('ALTER SYSTEM RESET max_slot_wal_keep_size');
    $source->reload;

    $slots->source_sql('CREATE EXTENSION livemigrate');
    mends($slots, 'own_schema', 'error', qr/^the extension livemigrate is installed on the source$/);
}

# --- programs of another release, and such as others may write
{
    my $folder = PostgreSQL::Test::Utils::tempdir();
    for my $name (qw(pg_dump pg_restore)) {
        open my $file, '>', "$folder/$name" or die $!;
        print $file "#!/bin/sh\necho '$name (PostgreSQL) 9.6.1'\n";
        close $file;
        chmod 0755, "$folder/$name";
    }
    $pair->set_and_wait($target, 'livemigrate.client_bin_dir', "'$folder'");
    my $row = row_of($pair, 'client_binaries') // {};
    like(join("\n", $row->{message} // '', $row->{fix} // ''),
        qr/not of PostgreSQL \d+\n-- on the target's machine: apt-get install postgresql-client-\d+$|chown/,
        'client_binaries: found') or diag explain $row;
    chmod 0777, "$folder/pg_dump";
    $row = row_of($pair, 'client_binaries') // {};
    like($row->{fix} // '', qr/^-- on the target's machine: /, 'client_binaries: what others may write');
    $pair->target_sql('ALTER SYSTEM RESET livemigrate.client_bin_dir');
    $target->reload;
    is_green($pair, 'client_binaries');
}

# --- S04: the line that pg_hba.conf lacks, for a socket and for an address
{
    my $hba    = $source->data_dir . '/pg_hba.conf';
    my $before = slurp_file($hba);
    my $write  = sub {
        open my $file, '>', $hba or die "$hba: $!";
        print $file @_;
        close $file;
        $source->reload;
    };
    my $gate = $pair->database('gate');
    my $user = getpwuid $<;
    $gate->source_sql(q{SET password_encryption = 'scram-sha-256'; CREATE ROLE far LOGIN SUPERUSER PASSWORD 'secret'});
    my %way = (
        'a socket'   => [ {}, qr/^local "gate" "$user" peer$/m ],
        'an address' => [ { host => '127.0.0.1', user => 'far', password => 'secret' },
            qr{^host "gate" "far" 127\.0\.0\.1/32 scram-sha-256$}m ]);
    for my $name (sort keys %way) {
        my ($as, $line) = @{ $way{$name} };
        my $closed = "local gate all reject\nhost gate all 127.0.0.1/32 reject\n$before";
        $write->($closed);
        ok($gate->poll(sub { (row_of($gate, 'connection', as => $as) // {})->{severity} }), "S04 $name: found");
        my $row = row_of($gate, 'connection', as => $as) // {};
        like($row->{fix} // '', $line, "S04 $name: the line") or diag explain $row;
        my ($found) = ($row->{fix} // '') =~ /^((?:local|host) .*)$/m;
        $write->(($found // '') . "\n$closed");
        is_green($gate, 'connection', as => $as, label => "S04 $name");
    }

    # Only encrypted, and it is not.
    SKIP: {
        my $data = $source->data_dir;
        my $made = system("openssl req -new -x509 -days 2 -nodes -subj /CN=source -out $data/server.crt"
              . " -keyout $data/server.key 2>/dev/null") == 0;
        skip 'S04 needs openssl and a server with SSL', 2
          unless $made && $source->safe_psql('postgres', 'SHOW ssl_library') ne '';
        chmod 0600, "$data/server.key";
        $pair->set_and_wait($source, 'ssl', 'on');
        $write->("hostssl gate all 127.0.0.1/32 scram-sha-256\nhost gate all 127.0.0.1/32 reject\n$before");
        my %far = (host => '127.0.0.1', user => 'far', password => 'secret');
        my $row;
        $gate->poll(sub { $row = row_of($gate, 'connection', as => { %far, sslmode => 'disable' }) });
        my ($mode) = ($row->{fix} // '') =~ /^-- sslmode=(\w+) in the connection string: .*\n-- or .*pg_hba\.conf.*\n-- host "gate" "far" /;
        is($mode, 'require', 'S04 without encryption: encryption comes first') or diag explain $row;
        is_green($gate, 'connection', as => { %far, sslmode => $mode // 'disable' }, label => 'S04 without encryption');
        $pair->source_sql('ALTER SYSTEM RESET ssl');
    }
    $write->($before);
    $gate->poll(sub { !row_of($gate, 'connection') });
}

# --- something between the servers that knows no replication connections
{
    my $pooler = LiveMigrate::Pooler->start($source, change => [ "replication\0database", "replication\0nonsense" ]);
    like(finds($pair, 'replication_connection', 'error', qr/^the source refuses a replication connection: .*nonsense/,
            source => $pooler->conninfo('app'))->{fix}, qr/^-- /, 'replication_connection: the fix');
    like(finds($pair, 'pooler', 'warning', qr/pooler or proxy/, source => $pooler->conninfo('app'))->{fix},
        qr/^-- give the address of the server itself/, 'which is to go around it');
    $pooler->stop;
    is_green($pair, 'replication_connection');
}

# --- limits and settings of the role
$pair->source_sql(q{CREATE ROLE weak LOGIN REPLICATION CONNECTION LIMIT 5; GRANT SELECT ON t TO weak;
    ALTER ROLE weak SET statement_timeout = '2s'});
my @weak = (as => { user => 'weak' });
mends($pair, 'source_connections', 'warning', qr/^8 connections .*, role "weak" may have 5 and has \d+$/, @weak,
    label => 'connections of the role');
{
    my ($row) = grep { $_->{check_id} eq 'timeouts' } rows($pair, @weak);
    is("$row->{severity} $row->{message}",
        q{ok statement_timeout=2s of the role does not hold for the migration's connections, which set it to 0},
        'timeouts of the role are told');
    ($row) = grep { $_->{check_id} eq 'timeouts' } rows($pair);
    like($row->{message}, qr/^no time limit is set for the role/, 'or that there are none');
}

# --- several apply workers
{
    my %given = (options => { apply_jobs => 30 });
    my $row = finds($pair, 'target_origins', 'error', qr/with one for each of 30 apply workers/, %given);
    runs($target, 'app', 'target_origins', $row->{fix});
    $row = finds($pair, 'target_workers', 'error', qr/needs at least 32$/, %given);
    runs($target, 'app', 'target_workers', $row->{fix});
    $target->restart;
    is_green($pair, $_, %given) for qw(target_origins target_workers);
    $target->safe_psql('app', "ALTER SYSTEM RESET $_") for qw(max_worker_processes max_replication_slots);
}

# --- settings that need a restart: small, then what the fixes say; and what providers' say
my @roles = qw(alloydbsuperuser cloudsqlsuperuser azure_pg_admin neon_superuser tsdbadmin supabase_admin
  rds_superuser heroku_admin);
my $bytes = $pair->database('bytes', encoding => 'SQL_ASCII');
my %small = (
    $source => "max_connections = 10\nmax_wal_senders = 1\nmax_replication_slots = 1\nmax_locks_per_transaction = 10\n"
      . "superuser_reserved_connections = 3\n",
    $target => "max_worker_processes = 5\nmax_locks_per_transaction = 10\n");
for my $node ($source, $target) {
    $node->append_conf('postgresql.conf', $small{$node});
    $node->restart;
}
my ($capacity) = join("\n", map { $_->{message} } rows($pair)) =~ /source's lock table holds about (\d+)/;
my $tables = int($capacity * 0.7);
$pair->source_sql(join ' ', map {"CREATE TABLE many_$_ (id int PRIMARY KEY);"} 1 .. $tables);
my @wanted = (
    [ $source, 'source_connections', 'warning' ], [ $source, 'source_locks', 'warning' ],
    [ $target, 'target_workers', 'notice' ]);
my %row = map { $_->{check_id} => $_ } rows($pair);
my ($room) = $row{target_locks}{message} =~ /holds about (\d+)/;
push @wanted, [ $target, 'target_locks', 'warning' ] if 4 * $tables > $room;
for my $one (@wanted) {
    my ($node, $check_id, $severity) = @$one;
    is($row{$check_id}{severity}, $severity, "$check_id: found") or diag explain $row{$check_id};
    runs($node, 'app', $check_id, $row{$check_id}{fix});
}

$pair->source_sql(q{SELECT pg_create_physical_replication_slot('only_one');
    CREATE TABLE guarded (id int PRIMARY KEY); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
    ALTER TABLE guarded FORCE ROW LEVEL SECURITY; CREATE ROLE keeper; ALTER TABLE guarded OWNER TO keeper;
    GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak; ALTER ROLE weak CONNECTION LIMIT -1});
$pair->set_and_wait($source, 'max_slot_wal_keep_size', 0);
my $restricted = $source->safe_psql('app', "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'");
$pair->set_and_wait($source, 'output_plugin_libraries', 'test_decoding') if $restricted;
for my $role (@roles) {
    $pair->source_sql("CREATE ROLE $role");
    # There are few connections, and those of the last check end a moment later.
    $pair->poll(sub { $pair->source_sql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'livemigrate'") eq '0' });
    my @found = grep { $_->{severity} ne 'ok' && $_->{object} ne 'target' && $_->{check_id} !~ /^target_|preload/ }
      rows($pair, @weak), row_of($bytes, 'encoding');
    my %fix = map { $_->{check_id} => $_->{fix} } @found;
    ok(exists $fix{$_}, "S13 $role: $_ is found")
      for qw(replication_slots source_locks slot_wal_limit row_security source_connections encoding);
    my $superuser = qr/^(?:ALTER SYSTEM|ALTER ROLE \S+ BYPASSRLS|.*(?:apt-get|UPDATE pg_|pg_hba))/m;
    is_deeply([ map {"$_->{check_id}: $_->{fix}"} grep { $_->{fix} =~ $superuser } @found ],
        [], "S13 $role: no fix needs a superuser or the machine");
    like($fix{replication_slots}, qr/^(?:-- .*)?max_replication_slots ?= ?\d+\b/, "S13 $role: where the setting is");
    $pair->source_sql("DROP ROLE $role");
}
$pair->source_sql('CREATE ROLE heroku_admin; CREATE ROLE plain LOGIN');
like(finds($pair, 'provider', 'error', qr/^the source is at Heroku, which has no logical replication$/,
        as => { user => 'plain' })->{fix}, qr/^-- dump and restore: /, 'S13 Heroku: the fix');
is_green($pair, 'provider', label => 'S13 a role that may replicate');
$pair->source_sql('DROP ROLE heroku_admin; DROP ROLE plain');
$pair->source_sql('CREATE ROLE rds_superuser');
mends($pair, 'row_security', 'error', qr/hides rows of table "public"\."guarded"/, @weak);
$pair->source_sql('DROP ROLE rds_superuser');
$pair->source_sql("SELECT pg_drop_replication_slot('only_one')");
SKIP: {
    skip 'this minor release loads any output plugin', 2 unless $restricted;
    like(row_of($pair, 'plugin', plugin => 'wal2json')->{fix} // '', qr/^ALTER SYSTEM SET output_plugin_libraries = /,
        'without a provider it is ALTER SYSTEM');
    $pair->source_sql('CREATE ROLE cloudsqlsuperuser');
    like(row_of($pair, 'plugin', plugin => 'wal2json')->{fix} // '',
        qr/^output_plugin_libraries = 'pgoutput, test_decoding, wal2json'\n-- a flag of the instance/,
        'S13 the list as a flag');
    $pair->source_sql('DROP ROLE cloudsqlsuperuser; ALTER SYSTEM RESET output_plugin_libraries');
}
$pair->source_sql('ALTER SYSTEM RESET max_slot_wal_keep_size');

# Not tried, as it would fail for another reason that is told.
$source->append_conf('postgresql.conf', "wal_level = replica\n");
$_->restart for $source, $target;
is_green($pair, $_->[1]) for @wanted;
like(finds($pair, 'plugin_probe', 'notice', qr/^not tried whether the source loads it: /)->{fix},
    qr/^-- run this again when what is at error is mended$/, 'plugin_probe: the fix');
runs($source, 'app', 'wal_level', row_of($pair, 'wal_level')->{fix});
$source->restart;
is_green($pair, 'plugin_probe');

assert_fixes($pair, 'every fix can be pasted');
$pair->assert_nothing_left('all these checks have changed nothing');
done_testing();
