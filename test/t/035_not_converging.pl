# Apply that is slower than the source writes: the status says so, with both rates, and stops saying
# so when it catches up.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
$pair->source_sql('CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text)');
$pair->start;
$pair->wait_stage('streaming');
is($pair->status_row->{eta}, '00:00:00', 'caught up: nothing to wait for');

my $lock = $pair->lock_table($pair->target, 't');
my $status;
my $seen = $pair->poll(
    sub {
        $pair->source_sql(
            "INSERT INTO t (v) SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
        $status = $pair->status_row;
        return $status->{message} =~ /not converging/;
    },
    60);
ok($seen, 'the status says that it does not converge');
like(
    $status->{message},
    qr{the source writes \d+ [kM]?B(?:ytes)?/s of WAL, apply does \d+ \w+/s},
    'with both rates') or
    diag $status->{message};
is($status->{eta}, undef, 'no ETA');
like($status->{hint}, qr/^SELECT pg_terminate_backend\(\d+\); -- on the target/,
    'and what would help: here it is a lock');
is( $pair->target_sql(
        "SELECT value FROM livemigrate.metrics WHERE name = 'livemigrate_not_converging'"),
    '1',
    'the metrics say it, too');
cmp_ok($status->{lag_bytes}, '>', 16 << 20, 'the backlog is worth mentioning');

$pair->end_session($lock);
ok( $pair->poll(sub {
            my $row = $pair->status_row;
            $row->{message} !~ /not converging/ && $row->{lag_bytes} < 1 << 20;
        },
        60),
    'it catches up and the message goes');
$pair->finish('caught up');
done_testing();
