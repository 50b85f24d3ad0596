# The page doc/upgrade.md, its commands as they stand there, from PostgreSQL 12 (or else the target's
# own version), with an application that goes on until the switch and then on the new server.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::SourceServer;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my ($old) = grep { $_ == 12 } fetched_versions();
skip_version('source PostgreSQL 12', 'run test/source_servers.sh fetch') unless $old;
my $pair   = LiveMigrate::Test->new($old ? (source_install => install_path($old)) : ());
my %command = LiveMigrate::Test::page_commands('upgrade.md');

$pair->source_sql('CREATE ROLE app_owner; GRANT ALL ON SCHEMA public TO app_owner');
$pair->source_sql("SET ROLE app_owner;
    CREATE TABLE item (id bigserial PRIMARY KEY, name text, price numeric(8, 2));
    CREATE TABLE sale (at timestamptz DEFAULT clock_timestamp(), id bigint GENERATED ALWAYS AS IDENTITY,
        item bigint REFERENCES item, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
    CREATE TABLE sale_now PARTITION OF sale FOR VALUES FROM ('2020-01-01') TO ('2100-01-01');
    INSERT INTO item (name, price) SELECT 'item ' || g, g / 7.0 FROM generate_series(1, 5000) g");

# The commands with the address of this test's server.
sub run {
    my ($name) = @_;
    my $sql    = $command{$name} // die "no commands named $name on the page\n";
    my $source = $pair->conninfo(user => 'migrator') =~ s/'/''/gr;
    $sql =~ s/host=old\.example dbname=app user=migrator/$source/g;
    return $name eq 'role' ? $pair->source_sql($sql) : $pair->target_sql($sql);
}

$pair->target_sql('DROP EXTENSION livemigrate');
run('role');
unlike(run('check'), qr/^error/m, 'no check is an error');

my $script = $pair->source->basedir . '/load.sql';
append_to_file($script, "INSERT INTO sale (item) VALUES (1 + floor(random() * 5000));
    UPDATE item SET price = price + 1 WHERE id = 1 + floor(random() * 5000);\n");
my $load = $pair->start_background('pgbench', '-n', '-c', 2, '-R', 50, '-T', 600, '-f', $script,
    $pair->source->connstr('app'));
run('start');
my $sold = $pair->target_sql('SELECT count(*) FROM sale');
$pair->poll(sub { $pair->target_sql('SELECT count(*) FROM sale') > $sold + 5 }) or
  die "nothing arrives: $load->{output}\n";
is(run('status') =~ s/^streaming\|running\|.*\n?//r, '', 'following, the schema is the same');

$pair->stop_background($load);
$pair->source->poll_query_until('app',
    "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ 'pgbench'");
my $begin = time;
is(run('switch') =~ s{^[0-9A-F]+/[0-9A-F]+\n?}{}r, '', 'every table is equal');
my $downtime = time - $begin;
note sprintf 'downtime %.1f s, with compare_data', $downtime;
cmp_ok($downtime, '<', 60, 'it is a matter of seconds');
$pair->assert_equal_tables('equal tables');
cmp_ok($pair->target_sql('INSERT INTO sale (item) VALUES (1) RETURNING id'),
    '>', $pair->source_sql('SELECT max(id) FROM sale'), 'the application goes on there');
run('clean');
$pair->assert_nothing_left('nothing left');

done_testing();
