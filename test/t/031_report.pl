# dashboard() and migration_report(): content, size, escaping, no secrets; in a browser if there is
# one.
use strict;
use warnings;

use File::Temp;
use FindBin;
use IPC::Run ();
use JSON::PP ();
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair   = LiveMigrate::Test->new;
my $target = $pair->target;
$pair->create_ledger;
$pair->source_sql(<<'SQL');
CREATE SCHEMA many;
DO $$ BEGIN
    FOR i IN 1..300 LOOP
        EXECUTE format('CREATE TABLE many.t%s (id int PRIMARY KEY, v text)', i);
        EXECUTE format('INSERT INTO many.t%s SELECT g, g FROM generate_series(1, 5) g', i);
    END LOOP;
END $$;
CREATE TABLE many."<script>alert('x')</script>" ("a&b" int PRIMARY KEY);
INSERT INTO many."<script>alert('x')</script>" VALUES (1);
CREATE TABLE many."größe 日本" (id int PRIMARY KEY);
SQL

# --- the screen, at every point
sub screen {
    my ($arguments) = @_;
    my $text = $pair->target_sql("SELECT * FROM livemigrate.dashboard($arguments)");
    return split /\n/, $text, -1;
}

sub assert_fits {
    my ($label, @lines) = @_;
    cmp_ok(scalar @lines, '<=', 17, "$label: at most 17 lines");
    my @wide = grep {
        my $line = $_;
        utf8::decode($line);
        length $line > 78
    } @lines;
    is_deeply(\@wide, [], "$label: at most 78 columns");
}

$pair->assert_error('SELECT livemigrate.dashboard()', 'no migration, no screen',
    sqlstate => qr/42704/);
$pair->assert_error('SELECT livemigrate.migration_report()',
    'no migration, no report', sqlstate => qr/42704/);

$pair->start(
    source      => $pair->conninfo(password => 'sEcReT'),
    pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->wait_state('paused');
assert_fits('paused', screen(''));
my $lock = $pair->lock_table($target, 'ledger.bulk');
$pair->start_load(rate => 50);
$pair->resume([]);
$pair->wait_blocked($target);
my @lines = screen('ascii => true');
assert_fits('data', @lines);
unlike(join("\n", @lines), qr/[^\n -~]/, 'data: plain ASCII');
like($lines[0], qr/^main  data, running/, 'data: the heading');
like(join("\n", @lines), qr/^data +\[#*-*\] +\d+ %  \d+\/\d+ tables/m, 'data: a bar for the stage');
like(join("\n", @lines), qr/^  ledger\.bulk +\[#*-*\]/m, 'data: a bar for the running table');
$pair->poll(sub { join('', screen('')) =~ /\xe2\x96[\x88\x91]/ }) or
    fail('data: block characters');
my $report = $pair->target_sql('SELECT livemigrate.migration_report()');
like($report, qr/<span class="state soft">running/, 'a report while it runs');
$pair->end_session($lock);
$pair->wait_stage('streaming');
$pair->poll(
    sub {
        $pair->target_sql(
            "SELECT count(*) > 1 FROM livemigrate.lag_history WHERE stage = 'streaming'") eq 't';
    });
@lines = screen("'main'");
assert_fits('streaming', @lines);
like(join(' ', @lines), qr/SELECT\s+livemigrate\.set_endpos\(\);/, 'streaming: the hint is whole');
$pair->stop_load;
$pair->set_endpos;
$pair->wait_stage('done');
assert_fits('done', screen(''));

# --- comparison and checks are kept
is($pair->target_sql('SELECT count(*) FROM livemigrate.compare_data() WHERE NOT equal'),
    '0', 'compare_data');
is( $pair->target_sql(
        'SELECT count(*) > 300 AND bool_and(equal) FROM livemigrate.comparisons'),
    't',
    'comparisons: what compare_data found');
is( $pair->target_sql(
        "SELECT count(*) > 20 AND count(*) FILTER (WHERE severity = 'ok') > 10
            FROM livemigrate.checks WHERE migration = 'main'"
    ),
    't',
    'checks: what the preflight stage found');

# --- the report
$report = $pair->target_sql('SELECT livemigrate.migration_report()');
like($report, qr/^<!DOCTYPE html>/, 'report: a page');
unlike($report, qr/<script/, 'SEC-23 report: a hostile name is escaped');
like($report, qr/many\.&lt;script&gt;alert\(&#39;x&#39;\)/, 'report: and shown');
like($report, qr/gr&#xf6;&#xdf;e &#x65e5;&#x672c;/, 'report: independent of the encoding');
unlike($report, qr/[^\x00-\x7f]/, 'report: ASCII only');
unlike($report, qr/sEcReT/, 'report: no password');
unlike($report, qr{https?://|url\(|\@import| src=}, 'report: asks nobody for anything');
my @bars = $report =~ /<i style="left:[\d.]+%;width:[\d.]+%" title="many\.t\d+ \(table\)/g;
is(scalar @bars, 300, 'report: a bar for each table');
cmp_ok(scalar(() = $report =~ /title="[^"]* \(index\)/g), '>=', 60, 'report: and each index');
like($report, qr/<b>equal<\/b><span>comparison/, 'report: the comparison');
like($report, qr/replica_identity/, 'report: the checks');
like($report, qr/stage streaming begins/, 'report: the events');
is(scalar(() = $report =~ /<path class="line/g), 5, 'report: the charts');

# --- the same as JSON
my $json = JSON::PP::decode_json($pair->target_sql('SELECT livemigrate.migration_report_json()'));
is($json->{migration}{state}, 'done', 'json: the migration');
is(scalar(grep { $_->{name} =~ /^many\.t\d+$/ } @{ $json->{tables} }), 300, 'json: the tables');
is_deeply([ map { $_->{stage} } @{ $json->{stages} } ],
    [qw(preflight slot roles schema data indexes catchup streaming cutover)], 'json: the stages');
ok(scalar @{ $json->{$_} }, "json: $_") for qw(jobs samples checks comparisons events);
unlike(JSON::PP::encode_json($json), qr/sEcReT/, 'json: no password');

# --- in a browser
SKIP: {
    my ($browser) = grep { -x } map { ("$_/chromium", "$_/chromium-browser", "$_/google-chrome") }
        split /:/, $ENV{PATH};
    skip 'no Chromium', 3 unless $browser;
    my $directory = File::Temp->newdir;
    my $page      = "$directory/report.html";
    open(my $file, '>:raw', $page) or die $!;
    print $file $report;
    close $file;
    local $ENV{HOME} = "$directory";
    my ($dom, $log) = ('', '');
    my $finished = eval {
        IPC::Run::run(
            [   $browser, '--headless', '--no-sandbox', '--disable-gpu', '--enable-logging=stderr',
                "--user-data-dir=$directory/profile", '--window-size=390,844', '--dump-dom',
                "file://$page"
            ],
            '>', \$dom, '2>', \$log, IPC::Run::timeout(90));
    };
    skip "Chromium does not run here: $log", 3 unless $finished;
    unlike($log, qr/CONSOLE/, 'browser: no error on the console');
    is(scalar(() = $dom =~ /<path class="line/g), 5, 'browser: the charts are there');
    unlike($dom, qr/<script/, 'browser: no script');
}

$pair->cleanup;
like($pair->target_sql('SELECT livemigrate.migration_report()'),
    qr/state good">done/, 'a report after the cleanup');

done_testing();
