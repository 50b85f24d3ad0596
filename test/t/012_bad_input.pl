# Bad input: each gets an error with SQLSTATE, detail and hint, and changes nothing on either side.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'bad', migration => 'main');
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY);
INSERT INTO t VALUES (1);
CREATE ROLE secured LOGIN REPLICATION PASSWORD 'right';
CREATE ROLE plain LOGIN;
CREATE ROLE blind LOGIN REPLICATION;
GRANT SELECT ON t TO plain, secured;
SQL

# Only the role made for it needs its password; everything else stays trusted.
sub rewrite_file {
    my ($path, $content) = @_;
    open my $file, '>', $path or die "$path: $!";
    print $file $content;
    close $file;
}
my $hba = $source->data_dir . '/pg_hba.conf';
rewrite_file($hba, "local all,replication secured scram-sha-256\nlocal all nobody_enters reject\n"
      . slurp_file($hba));
$source->reload;

sub assert_untouched {
    my ($label) = @_;
    # The source's sessions of a refused call end a moment later.
    my @changed;
    $pair->poll(sub { @changed = $pair->leftovers; !@changed });
    my ($rows, $tables) = split /\|/, $pair->target_sql(
        'SELECT (SELECT count(*) FROM livemigrate.migrations),'
          . " (SELECT count(*) FROM pg_tables WHERE schemaname = 'public')");
    push @changed, "$rows rows in migrations" if $rows;
    push @changed, "$tables tables on the target" if $tables;
    ok(!@changed, "$label: nothing changed") or diag join "\n", @changed;
}

