# migration_check of a source with thousands of tables: it comes to its end, with a row for each table
# that has something to say, and one for all others. Says how long it took, of which nothing is
# asserted. PG_TEST_EXTRA=many_tables takes 10 000 tables.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;
use Time::HiRes qw(time);

my $tables = ($ENV{PG_TEST_EXTRA} // '') =~ /\bmany_tables\b/ ? 10_000 : 2_000;
my $pair   = LiveMigrate::Test->new(
    source_conf => "max_locks_per_transaction = 512\n",
    target_conf => "max_locks_per_transaction = 1024\n");
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
$pair->source_sql('ALTER TABLE t_7 DROP CONSTRAINT t_7_pkey; INSERT INTO t_7 VALUES (1); ALTER TABLE t_8 SET UNLOGGED; ANALYZE');

sub timed {
    my ($label, %arg) = @_;
    my $began = time;
    my @rows  = $pair->check_rows(%arg);
    diag sprintf '%s, %d tables: %.1f s', $label, $tables, time - $began;
    return @rows;
}

timed('the first check');
my @rows = timed('migration_check');
my %of;
push @{ $of{ $_->{check_id} } }, $_ for @rows;
like($of{tables}[0]{message}, qr/^$tables tables selected/, 'all tables are looked at');
is_deeply([ map {"$_->{severity} $_->{object}"} @{ $of{replica_identity} } ], ['error "public"."t_7"'], 'the one without a key');
is_deeply([ map {"$_->{severity} $_->{object}"} @{ $of{unlogged_tables} } ], ['notice "public"."t_8"'], 'the unlogged one');
is($of{source_locks}[0]{severity}, 'ok', 'locks are counted') or diag explain $of{source_locks};
cmp_ok(scalar @rows, '<', 100, 'no row for tables with nothing to say');

@rows = timed('with half of the tables excluded', exclude_tables => ['public.t_?*1', 'public.t_?*3', 'public.t_?*5', 'public.t_?*7', 'public.t_?*9']);
my ($selected) = map { $_->{message} =~ /^(\d+) tables? selected/ } grep { $_->{check_id} eq 'tables' } @rows;
cmp_ok($selected, '<', $tables * 0.6, 'half of them is selected');

# The probe waits for a transaction that writes, once.
my $open = $pair->session($pair->source, 'BEGIN; INSERT INTO t_1 VALUES (1)');
@rows = timed('beside an open transaction');
is(scalar(grep { $_->{check_id} eq 'slot_wait' } @rows), 1, 'that it is waited for is told once');
$pair->end_session($open);
$pair->assert_nothing_left('the checks have changed nothing');
done_testing();
