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
ok($pair->poll(sub { ($pair->status_row->{eta} // '') eq '00:00:00' }), 'caught up: nothing to wait for');

my $lock = $pair->lock_table($pair->target, 't');
my ($status, $metric);
my $seen = $pair->poll(
    sub {
        $pair->source_sql(
            "INSERT INTO t (v) SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
        $metric = $pair->target_sql(
            "SELECT value FROM livemigrate.metrics WHERE name = 'livemigrate_not_converging'");
        $status = $pair->status_row;
        return $metric eq '1' && $status->{message} =~ /not converging/;
    });
ok($seen, 'the status says that it does not converge, and so do the metrics')
    or diag "$status->{message}, the metrics say $metric";
like(
    $status->{message},
    qr{the source writes \d+ [kM]?B(?:ytes)?/s of WAL, apply does \d+ \w+/s},
    'with both rates') or
    diag $status->{message};
is($status->{eta}, undef, 'no ETA');
like($status->{hint}, qr/^SELECT pg_terminate_backend\(\d+\); -- on the target/,
    'and what would help: here it is a lock');
cmp_ok($status->{lag_bytes}, '>', 16 << 20, 'the backlog is worth mentioning');

$pair->end_session($lock);
ok( $pair->poll(sub {
            my $row = $pair->status_row;
            $row->{message} !~ /not converging/ && $row->{lag_bytes} < 1 << 20;
        }),
    'it catches up and the message goes');
$pair->finish('caught up');
done_testing();
