# More of migration_check on one pair of servers: S04, S05, S09, S10, S13, S14, G07, G08, G10 and
# triggers that fire on the target. Each finding is provoked, its fix is run as it is, and then the
# check is green.
# Takes long.
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
    source_conf => "autovacuum = off\nautovacuum_freeze_max_age = 100000\n",
    target_conf => "cron.launch_active_jobs = on\n");
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1)');

sub rows {
    my (%opt) = @_;
    my $given = LiveMigrate::Test::quote_literal($opt{source} // $pair->conninfo(%{ $opt{as} // {} }));
    return keep_rows(@{ JSON::PP->new->decode($pair->target_sql(
        "SELECT coalesce(json_agg(c), '[]') FROM livemigrate.migration_check($given) c")) });
}

sub row_of {
    my ($check_id, %opt) = @_;
    my ($row) = grep { $_->{check_id} eq $check_id } rows(%opt);
    return $row // { severity => 'no row', message => '', fix => '' };
}

sub finds {
    my ($label, $check_id, $severity, $message, %opt) = @_;
    my $row = row_of($check_id, %opt);
    ref $severity ? like($row->{severity}, $severity, "$label: found")
                  : is($row->{severity}, $severity, "$label: found");
    like($row->{message}, $message, "$label: the message says what");
    return $row;
}

sub mends {
    my ($label, $check_id, $severity, $message, %opt) = @_;
    my $row  = finds($label, $check_id, $severity, $message, %opt);
    my $node = $opt{on} // $source;
    my ($rc, $out, $err) = $node->psql($pair->dbname, $row->{fix});
    is($rc, 0, "$label: the fix runs as it is") or diag $row->{fix}, $err;
    $pair->poll(sub { row_of($check_id, %opt)->{severity} eq 'ok' });
    is(row_of($check_id, %opt)->{severity}, 'ok', "$label: mended");
    return $row;
}

# --- C06: a transaction that is open for over a minute when all else has been done, on another source,
# since every probe of an output plugin would wait for it
my $waiting = $pair->other_source(undef, 'waiting');
$waiting->source_sql('CREATE TABLE held (id int PRIMARY KEY)');
$waiting->session($waiting->source, 'BEGIN; INSERT INTO held VALUES (1)');

# --- C22: rows so long that copying them is a question of memory, by what their pointers to the
# long values say, also of compressed ones.
finds('C22 without', 'copy_memory', 'ok', qr/^no table has rows so long/);
$pair->source_sql(q{CREATE TABLE wide (id int PRIMARY KEY, doc text, note text);
    INSERT INTO wide VALUES (1, repeat('x', 550000000), repeat('y', 10000000)), (2, 'short', NULL)});
finds('C22', 'copy_memory', qr/^(ok|warning)$/,
    qr/longest row seen has 53\d MB, in "public"\."wide": 4 copy workers may take 1\d(\.\d)? GB/);
my $wide = finds('C22 near 1 GB', 'wide_rows', 'warning', qr/a row has 53\d MB/);
like($wide->{fix}, qr/exclude_table_data => ARRAY\['public\.wide'\]/, 'C22 the fix names the table');
# What only migration_start can be told; nothing is started.
sub started {
    my ($rc, $out, $err) = $target->psql('app', 'BEGIN; ' . $pair->start_sql(@_) . '; ROLLBACK');
    return $err;
}
unlike(started(exclude_table_data => ['public.wide']), qr/a row has|copy workers? may take/, 'C22 mended by leaving it out');
{
    my ($jobs) = started(table_jobs => 32) =~
      /: 32 copy workers may take .*\nHINT:  -- migration_start\(\.\.\., table_jobs => (\d+)\)/;
    ok($jobs, 'C22 copy_memory: found');
    SKIP: {
        skip 'one worker is too many for the memory of this machine', 1 if ($jobs // 0) <= 1;
        unlike(started(table_jobs => $jobs), qr/copy workers? may take/, 'C22 copy_memory: mended with fewer');
    }
}
$pair->source_sql('BEGIN; DROP TABLE wide; COMMIT');

# --- nothing wrong
{
    my %row = map { $_->{check_id} => $_ } rows();
    is(($row{$_} // {})->{severity}, 'ok', "$_ is ok") or diag explain $row{$_}
      for qw(pooler decoding_memory firing_triggers slot_wal_limit target_disk target_memory
      transaction_age);
    ok(!$row{provider}, 'no provider');
}

# --- S10, G10: memory
$pair->set_and_wait($source, 'logical_decoding_work_mem', "'1MB'");
mends('S10 logical_decoding_work_mem', 'decoding_memory', 'warning', qr/is 1MB: .*source's disk/);
$pair->set_and_wait($target, 'maintenance_work_mem', "'1000GB'");
mends('G10 maintenance_work_mem', 'target_memory', 'warning',
    qr/^4 index workers may take 4000 GB .* because of maintenance_work_mem/, on => $target);
$pair->set_and_wait($target, 'livemigrate.index_memory', "'1000GB'");
mends('G10 index_memory', 'target_memory', 'warning', qr/because of livemigrate\.index_memory/,
    on => $target);

# --- triggers that fire in apply
$pair->source_sql(<<'SQL');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER "al ways" AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
ALTER TABLE t ENABLE ALWAYS TRIGGER "al ways";
SQL
mends('a trigger that fires always', 'firing_triggers', 'warning', qr/trigger "al ways" of table/);

# --- G08: pg_cron's own table, for which a server without that extension will do
$pair->source_sql('CREATE SCHEMA cron; CREATE TABLE cron.job (jobid int PRIMARY KEY, active bool);'
      . ' INSERT INTO cron.job VALUES (1, true), (2, false)');
{
    my $row = finds('G08 jobs of pg_cron', 'scheduled_jobs', 'warning', qr/^1 active job of pg_cron/);
    my ($rc, $out, $err) = $target->psql('app', $row->{fix});
    is($rc, 0, 'G08 the fix runs as it is') or diag $row->{fix}, $err;
    ok($pair->poll(sub { row_of('scheduled_jobs')->{severity} eq 'ok' }), 'G08 mended');
}
$pair->source_sql('DROP SCHEMA cron CASCADE');

# --- S14: two hundred thousand transactions, of which autovacuum, forced although it is off, can
# freeze none while a transaction is open
my $reader = $pair->session($source, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM t');
$pair->source_sql('CREATE TABLE numbers (id int PRIMARY KEY);'
      . ' DO $$ BEGIN FOR i IN 1 .. 210000 LOOP BEGIN INSERT INTO numbers VALUES (i);'
      . ' EXCEPTION WHEN division_by_zero THEN NULL; END; END LOOP; END $$');
my $old = finds('S14 old transactions', 'transaction_age', 'warning', qr/slot holds vacuum back/);
$reader->query_safe('COMMIT');
$pair->end_session($reader);
# That autovacuum has mended it in between is no failure: the fix still has to run.
{
    my ($rc, $out, $err) = $source->psql('app', $old->{fix});
    is($rc, 0, 'S14 old transactions: the fix runs as it is') or diag $err;
    ok($pair->poll(sub { row_of('transaction_age')->{severity} eq 'ok' }), 'S14 old transactions: mended');
}

# --- S09: the limit, and what the copy is thought to need
$pair->set_and_wait($source, 'max_slot_wal_keep_size', "'1GB'");
my $of_wal = qr/copying .* takes about .* at 50 MB\/s, in which the source.* of WAL$/;
finds('S09 max_slot_wal_keep_size, more than twice of it', 'slot_wal_limit', 'ok', qr/is 1GB; $of_wal/);

# --- G07: a table as large as no disk: an empty file at the place of a fork that a logged table lacks.
# One that was counted is not measured.
{
    $pair->source_sql("UPDATE pg_class SET reltuples = -1, relpages = 0 WHERE oid = 't'::regclass");
    my $fork = $source->data_dir . '/'
      . $pair->source_sql("SELECT pg_relation_filepath('t')") . '_init';
    open my $file, '>', $fork or die "$fork: $!";
    SKIP: {
        skip 'the file system takes no file that large', 8 unless truncate $file, 8 * 2**40;
        mends('S09 max_slot_wal_keep_size, less than twice of it', 'slot_wal_limit', 'warning',
            qr/is 1GB: when the target falls that far behind.*; $of_wal/);
        my $row = finds('G07 disk', 'target_disk', 'warning',
            qr/^8192 GB of tables and indexes and up to .* of WAL .* free where/);
        like($row->{fix}, qr/^-- enlarge .* by \d+ GB\n.*exclude_table_data => ARRAY\['public\.t'\]/,
            'G07 how much, or what to leave out');
        my ($rc) = $target->psql('app', $row->{fix});
        is($rc, 0, 'G07 the fix is one');
    }
    close $file;
    unlink $fork or die "$fork: $!";
    is(row_of('target_disk')->{severity}, 'ok', 'G07 mended');
}

# --- S13: providers are told by their roles, and have their own ways
my %provider = (
    alloydbsuperuser  => qr/AlloyDB/,
    cloudsqlsuperuser => qr/Cloud SQL/,
    azure_pg_admin    => qr/Azure/,
    neon_superuser    => qr/Neon/,
    tsdbadmin         => qr/Timescale/,
    supabase_admin    => qr/Supabase/,
    rds_superuser     => qr/RDS/);
$pair->source_sql('CREATE ROLE weak LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO weak');
for my $role (sort keys %provider) {
    $pair->source_sql("CREATE ROLE $role");
    finds("S13 $role", 'provider', 'ok', $provider{$role});
    $pair->source_sql('CREATE ROLE rds_replication REPLICATION') if $role eq 'rds_superuser';
    my $row = row_of('replication_role', as => { user => 'weak' });
    is($row->{severity}, 'error', "S13 $role: the right is missing");
    my ($rc) = $source->psql('app', $row->{fix});
    is($rc, 0, "S13 $role: the fix runs as it is") or diag $row->{fix};
    unless ($row->{fix} =~ /^--|neon/) {
        is(row_of('replication_role', as => { user => 'weak' })->{severity}, 'ok', "S13 $role: mended");
    }
    $pair->source_sql("DROP ROLE $role; ALTER ROLE weak NOREPLICATION");
    $pair->source_sql('DROP ROLE rds_replication') if $role eq 'rds_superuser';
}

# --- S05: something between target and source that answers with a process of its own
{
    my $pooler = LiveMigrate::Pooler->start($source);
    finds('S05 a pooler', 'pooler', 'warning', qr/pooler or proxy/, source => $pooler->conninfo('app'));
    is(row_of('pooler')->{severity}, 'ok', 'S05 without it');
    $pooler->stop;
}

# --- S04: pg_hba.conf lets the role in, but not the replication connection of its database
{
    my $hba    = $source->data_dir . '/pg_hba.conf';
    my $before = slurp_file($hba);
    my $write  = sub {
        open my $file, '>', $hba or die "$hba: $!";
        print $file @_;
        close $file;
        $source->reload;
    };
    $pair->source_sql('ALTER ROLE weak REPLICATION');
    $write->("local app weak reject\n$before");
    ok($pair->poll(sub { row_of('connection', as => { user => 'weak' })->{severity} eq 'error' }),
        'S04 pg_hba.conf rejects: found');
    my $row = row_of('connection', as => { user => 'weak' });
    like("$row->{message} $row->{fix}", qr/pg_hba\.conf/, 'S04 says which file');
    $write->($before);
    ok($pair->poll(sub { row_of('connection', as => { user => 'weak' })->{severity} eq 'ok' }),
        'S04 mended');
}

# --- C06: the minute is over
{
    my @given = (source => $waiting->conninfo, on => $waiting->source);
    my $long;
    ok($pair->poll(sub { $long = row_of('long_transactions', @given); $long->{severity} eq 'warning' }),
        'C06 a long transaction: found') or diag explain $long;
    my ($pid) = $long->{message} =~ /^a transaction of role "\w+" in database "waiting", process (\d+), is open for [\d:]+: the slot is created/;
    $waiting->source_sql('CREATE ROLE shown_nothing LOGIN REPLICATION');
    my @hidden = (@given, source => $waiting->conninfo(user => 'shown_nothing'));
    my $row = row_of('long_transactions', @hidden);
    like("$row->{severity} $row->{message}", qr/^notice since when 1 writing transaction is open is not shown to role shown_nothing:/,
        'C06 a role that is shown nothing of others does not call it ok');
    $waiting->source_sql($row->{fix});
    is(row_of('long_transactions', @hidden)->{severity}, 'warning', 'C06 and the fix shows it');
    is($long->{fix}, 'SELECT pg_terminate_backend(' . ($pid // 'nobody') . ');', 'C06 a long transaction: which');
    my ($rc, $out, $err) = $waiting->source->psql('waiting', $long->{fix});
    is($rc, 0, 'C06 a long transaction: the fix runs as it is') or diag $err;
    ok($pair->poll(sub { row_of('long_transactions', @given)->{severity} eq 'ok' }), 'C06 a long transaction: mended');
}

assert_fixes($pair, 'every fix can be pasted');
$pair->assert_nothing_left('all these checks have changed nothing');
done_testing();
