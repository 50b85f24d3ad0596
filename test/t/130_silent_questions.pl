# R10 for what is asked of the source beside COPY: the columns of the tables, and large objects. Locks on
# the target hold the worker just before it asks, until the source's processes are stopped.  And the
# worker, which has copied a row of 60 MB before, has given its memory back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my @stopped;

END {
    my $exit_code = $?;
    kill 'CONT', @stopped;
    $? = $exit_code;
}

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql(q{CREATE TABLE large (id int PRIMARY KEY, v text);
    INSERT INTO large SELECT g, repeat(md5(g::text), 4) FROM generate_series(1, 20000) g;
    CREATE TABLE wide (id int PRIMARY KEY, v bytea);
    ALTER TABLE wide ALTER v SET STORAGE EXTERNAL;
    INSERT INTO wide VALUES (1, convert_to(repeat('x', 60000000), 'UTF8'));
    CREATE TABLE small (id int PRIMARY KEY);
    INSERT INTO small VALUES (1);
    SELECT lo_from_bytea(0, 'a large object')});

sub stop_source {
    @stopped = split /\n/, $source->safe_psql('postgres', "SELECT pid FROM pg_stat_activity
        WHERE application_name = 'livemigrate'");
    cmp_ok(scalar @stopped, '>=', 3, 'the sessions on the source are stopped');
    kill 'STOP', @stopped;
    return;
}

sub is_silent {
    my ($doing, $label) = @_;
    my $message = qr/no data has come from the source since [-\d]+ [\d:.]+ ?\S+ \($doing\)/;
    ok($pair->poll(sub { $pair->status_row->{message} =~ $message }), $label)
        or $pair->diagnose('R10');
    is($pair->status_row->{state}, 'running', "$label: and goes on waiting");
    $pair->assert_answers_barrier("$label are asked for");
    return;
}

$pair->start(pause_after => ['schema'], table_jobs => 1);
$pair->wait_stage('schema');
$pair->wait_state('paused');
# The wide and the large table are claimed alone, and first; the worker stands when it has copied that.
my $table = $pair->lock_table($target, 'public.large', 'SHARE');
$pair->resume(['data']);
$pair->wait_blocked($target);
SKIP: {
    my $worker = $pair->target_sql(q{SELECT pid FROM livemigrate.workers WHERE kind = 'copy'});
    my ($memory) = -r "/proc/$worker/status"
        ? slurp_file("/proc/$worker/status") =~ /^RssAnon:\s+(\d+) kB/m : ();
    skip 'no figures of memory here', 2 unless defined $memory;
    is($pair->target_sql('SELECT octet_length(v) FROM wide'), 60000000, 'the wide row came');
    cmp_ok($memory, '<', 40000, 'and its memory is free again');
}
my $claims = $pair->lock_table($target, 'livemigrate.copy_part', 'SHARE');
$pair->end_session($table);
$pair->wait_blocked($target);
my $objects = $pair->lock_table($target, 'pg_catalog.pg_largeobject_metadata');
stop_source();
$pair->end_session($claims);
is_silent(qr{locking tables of the source}, 'R10 the tables of a part');

kill 'CONT', splice @stopped;
$pair->wait_blocked($target);
stop_source();
$pair->end_session($objects);
is_silent(qr/copying large objects [-\d]+/, 'R10 large objects');

kill 'CONT', splice @stopped;
$pair->wait_stage('data');
is($pair->target_sql(q{SELECT string_agg(convert_from(lo_get(oid), 'UTF8'), ',')
        FROM pg_largeobject_metadata}),
    'a large object', 'R10 the large object came');
unlike($pair->status_row->{message}, qr/no data has come/, 'R10 nothing is silent any more');
$pair->wait_state('paused');
$pair->resume([]);
$pair->wait_stage('streaming');
is($pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'new snapshot'"),
    '0', 'R10 the snapshot was kept');
$pair->finish('R10');

done_testing();
