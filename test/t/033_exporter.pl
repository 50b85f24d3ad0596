# The monitoring kit: the exporter scrapes a running migration, and alerts and dashboard use only
# samples that exist.
use strict;
use warnings;

use FindBin;
use HTTP::Tiny;
use JSON::PP ();
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $kit  = "$FindBin::RealBin/../../contrib/monitoring";
my $pair = LiveMigrate::Test->new;
$pair->create_ledger;
$pair->start_load(rate => 30);
$pair->start;
$pair->wait_stage('streaming');
$pair->target_sql('CREATE ROLE monitor LOGIN');
$pair->target_sql(slurp_file("$kit/grants.sql"));

# --- what the kit names is there
my %known = map { $_ => 1 } qw(livemigrate_eta_seconds livemigrate_slot_safe_bytes);    # NULL at times
for my $file (qw(alerts.yaml grafana.json)) {
    my %used = map { $_ => 1 } slurp_file("$kit/$file") =~ /metric=\\?"([a-z_]+)/g;
    my @unknown;
    $pair->poll(sub {
            $known{$_} = 1 for split /\n/, $pair->target_sql('SELECT DISTINCT name FROM livemigrate.metrics');
            @unknown = grep { !$known{$_} } sort keys %used;
            return !@unknown;
        });
    cmp_ok(scalar keys %used, '>', 5, "$file uses samples");
    is_deeply(\@unknown, [], "$file uses only samples that exist");
}
my $dashboard = JSON::PP::decode_json(slurp_file("$kit/grafana.json"));
assert_dashboard($dashboard);

