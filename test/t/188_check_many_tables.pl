# migration_check of a source with thousands of tables: it comes to its end, with a row for each table
# that has something to say, and one for all others. 10 000 tables may take 5 seconds of processor time
# of both backends, and more of a machine that is slower than where that was measured; how long it was is
# only said. PG_TEST_EXTRA=many_tables takes so many, else it is their share.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use List::Util qw(max);
use LiveMigrate::Test;
use POSIX ();
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes qw(time);

my $measured = 0.5; # seconds
my $tables = ($ENV{PG_TEST_EXTRA} // '') =~ /\bmany_tables\b/ ? 10_000 : 2_000;
my $pair   = LiveMigrate::Test->new(
    source_conf => "max_locks_per_transaction = 512\nautovacuum = off\n",
    target_conf => "max_locks_per_transaction = 1024\nautovacuum = off\n");
for (my $first = 1; $first <= $tables; $first += 500) {
    my $last = $first + 499;
    $pair->source_sql(<<"SQL");
DO \$\$ BEGIN
    FOR i IN $first .. $last LOOP
        EXECUTE format('CREATE TABLE t_%s (id int PRIMARY KEY, at timestamptz, note text)', i);
        EXECUTE format('CREATE INDEX ON t_%s (at)', i);
    END LOOP;
END \$\$
SQL
}
$pair->source_sql('ALTER TABLE t_7 DROP CONSTRAINT t_7_pkey; INSERT INTO t_7 VALUES (1); ALTER TABLE t_8 SET UNLOGGED');
# 20 MB that only the TOAST table has, which ANALYZE does not count, and 30 MB that nobody has counted.
$pair->source_sql(q{ALTER TABLE t_9 ALTER note SET STORAGE EXTERNAL; INSERT INTO t_9 VALUES (1, now(), repeat('x', 20000000));
    ALTER TABLE t_10 ALTER note SET STORAGE EXTERNAL, SET (autovacuum_enabled = off, toast.autovacuum_enabled = off);
    CREATE TABLE filled (id int PRIMARY KEY, note text) WITH (autovacuum_enabled = off);
    ALTER TABLE filled ALTER note SET STORAGE PLAIN; INSERT INTO t_10 VALUES (1, now(), repeat('x', 5000))});
$pair->source_sql('VACUUM t_10');
# As much again, of a TOAST table that was counted when it was small, and of a table when it was empty.
$pair->source_sql(q{INSERT INTO t_10 VALUES (2, now(), repeat('x', 20000000)); ANALYZE;
    INSERT INTO filled SELECT g, repeat('x', 3900) FROM generate_series(1, 7500) g});
$pair->source_sql(q{CREATE TABLE late (id int PRIMARY KEY, note text) WITH (autovacuum_enabled = off);
    ALTER TABLE late ALTER note SET STORAGE PLAIN; INSERT INTO late SELECT g, repeat('x', 3900) FROM generate_series(1, 7500) g});
# What was inserted is in the statistics when the session has reported it.
$pair->poll(sub { $pair->source_sql(q{SELECT pg_stat_get_tuples_inserted('filled'::regclass) > 0
        AND pg_stat_get_ins_since_vacuum(reltoastrelid) > 0 FROM pg_class WHERE oid = 't_10'::regclass}) eq 't' })
  or die "the source does not report what was inserted\n";

# User and system time in seconds: that of the process, and that of its ended children.
sub times_of {
    my ($pid) = @_;
    my @stat = split ' ', slurp_file("/proc/$pid/stat") =~ s/^.*\) //sr;
    return map { $_ / POSIX::sysconf(POSIX::_SC_CLK_TCK()) } $stat[11] + $stat[12], $stat[13] + $stat[14];
}

# What the postmasters' ended children have used.
sub processor_time {
    my $time = 0;
    for my $node ($pair->source, $pair->target) {
        my ($pid) = slurp_file($node->data_dir . '/postmaster.pid') =~ /^(\d+)/;
        $time += (times_of($pid))[1];
    }
    return $time;
}

# How many times as long as where the limit was measured a piece of work takes here; 1 at least.
sub slowness {
    my $session = $pair->session($pair->source, 'SET jit = off');
    my $pid     = $session->query_safe('SELECT pg_backend_pid()');
    my ($began) = times_of($pid);
    $session->query_safe('SELECT count(DISTINCT md5(g::text)) FROM generate_series(1, 300000) g');
    my ($ended) = times_of($pid);
    $pair->end_session($session);
    diag sprintf 'the work to compare with: of a processor %.2f s', $ended - $began;
    return max(1, ($ended - $began) / $measured);
}

sub timed {
    my ($label, %arg) = @_;
    my ($began, $used) = (time, processor_time());
    my @rows = $pair->check_rows(%arg);
    my $took = time - $began;
    # The connections that the check had open end behind it.
    $pair->poll(sub { $pair->source->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE application_name = 'livemigrate'}) == 0 });
    $used = processor_time() - $used;
    diag sprintf '%s, %d tables: %.1f s, of a processor %.1f s', $label, $tables, $took, $used;
    return ($used, @rows);
}

timed('the first check');
my ($used, @rows) = timed('migration_check');
cmp_ok($used, '<', slowness() * (0.5 + 4.5 * $tables / 10_000), 'it takes the processor time that it may');
my %of;
push @{ $of{ $_->{check_id} } }, $_ for @rows;
my ($count, $size) = $of{tables}[0]{message} =~ /^(\d+) tables selected, (\d+)[.\d]* MB in all$/;
is($count, $tables + 2, 'all tables are looked at') or diag explain $of{tables};
cmp_ok($size, '>=', 96, 'with what was counted of them, and what was not');
is_deeply([ map {"$_->{severity} $_->{object}"} @{ $of{replica_identity} } ], ['error "public"."t_7"'], 'the one without a key');
is_deeply([ map {"$_->{severity} $_->{object}"} @{ $of{unlogged_tables} } ], ['notice "public"."t_8"'], 'the unlogged one');
is($of{source_locks}[0]{severity}, 'ok', 'locks are counted') or diag explain $of{source_locks};
cmp_ok(scalar @rows, '<', 100, 'no row for tables with nothing to say');

($used, @rows) = timed('with half of the tables excluded', exclude_tables => ['public.t_?*1', 'public.t_?*3', 'public.t_?*5', 'public.t_?*7', 'public.t_?*9']);
my ($selected) = map { $_->{message} =~ /^(\d+) tables? selected/ } grep { $_->{check_id} eq 'tables' } @rows;
cmp_ok($selected, '<', $tables * 0.6, 'half of them is selected');

# The probe waits for a transaction that writes, once.
my $open = $pair->session($pair->source, 'BEGIN; INSERT INTO t_1 VALUES (1)');
($used, @rows) = timed('beside an open transaction');
is(scalar(grep { $_->{check_id} eq 'slot_wait' } @rows), 1, 'that it is waited for is told once');
$pair->end_session($open);
$pair->assert_nothing_left('the checks have changed nothing');
done_testing();
