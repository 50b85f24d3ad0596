# The alert rules, as promtool reads them: they are valid, and fire on the series they are for, by
# themselves and for the server only that is in trouble.
use strict;
use warnings;

use File::Temp qw(tempdir);
use FindBin;
use IPC::Run qw(run);
use JSON::PP ();
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $rules = "$FindBin::RealBin/../../contrib/monitoring/alerts.yaml";
plan skip_all => 'no promtool: tools/install_deps.sh fetches it, out of the package prometheus, without installing that'
  unless grep { -x "$_/promtool" } split /:/, $ENV{PATH};

sub promtool_ok {
    my ($label, @arguments) = @_;
    my $output = '';
    ok(run([ 'promtool', @arguments ], '<', \'', '>&', \$output), $label) or diag $output;
}
promtool_ok('the rules are valid', qw(check rules), $rules);

# [metric, further labels, values]: promtool's notation, one value a minute.
sub series {
    my ($instance, $metric, $labels, $values) = @_;
    my $name = qq(livemigrate_value{instance="$instance", migration="main", metric="$metric"$labels});
    return "      - series: '$name'\n        values: '$values'\n";
}
my @fires = (
    MigrationFailed => '1m' => [ livemigrate_state => ', state="failed"', '1x60', '0x60' ],
    MigrationHasNoCoordinator => '5m' =>
      [ livemigrate_coordinator_running => '', '0x60', '1x60' ],
    MigrationCoordinatorRestarts => '20m' =>
      [ livemigrate_coordinator_starts_total => '', '1+0.25x60', '1+0.1x60' ],
    MigrationNotConverging => '15m' => [ livemigrate_not_converging => '', '1x60', '0x60' ],
    MigrationLagGrows => '40m' => [ livemigrate_lag_bytes => '', '0+1000000x60', '5x60' ],
    MigrationSlotInDanger => '5m' => [ livemigrate_slot_safe_bytes => '', '1e9x60', '9e9x60' ],
    MigrationRetainsWal => '6m' => [ livemigrate_slot_retained_bytes => '', '60e9x60', '1e9x60' ],
    MigrationHoldsXmin => '11m' => [ livemigrate_slot_xmin_age => '', '3e8x60', '1e6x60' ],
    MigrationSpoolDiskLow => '6m' => [ livemigrate_spool_free_bytes => '', '4e9x60', '90e9x60' ],
    MigrationSpoolDiskFills => '45m' =>
      [ livemigrate_spool_free_bytes => '', '100e9-1e9x60', '90e9x60' ],
    MigrationWorkersFail => '20m' =>
      [ livemigrate_worker_failures_total => '', '0+0.5x60', '2x60' ],
    MigrationRetries => '1m' => [ livemigrate_retry_attempts => '', '5x60', '1x60' ],
    MigrationConflicts => '1m' => [ livemigrate_conflicts_total => '', '1x60', '0x60' ]);
my %with = (
    MigrationHasNoCoordinator => [ livemigrate_state => ', state="running"', '1x60' ],
    MigrationLagGrows => [ livemigrate_replay_lag_seconds => '', '100x60' ]);

my $directory = tempdir(CLEANUP => 1);
my %tested;

# What promtool finds firing of a rule at a time, as the instances' names.
sub fires_ok {
    my ($label, $alert, $at, $series, @instances) = @_;
    $tested{$alert} = 1;
    my $samples = join '', map {
        my $instance = length $_ ? qq(, instance="$_") : '';
        "          - labels: '{alertname=\"$alert\"$instance}'\n            value: 1\n"
    } @instances;
    open my $file, '>', "$directory/test.yaml" or die $!;
    print $file <<"YAML";
rule_files: ['$rules']
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
$series
    promql_expr_test:
      - expr: count by (alertname, instance) (ALERTS{alertstate="firing", alertname="$alert"})
        eval_time: $at
        exp_samples:
$samples
YAML
    close $file;
    promtool_ok($label, qw(test rules), "$directory/test.yaml");
    return;
}
while (my ($alert, $at, $sample) = splice @fires, 0, 3) {
    my ($metric, $labels, $bad, $good) = @$sample;
    my $series = series('bad', $metric, $labels, $bad) . series('good', $metric, $labels, $good);
    if (my $second = $with{$alert}) {
        $series .= series($_, @$second) for qw(bad good);
    }
    fires_ok("$alert fires for the server in trouble", $alert, $at, $series, 'bad');
}

# --- while no coordinator runs: those without a slot, cleaned up or not seen for long do not count
sub migration {
    my ($instance, $state, $coordinator, $slot) = @_;
    return series($instance, livemigrate_state => qq(, state="$state"), '1x130')
      . series($instance, livemigrate_coordinator_running => '', $coordinator)
      . series($instance, livemigrate_slot_kept => '', $slot);
}
my $left = join '',
  migration('paused',     'paused',  '0x130',        '1x130'),
  migration('pausing',    'paused',  '1x130',        '1x130'),
  migration('before',     'paused',  '0x130',        '0x130'),
  migration('done',       'done',    '0x130',        '1x130'),
  migration('cleaned',    'done',    '0x130',        '1x30 0x100'),
  migration('aborted',    'aborted', '0x130',        '1x130'),
  migration('given up',   'aborted', '0x130',        '0x130'),
  migration('failed',     'failed',  '0x130',        '1x130'),
  migration('restarting', 'running', '0x30 1 0x100', '1x130');
fires_ok("$$_[0] at $$_[1], without a coordinator", @$_[ 0, 1 ], $left, @$_[ 2 .. $#$_ ])
  for [ MigrationSlotKept => '59m' ],
  [ MigrationSlotKept => '61m', qw(aborted done failed paused) ],
  [ MigrationPausedForLong => '59m' ],
  [ MigrationPausedForLong => '61m', qw(before paused) ];
fires_ok('MigrationNotSeen not while a migration is seen', 'MigrationNotSeen', '6m', $left);
fires_ok('MigrationNotSeen fires without series', 'MigrationNotSeen', '6m',
    series('other', 'livemigrate_none', '', '_x60') =~ s/livemigrate_value/something/r, '');

# --- the dashboard's expressions, as rules
my $dashboard = JSON::PP::decode_json(slurp_file($rules =~ s/alerts\.yaml$/grafana.json/r));
my @expressions = map { $_->{expr} } map { @{ $_->{targets} } } @{ $dashboard->{panels} };
my $recorded = '';
$recorded .= "      - record: panel:$_\n        expr: '" . ($expressions[$_] =~ s/\$migration/.*/gr =~ s/\$__rate_interval/5m/gr) . "'\n"
  for 0 .. $#expressions;
open my $file, '>', "$directory/panels.yaml" or die $!;
print $file "groups:\n  - name: panels\n    rules:\n$recorded";
close $file;
promtool_ok("the dashboard's " . @expressions . ' expressions are valid', qw(check rules), "$directory/panels.yaml");

my @rules = do { open my $file, '<', $rules or die $!; map { /- alert: (\w+)/ ? $1 : () } <$file> };
is_deeply([ sort keys %tested ], [ sort @rules ], 'every rule is tested');
done_testing();
