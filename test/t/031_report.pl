# dashboard() and migration_report(): content, size, escaping, no secrets; in a browser, if there is
# one, at the sizes of a desktop and a phone, in light, dark and on paper.
use strict;
use warnings;

use File::Temp;
use FindBin;
use JSON::PP ();
use MIME::Base64 ();
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Browser;
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
# Apply may wait for a lock at this very moment, of autovacuum's say, for which there is another hint.
$pair->poll(sub { @lines = screen("'main'"); join(' ', @lines) =~ /set_endpos/ });
assert_fits('streaming', @lines);
like(join(' ', @lines), qr/SELECT\s+livemigrate\.set_endpos\(\);/, 'streaming: the hint is whole');

# A change that does not fit, is passed over, and made by hand.
$pair->target_sql("INSERT INTO many.t1 VALUES (6, 'in the way')");
$pair->source_sql("INSERT INTO many.t1 VALUES (6, 'six')");
$pair->wait_state('failed');
$pair->target_sql('SELECT livemigrate.skip_transaction(end_lsn) FROM livemigrate.conflicts');
$pair->resume;
$pair->poll(sub { $pair->target_sql('SELECT count(skipped_at) FROM livemigrate.skipped_transaction') eq '1' });
$pair->target_sql("UPDATE many.t1 SET v = 'six' WHERE id = 6");
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
like($report, qr/compare_schema\(\) was not called/, 'report: what was not asked for');
like($report, qr/replica_identity/, 'report: the checks');
like($report, qr/>1<\/b><span>conflict, 1 skipped transaction</, 'report: that there was a conflict');
like($report, qr/many\.t1<\/td><td class="name"><code>\(id\)=\(6\)</, 'report: of which table and key');
like($report, qr/<td class="n">1<\/td><td class="text">[^<]+<br><span class="soft">asked for by \w+ at/, 'report: and what was skipped');
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

is($json->{conflicts}[0]{name}, 'many.t1', 'json: the conflict');
is($json->{skipped_transactions}[0]{changes}, 1, 'json: the skipped transaction');
is($json->{schema_compared}, undef, 'json: the schema was not compared');

# --- differences
$pair->target_sql("UPDATE many.t2 SET v = 'other' WHERE id = 3; ALTER TABLE many.t3 ALTER v SET DEFAULT '<new>'");
$pair->target_sql('SELECT count(*) FROM livemigrate.compare_data(NULL, $${many.t2}$$)');
$pair->target_sql('SELECT count(*) FROM livemigrate.compare_schema()');
$report = $pair->target_sql('SELECT livemigrate.migration_report()');
like($report, qr/<b>1 difference<\/b><span>comparison/, 'differences: the verdict');
like($report, qr/differs<\/span><br><span class="soft">[^<]*keys: \(id\)=\(3\)/, 'differences: the key');
like($report, qr/column many\.t3\.v<.*not there|column many\.t3\.v<.*&lt;new&gt;/s, 'differences: of the schema');
$json = JSON::PP::decode_json($pair->target_sql('SELECT livemigrate.migration_report_json()'));
my ($differs) = grep { $_->{relation} eq 'many.t2' } @{ $json->{comparisons} };
is_deeply($differs->{differing_keys}, ['(id)=(3)'], 'json: the key');
is($json->{schema_differences}[0]{object}, 'column many.t3.v', 'json: the schema');

# --- in a browser
my $directory = File::Temp->newdir;
open(my $file, '>:raw', "$directory/report.html") or die $!;
print $file $report;
close $file;

# What does not have a size, what sticks out of the page or of what scrolls, and the text that stands
# out least from what is behind it, as WCAG reckons contrast.
my $measure = <<'JS';
(() => {
  const box = e => e.getBoundingClientRect();
  const seen = e => box(e).width > 0 && box(e).height > 0;
  const parts = c => { const p = c.match(/[\d.]+/g).map(Number); return p.length > 3 ? p : [...p, 1]; };
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = parts(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; }
    return [255, 255, 255, 1]; };
  let least = 99, worst = '';
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !seen(e)) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) { least = ratio; worst = e.outerHTML.slice(0, 100); }
  }
  const all = q => [...document.querySelectorAll(q)];
  return {
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    scrolling: all('.wide, .card, figure').filter(e => e.scrollWidth > e.clientWidth).map(e => (e.previousElementSibling || e).textContent.slice(0, 60)),
    outside: all('main *').filter(e => seen(e) && box(e).right > document.documentElement.clientWidth + 1).length,
    charts: all('figure svg').filter(e => box(e).width > 200 && box(e).height > 80).length,
    lines: all('figure path.line').filter(e => box(e).width > 0).length,
    bars: all('.lane i').filter(seen).length,
    thin: all('.tile b, .tile span, h2, td.name').filter(e => e.textContent && getComputedStyle(e).display !== 'none' && e.closest('details:not([open])') === null && !seen(e)).length,
    contrast: Math.round(least * 10) / 10, worst: worst, background: light(behind(document.body)) };
})()
JS
my @views = (
    [ 'desktop', 1280, 800 ], [ 'phone', 390, 844, mobile => 1 ],
    [ 'desktop, dark', 1280, 800, scheme => 'dark' ], [ 'phone, dark', 390, 844, mobile => 1, scheme => 'dark' ],
    [ 'paper', 794, 1123, media => 'print', scheme => 'dark' ]);
SKIP: {
    my $checks = 8 * @views + 1;
    skip 'browser: chromium is not installed (apt-get install chromium): the report is not looked at', $checks
      unless LiveMigrate::Browser::program();
    my $browser = LiveMigrate::Browser->new;
    skip "browser: chromium does not run here: $@", $checks unless $browser;
    for my $view (@views) {
        my ($label, $width, $height, %opt) = @$view;
        $browser->open_page("file://$directory/report.html", $width, $height, %opt);
        my $seen = $browser->value($measure);
        is_deeply([ $browser->complaints ], [], "browser, $label: nothing on the console");
        is("$seen->{overflow} $seen->{outside}", '0 0', "browser, $label: nothing sticks out");
        is_deeply($seen->{scrolling}, [], "browser, $label: nothing has to be scrolled sideways");
        is($seen->{charts}, 4, "browser, $label: the charts have a size");
        is($seen->{lines}, 5, "browser, $label: and lines");
        cmp_ok($seen->{bars}, '>', 360, "browser, $label: the bars are there");
        cmp_ok($seen->{contrast}, '>=', 4.5, "browser, $label: text can be read") or diag $seen->{worst};
        my $is_dark = ($opt{scheme} // '') eq 'dark' && !$opt{media};
        cmp_ok($seen->{background}, $is_dark ? '<' : '>', 0.5, "browser, $label: " . ($is_dark ? 'dark' : 'light'));
    }
    my $paper = MIME::Base64::decode_base64($browser->command('Page.printToPDF', printBackground => JSON::PP::true)->{data});
    like($paper, qr/^%PDF-/, 'browser: it can be printed');
    note scalar(() = $paper =~ m{/Type\s*/Page\b}g), ' pages';
}

$pair->cleanup;
like($pair->target_sql('SELECT livemigrate.migration_report()'),
    qr/state good">done/, 'a report after the cleanup');

done_testing();
