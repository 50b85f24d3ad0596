# Hard cases of the source by number: R07, R20, R22.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

# --- R20: a source whose clock is an hour ahead or behind, in an odd time zone.  Lag is measured by the
# source's clock alone, and nothing that is shown becomes negative.
my $shim = <<'C';
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long skew(void) { const char *s = getenv("TEST_CLOCK_SKEW"); return s ? atol(s) : 0; }
int gettimeofday(struct timeval *restrict tv, void *restrict tz) {
    int (*real)(struct timeval *, void *) = dlsym(RTLD_NEXT, "gettimeofday");
    int result = real(tv, tz);
    tv->tv_sec += skew();
    return result;
}
time_t time(time_t *t) {
    time_t (*real)(time_t *) = dlsym(RTLD_NEXT, "time");
    time_t now = real(NULL) + skew();
    if (t) *t = now;
    return now;
}
C

sub build_shim {
    my $base = PostgreSQL::Test::Utils::tempdir();
    open my $file, '>', "$base/clock.c" or die "clock.c: $!\n";
    print $file $shim;
    close $file or die "clock.c: $!\n";
    system("cc -shared -fPIC -o $base/clock.so $base/clock.c -ldl 2>/dev/null") == 0 or return;
    return "$base/clock.so";
}

my $pair    = LiveMigrate::Test->new;
my $library = build_shim();
for my $skew ($library ? (3600, -3600) : ()) {
    my $hours = $skew > 0 ? 'ahead' : 'behind';
    my $one;
    {
        local $ENV{LD_PRELOAD}      = $library;
        local $ENV{TEST_CLOCK_SKEW} = $skew;
        $one = $pair->other_source(undef, $hours);
    }
    $one->source->append_conf('postgresql.conf',
        "timezone = 'Asia/Kathmandu'\nlog_timezone = 'America/St_Johns'\n");
    $one->source->reload;
    my $off = $one->source_sql('SELECT round(extract(epoch FROM clock_timestamp()))') -
        $one->target_sql('SELECT round(extract(epoch FROM clock_timestamp()))');
    cmp_ok(abs($off - $skew), '<', 30, "R20 the source's clock is an hour $hours");
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text);
        INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 50000) g');
    $one->start;
    $one->wait_stage('streaming');
    my @wrong;
    for my $i (1 .. 20) {
        $one->source_sql("UPDATE t SET v = 'round $i' WHERE id <= 500");
        my $status = $one->target_sql("SELECT concat_ws(' ', replay_lag, eta) FROM
            livemigrate.migration_status()
            WHERE replay_lag < '0' OR replay_lag > '1 min' OR eta < '0' OR eta > '10 min'");
        push @wrong, $status if $status ne '';
    }
    is("@wrong", '', 'R20 lag and time left are those of one clock');
    is( $one->target_sql("SELECT count(*) FROM livemigrate.metrics
            WHERE name ~ '(lag|eta|rate|per_second)' AND value < 0"),
        0, 'R20 no figure is negative');
    ok( $one->poll(sub { $one->target_sql("SELECT count(*) FROM t WHERE v = 'round 20'") == 500 }),
        'R20 changes go on to arrive');
    $one->finish("R20 $hours");
    $one->source->stop;
}
diag 'skipped: R20: no C compiler for another clock' unless $library;

# --- R22: over SSL, with enough data in both directions to fill libpq's buffers many times.
my $source = $pair->source;
SKIP: {
    my $data = $source->data_dir;
    my $made = system("openssl req -new -x509 -days 2 -nodes -subj /CN=source -out $data/server.crt"
            . " -keyout $data/server.key 2>/dev/null") == 0;
    skip 'R22 needs openssl and a server with SSL', 4
        unless $made && $source->safe_psql('postgres', 'SHOW ssl_library') ne '';
    chmod 0600, "$data/server.key";
    $source->append_conf('postgresql.conf', "ssl = on\nlisten_addresses = '127.0.0.1'\n");
    $source->append_conf('pg_hba.conf', "hostssl all all 127.0.0.1/32 trust\n");
    $source->append_conf('pg_hba.conf', "hostssl replication all 127.0.0.1/32 trust\n");
    $source->restart;
    my $ssl = $pair->database('ssl');
    $ssl->source_sql(q{CREATE TABLE wide (id int PRIMARY KEY, v text);
        INSERT INTO wide SELECT g, repeat(md5(g::text), 300) FROM generate_series(1, 5000) g;
        INSERT INTO wide SELECT 10000 + g, repeat(md5(g::text), 300000) FROM generate_series(1, 5) g});
    $ssl->start(source => $ssl->conninfo(host => '127.0.0.1', sslmode => 'require'));
    $ssl->wait_stage('streaming');
    is( $ssl->source_sql("SELECT bool_and(s.ssl) FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid)
            WHERE a.application_name = 'livemigrate'"),
        't', 'R22 all connections use SSL');
    $ssl->source_sql(q{UPDATE wide SET v = reverse(v) || 'changed'});
    is( $ssl->target_sql("SELECT stage, message, detail FROM livemigrate.events
            WHERE severity IN ('warning', 'error') AND stage <> 'preflight'"),
        '', 'R22 no connection breaks');
    $ssl->finish('R22');
}

# --- R07: failover to a standby that does not have the slot.
my $failover = $pair->database('failover');
$failover->source_sql('CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)');
$source->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($source, 'base', has_streaming => 1);
my $key = $standby->data_dir . '/server.key';
chmod 0600, $key if -e $key;
$standby->start;
$failover->start;
$failover->wait_stage('streaming');
$failover->source_sql('INSERT INTO t VALUES (2)');
ok($failover->poll(sub { $failover->target_sql('SELECT count(*) FROM t') == 2 }), 'R07 streaming');
$source->wait_for_catchup($standby, 'replay', $source->lsn('insert'));
my $port = $source->port;
$source->stop('immediate');
$standby->promote;
$standby->stop;
$standby->append_conf('postgresql.conf', "port = $port\n");
{
    local $standby->{_port} = $port;
    $standby->start;
    $standby->safe_psql('failover', 'INSERT INTO t VALUES (3)');
    $failover->wait_state('failed');
    my $status = $failover->status_row;
    like($status->{last_error}, qr/slot/, 'R07 the missing slot is named');
    isnt($status->{hint}, undef, 'R07 with what can be done');
    is($failover->target_sql('SELECT string_agg(id::text, $$ $$ ORDER BY id) FROM t'),
        '1 2', 'R07 nothing of the new primary is applied');
    diag "R07: $status->{last_error} | $status->{hint}";
    $standby->stop;
}
done_testing();