# migration_start with these arguments is refused.  Options: check => pattern that a row at error of
# migration_check must match too, fix and message together; lists => what detail and hint name;
# plain => 1 for a mistake that the message alone explains.
sub refused {
    my ($label, $sqlstate, $arguments, %want) = @_;
    my $error = $pair->assert_error($pair->start_sql(%$arguments), $label, sqlstate => $sqlstate,
        plain => $want{plain});
    assert_untouched($label);
    like("$error->{detail} $error->{hint}", $want{lists}, "$label: the valid ones are listed")
      if $want{lists};
    return unless $want{check};
    my $given  = LiveMigrate::Test::quote_literal($arguments->{source} // $pair->conninfo);
    my $plugin = $arguments->{plugin} // 'auto';
    my ($rc, $out, $err) = $target->psql('bad', "SELECT check_id, message, fix"
          . " FROM livemigrate.migration_check($given, '$plugin') WHERE severity = 'error'");
    like($out, $want{check}, "$label: migration_check says so too") or diag $err;
}

# --- connection and rights
sub from { return { source => $pair->conninfo(@_) } }
my $unused_port = PostgreSQL::Test::Cluster::get_free_port();
my $cannot      = qr/^08/;
my $not_allowed = qr/^(?:28|08)/;
my $some        = qr/\S/;
refused('unreachable source: nothing listens', $cannot, from(port => $unused_port), check => $some);
refused('unreachable source: no directory', $cannot, from(host => '/nonexistent'), check => $some);
refused('unreachable source: no host', $cannot, from(host => 'no-host.invalid'), check => $some);
refused('wrong password', $not_allowed, from(user => 'secured', password => 'no'), check => $some);
refused('no password', $not_allowed, from(user => 'secured'), check => $some);
refused('pg_hba.conf rejects', $not_allowed, from(user => 'nobody_enters'), check => $some);
refused('no such role', $not_allowed, from(user => 'no one'), check => $some);
refused('wrong database', qr/^(?:3D000|08)/, from(dbname => 'no such'), check => $some);
refused('missing REPLICATION', qr/^(?:42501|55000)/, from(user => 'plain'),
    check => qr/ALTER ROLE .*plain.* REPLICATION/i);
refused('S03 missing SELECT on a table', qr/^(?:42501|55000)/, from(user => 'blind'),
    check => qr/GRANT SELECT ON .*t.* TO .*blind/is);
my $not_conninfo = qr/^(?:22|42|08)/;
refused('not a connection string', $not_conninfo, { source => 'host=a b=c' });
refused('an unclosed quote', $not_conninfo, { source => "host='a" });
refused('an empty connection string', $not_conninfo, { source => '' });
refused('NULL as the source', $not_conninfo, { source => \'NULL' }, plain => 1);

# --- arguments
my $invalid = qr/^22/;
refused('unknown plugin', $invalid, { plugin => 'decoderbufs' },
    lists => qr/auto.*pgoutput.*wal2json/s);
refused('unknown stage in pause_after', $invalid, { pause_after => ['shcema'] },
    lists => qr/preflight.*slot.*roles.*schema.*data.*indexes.*catchup.*streaming.*cutover/s);
refused('NULL in pause_after', $invalid, { pause_after => \'ARRAY[NULL]::text[]' }, plain => 1);
refused('unknown option', $invalid, { options => { aply_jobs => 2 } },
    lists => qr/apply_jobs.*existing_slot|existing_slot.*apply_jobs/s);
refused('option of the wrong type', $invalid, { options => { apply_jobs => 'many' } }, plain => 1);
refused('options not an object', $invalid, { options => \"'[1]'::jsonb" }, plain => 1);
refused('unknown on_existing', $invalid, { on_existing => 'drop' },
    lists => qr/truncate.*skip_schema/s);
refused('table_jobs of zero', $invalid, { table_jobs => \'0' }, plain => 1);
refused('index_jobs below zero', $invalid, { index_jobs => \'-1' }, plain => 1);
refused('split size that is no size', $invalid, { split_tables_larger_than => 'big' }, plain => 1);
refused('a table pattern without a schema', $invalid, { include_tables => [''] }, plain => 1);
refused('a name that is empty', qr/^(?:22|42)/, { migration => '' }, plain => 1);
my $no_slot = { existing_slot => 'no_such_slot' };
refused('existing_slot that is not there', qr/^(?:42704|55000)/, { options => $no_slot });
refused('publication that is not there', qr/^(?:42704|55000)/,
    { options => { %$no_slot, publication => 'no such' } });

# --- the two servers
my $same = $pair->conninfo(host => $target->host, port => $target->port);
refused('target equal to source', qr/^(?:22|55)/, { source => $same }, check => $some);
$pair->target_sql('CREATE TABLE already_here (id int)');
$pair->assert_error($pair->start_sql, 'target not empty', message => qr/\S/);
is($pair->target_sql('SELECT count(*) FROM livemigrate.migrations'),
    '0', 'target not empty: nothing started');
ok(scalar($pair->check_errors), 'target not empty: migration_check has a row at error');
$pair->target_sql('DROP TABLE already_here');

# Runs a test while a node has other settings.
sub with_conf {
    my ($node, $conf, $test) = @_;
    my $path   = $node->data_dir . '/postgresql.conf';
    my $before = slurp_file($path);
    $node->append_conf('postgresql.conf', $conf);
    $node->restart;
    $test->();
    rewrite_file($path, $before);
    $node->restart;
}
with_conf($source, 'wal_level = replica', sub {
    refused('S01 wal_level = replica', qr/^55000/, {}, check => qr/wal_level.*logical/s);
});
with_conf($source, 'max_replication_slots = 1', sub {
    $pair->source_sql("SELECT pg_create_physical_replication_slot('only_one')");
    refused('S02 no free slot', qr/^5/, {}, check => qr/max_replication_slots/);
    $pair->source_sql("SELECT pg_drop_replication_slot('only_one')");
});
with_conf($source, 'max_wal_senders = 0', sub {
    refused('S02 no free sender', qr/^5/, {}, check => qr/max_wal_senders/);
});
SKIP: {
    my $known = "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'";
    skip 'this minor release loads any output plugin', 3 unless $pair->source_sql($known);
    with_conf($source, "output_plugin_libraries = 'pgoutput'", sub {
        refused('D01 wal2json is not allowed', qr/^(?:42501|55000|58P01|22023)/,
            { plugin => 'wal2json' },
            check => qr/output_plugin_libraries = .*pgoutput.*, .*wal2json/);
    });
}
with_conf($source, "dynamic_library_path = '/nonexistent'", sub {
    refused('D02 wal2json is not installed', qr/^(?:58P01|55000|22023)/, { plugin => 'wal2json' },
        check => qr/wal2json/);
});

# A pg_dump that is older than the source, and none at all.
my $client_directory = PostgreSQL::Test::Utils::tempdir();
with_conf($target, "livemigrate.client_bin_dir = '$client_directory'", sub {
    refused('no pg_dump', qr/^(?:58|55)/, {}, check => qr/pg_dump/);
    for my $program (qw(pg_dump pg_restore)) {
        rewrite_file("$client_directory/$program", 
            "#!/bin/sh\necho '$program (PostgreSQL) 9.6.24'\n");
        chmod 0755, "$client_directory/$program";
    }
    refused('source newer than pg_dump', qr/^(?:0A|55|58)/, {}, check => qr/pg_dump/);
});

# What a server says to pg_dump's connection: what passes by itself is tried again, the rest stops.
chomp(my $bindir = `pg_config --bindir`);
sub dump_that_meets {
    my ($words) = @_;
    rewrite_file("$client_directory/pg_dump", "#!/bin/sh\ntest \"\$1\" = --version && exec $bindir/pg_dump --version\n"
          . "echo 'pg_dump: error: connection to server at \"src\", port 5432 failed: FATAL:  $words' >&2\nexit 1\n");
}
rewrite_file("$client_directory/pg_restore", "#!/bin/sh\nexec $bindir/pg_restore \"\$@\"\n");
with_conf($target, "livemigrate.client_bin_dir = '$client_directory'", sub {
    my $dumped = $pair->database('dumped');
    dump_that_meets('password authentication failed for user "m"');
    $dumped->start;
    $dumped->wait_state('failed');
    is($dumped->status_row->{last_error}, 'pg_dump ended with exit code 1', 'a wrong password stops the migration');
    dump_that_meets('sorry, too many clients already');
    $dumped->resume;
    $dumped->wait_state('retrying');
    is($dumped->status_row->{last_error}, 'pg_dump lost its connection to the source', 'too many connections do not');
    $dumped->abort;
    $dumped->cleanup;
});

# --- wrong state, wrong name
for my $call (
    "migration_pause('nobody')", "migration_resume('nobody')", "set_endpos(NULL, 'nobody')",
    "copy_sequences('nobody')", "migration_abort('nobody')", "migration_cleanup('nobody')",
    "compare_data('nobody')", "compare_schema('nobody')") {
    $pair->assert_error("SELECT livemigrate.$call", "$call: no such migration",
        sqlstate => qr/^(?:42704|22023)/, plain => 1);
}
$pair->assert_error("CALL livemigrate.migration_wait('done', '1 s', 'nobody')",
    'migration_wait: no such migration', plain => 1);
$pair->assert_error('SELECT livemigrate.migration_pause(NULL)', 'migration_pause: there is none',
    plain => 1);
$pair->assert_error("CALL livemigrate.migration_wait('nonsense')", 'migration_wait: unknown stage',
    sqlstate => qr/^22023/);

my $wrong_state = qr/^55000/;
sub wrong {
    my ($call, $label, $sqlstate) = @_;
    $pair->assert_error("SELECT livemigrate.$call", $label, sqlstate => $sqlstate // $wrong_state);
}
$pair->start(pause_after => ['slot']);
$pair->wait_stage('slot');
$pair->wait_state('paused');
$pair->assert_error($pair->start_sql, 'a second migration with the same name',
    sqlstate => qr/^(?:42710|23505|55006|55000)/);
is($pair->target_sql('SELECT count(*) FROM livemigrate.migrations'),
    '1', 'only the first is there');
my $other = bless { %$pair, migration => 'other' }, ref $pair;
$other->start(pause_after => ['preflight']);
wrong('migration_pause()', 'NULL when there are several', qr/^(?:22023|21000|42P08|42725)/);
like($pair->target_error('SELECT livemigrate.migration_pause()')->{all},
    qr/main.*other/s, 'NULL when there are several: the choices are named');
$other->wait_stage('preflight');
$other->abort;
$other->wait_state('aborted');
wrong('copy_sequences()', 'copy_sequences before there is a schema');
wrong('compare_data()', 'compare_data before there is data');
wrong('migration_cleanup()', 'cleanup of a migration that has not ended');
wrong("migration_resume(pause_after => '{nonsense}')", 'resume: unknown stage', qr/^22023/);
wrong("migration_resume(pause_after => '{preflight}')", 'resume: a stage behind', qr/^(?:22|55)/);
wrong("set_endpos('0/1')", 'endpos before the slot', qr/^(?:22023|55000)/);
$pair->assert_error('BEGIN; DROP EXTENSION livemigrate; ROLLBACK',
    'R17 DROP EXTENSION while a migration runs');
$pair->resume;
$pair->wait_stage('streaming');
wrong('migration_resume()', 'resume of a running migration');
$pair->source_sql('INSERT INTO t VALUES (2)');
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t') eq '2' }), 'a change is applied');
wrong("set_endpos('0/1')", 'endpos before the applied position', qr/^(?:22023|55000)/);
$pair->abort;
$pair->wait_state('aborted');
wrong("$_ 'main')", "$_ of an aborted migration")
  for 'migration_pause(', 'migration_resume(', 'set_endpos(NULL,', 'copy_sequences(';
$pair->assert_nothing_left('nothing left');

done_testing();