# What Grafana asks of a dashboard: panels with an identity and a place of their own on a grid of 24
# columns, of types that it has, and queries to a data source and with variables that are there.
sub assert_dashboard {
    my ($dashboard) = @_;
    my @panels = @{ $dashboard->{panels} };
    cmp_ok(scalar @panels, '>', 10, 'grafana.json is a dashboard');
    my %variable = map { $_->{name} => 1 } @{ $dashboard->{templating}{list} };
    my (%id, %cell, @wrong);
    for my $panel (@panels) {
        my $title = $panel->{title} // 'a panel without title';
        my %grid  = %{ $panel->{gridPos} // {} };
        push @wrong, "$title: id" if $id{ $panel->{id} // '' }++;
        push @wrong, "$title: type" unless ($panel->{type} // '') =~ /^(?:stat|bargauge|timeseries)$/;
        push @wrong, "$title: outside of the grid" if $grid{x} < 0 || $grid{x} + $grid{w} > 24;
        for my $x ($grid{x} .. $grid{x} + $grid{w} - 1) {
            push @wrong, "$title: over another" if grep { $cell{"$x $_"}++ } $grid{y} .. $grid{y} + $grid{h} - 1;
        }
        my %reference;
        for my $target (@{ $panel->{targets} }) {
            push @wrong, "$title: refId" if $reference{ $target->{refId} }++;
            push @wrong, "$title: no series of ours" unless $target->{expr} =~ /livemigrate_value\{metric="/;
            push @wrong, "$title: unit" unless exists $panel->{fieldConfig}{defaults};
            push @wrong, "$title: \$$_" for grep { !$variable{$_} && $_ ne '__rate_interval' }
              "$target->{expr} $panel->{datasource}{uid}" =~ /\$\{?(\w+)/g;
        }
        push @wrong, "$title: asks for nothing" unless %reference;
    }
    is_deeply(\@wrong, [], 'its panels are sound');
    return;
}

# --- the role sees figures, not secrets
like($pair->target_sql("SET ROLE monitor; SELECT count(*) FROM livemigrate.metrics"),
    qr/^\d{2,}$/, 'monitor reads metrics');
for my $secret ('source FROM livemigrate.migration', 'sql FROM livemigrate.schema_job') {
    is($pair->target_error("SET ROLE monitor; SELECT $secret")->{sqlstate},
        '42501', "monitor does not read $secret");
}
is($pair->target_error('SET ROLE monitor; SELECT livemigrate.migration_abort()')->{sqlstate},
    '42501', 'monitor changes nothing');

# --- failures of workers are counted, and the disk
my $figure = sub { $pair->target_sql("SELECT value FROM livemigrate.metrics WHERE name = 'livemigrate_$_[0]'") };
is($figure->('worker_failures_total'), '0', 'no worker has failed');
my $directory = $pair->target->data_dir;
my ($free) = `df --output=avail -B1 '$directory'` =~ /(\d+)\s*\z/;
cmp_ok(abs($figure->('spool_free_bytes') - $free), '<', 2e9, 'what is free where the spool is');
$pair->kill_worker('apply', 'TERM');
ok($pair->poll(sub { $figure->('worker_failures_total') == 1 }), 'a worker that was ended is counted');

# --- and starts of the coordinator, over restarts of the server
is($figure->('coordinator_starts_total'), '1', 'the coordinator was started once');
$pair->target->stop('immediate');
$pair->target->start;
$pair->wait_for_connections($pair->target);
ok($pair->poll(sub { $figure->('coordinator_starts_total') == 2 }), 'and again with the server');
ok($pair->poll(sub { $figure->('coordinator_running') == 1 }), 'it runs');
$pair->worker_pid('apply');

SKIP: {
    my ($exporter) = grep { -x } map { "$_/prometheus-postgres-exporter" } split /:/, $ENV{PATH};
    skip 'no prometheus-postgres-exporter', 6 unless $exporter;
    my $port = PostgreSQL::Test::Cluster::get_free_port();
    local $ENV{DATA_SOURCE_NAME} = sprintf 'host=%s port=%s dbname=app user=monitor sslmode=disable',
        $pair->target->host, $pair->target->port;
    my $process = $pair->start_background($exporter, "--extend.query-path=$kit/queries.yaml",
        '--disable-default-metrics', '--disable-settings-metrics',
        "--web.listen-address=127.0.0.1:$port");
    my $page = '';
    my $scrape = sub {
        $page = HTTP::Tiny->new(timeout => 60)->get("http://127.0.0.1:$port/metrics")->{content};
        return $page =~ /^livemigrate_value\{/m;
    };
    ok($pair->poll($scrape), 'the exporter gives our series') or diag $process->{output}, $page;
    my $value = sub {
        my ($labels) = @_;
        $scrape->();
        for my $line (split /\n/, $page) {
            next unless $line =~ /^livemigrate_value\{(.*)\} (\S+)$/;
            my ($found, $number) = ($1, $2);
            return $number unless grep { index($found, $_) < 0 } @$labels;
        }
        return;
    };
    my $comes_to = sub {
        my ($label, $least, @labels) = @_;
        my $last;
        ok($pair->poll(sub { ($last = $value->(\@labels) // 0) >= $least }), $label) or diag $page;
        return $last;
    };
    $comes_to->('stage', 1, 'metric="livemigrate_stage"', 'stage="streaming"');
    $comes_to->('workers', 1, 'metric="livemigrate_workers"', 'kind="apply"');
    $comes_to->('free disk', 1, 'metric="livemigrate_spool_free_bytes"');
    my @counter = ('metric="livemigrate_changes_applied_total"');
    my $before  = $comes_to->('a counter', 1, @counter);
    $comes_to->('which grows', $before + 1, @counter);
    like($page, qr/pg_exporter_last_scrape_error\S* 0/, 'no error');
    $pair->stop_background($process);
}

$pair->stop_load;
is($figure->('slot_kept'), '1', 'the slot is on the source');
$pair->set_endpos;
$pair->wait_stage('done');
ok($pair->poll(sub { $figure->('coordinator_running') == 0 }), 'done, and nobody works on it');
is($figure->('slot_kept'), '1', 'then the slot is still there');
$pair->finish('watched from outside', endpos => 0);
is($figure->('slot_kept'), '0', 'until the migration is cleaned up');
done_testing();
