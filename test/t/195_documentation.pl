# Takes long. The pages of doc/ as they stand there: the tutorial's commands in their order on servers
# of their own, each with output of the shape that the page promises; then, on the same servers, the
# commands of other pages, and every call of livemigrate that any page names.
use strict;
use warnings;

use FindBin;
use IPC::Run qw(run);
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Page;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;
use Time::HiRes qw(time usleep);

my %port = map { $_ => PostgreSQL::Test::Cluster::get_free_port() } qw(source target);
my $dir = PostgreSQL::Test::Utils::tempdir_short();
my @started;
local $ENV{TMPDIR} = $dir;
local $ENV{PGUSER} = 'postgres';
local $ENV{HOME}   = $dir;    # of the servers' user, for its passwords
chomp(my $bindir = qx(@{[ $ENV{PG_CONFIG} || 'pg_config' ]} --bindir));

# What the pages have for the reader's servers.
my %replace = (
    47411 => $port{source}, 47412 => $port{target},
    'host=(?:src|old\.example|old) dbname=app(?: user=(?:migrator|\x{e2}\x{80}\x{a6}))?' =>
      "host=127.0.0.1 port=$port{source} dbname=app user=migrator",
    '/usr/lib/postgresql/15/bin' => $bindir);

sub page { return LiveMigrate::Page->new($_[0], %replace) }

# Output, errors among it.
sub psql {
    my ($side, $sql, @arguments) = @_;
    my $out = '';
    run([ 'psql', '-X', '-h', '127.0.0.1', '-p', $port{$side}, @arguments, 'app' ], '<', \"$sql\n", '>&', \$out);
    return $out;
}

sub value { return psql(@_, '-At') =~ s/\n\z//r }

sub write_file {
    my ($path, $text) = @_;
    open my $file, '>', $path or die "$path: $!";
    print $file $text;
    close $file or die "$path: $!";
    return;
}

sub until_true {
    my ($code, $seconds) = @_;
    my $end = time + ($seconds // 180);
    my $done;
    usleep(100_000) until $done = $code->() or time > $end;
    return $done;
}

# Not every line of the screen is there at every moment.
sub of_screen {
    my ($output) = @_;
    my @lines = map { s/ {2,}.*//r } grep {/^ ?(?:\w[\w ]*\[|main |->|\+|copy \d|lag |last events|dashboard)/} split /\n/, $output;
    return join "\n", map { s/(?: *\[| \d|\w+, ).*//r =~ s/^( ?\+preflight).*/$1/r } @lines;
}

# Runs the page's session; what has not come yet, or was refused for now, is asked for again.
sub run_session {
    my ($label, $block, %side) = @_;
    for my $call (LiveMigrate::Page::session($block)) {
        my ($prompt, $statement, $promised) = @$call;
        my $shape = $promised =~ /dashboard/ ? \&of_screen : \&LiveMigrate::Page::shape;
        my $got;
        my $fits = until_true(sub {
                $got = psql($side{$prompt}, $statement, '-v', 'ON_ERROR_STOP=0');
                return $shape->($got) eq $shape->($promised) || $got !~ /^ERROR/m && $statement !~ /\bFROM\b/;
            }, 90);
        my ($title) = $statement =~ /^([^\n]{0,70})/;
        is($shape->($got), $shape->($promised), "$label: $title") or diag "came:\n$got";
    }
    return;
}

sub shell {
    my ($label, $commands) = @_;
    my $out = '';
    my $ok = run([ 'bash', '-e', '-c', $commands ], '<', \'', '>&', \$out);
    ok($ok, "$label: runs") or diag $out;
    return $out;
}

END {
    my $status = $?;
    kill TERM => $_ for @started;
    run([ 'pg_ctl', '-D', "$dir/servers/$_", '-m', 'immediate', '-w', 'stop' ], '>&', \my $out)
      for grep { $dir && -e "$dir/servers/$_/postmaster.pid" } qw(source target);
    $? = $status;
}

# --- the tutorial
my $tutorial = page('doc/tutorial.md');
my ($setup, @blocks) = $tutorial->blocks;
my $commands = $setup->[1];
$commands =~ s{cd \$\(mktemp -d\)}{mkdir $dir/servers; cd $dir/servers} or BAIL_OUT('the tutorial begins otherwise');
$commands =~ s/initdb -D/initdb --no-sync -D/;
$commands =~ s/pgbench (.*) -s 10 /pgbench $1 -s 2 /;
$commands =~ s/(pgbench .* &)[^\n]*/$1 echo \$! >pgbench.pid/;
$commands .= "disown\n";
shell('tutorial: two servers', $commands);
chdir "$dir/servers" or die;
chomp(my $application = slurp_file('pgbench.pid'));
push @started, $application;
my $sessions = 0;
for my $block (@blocks) {
    my ($language, $text) = @$block;
    if ($language eq 'sh') {
        shell('tutorial', $text);
        next;
    }
    # Between the two: Stop the application.
    kill TERM => $application if $text =~ /set_endpos\(force => false\);\n set_endpos/;
    run_session('tutorial', $text, app => 'target', source => 'source');
    $sessions++;
}
cmp_ok($sessions, '>', 15, 'the tutorial has its sessions');
like(slurp_file('report.html'), qr/^<!DOCTYPE html>.*state good">done/s, 'tutorial: the report');

# --- every call that a page names: the server knows functions, arguments and columns
my $root  = LiveMigrate::Page::root();
my @pages = map { page($_ =~ s{^\Q$root\E/}{}r) } glob "$root/{README.md,doc/*.md,contrib/*/README.md}";
is_deeply([ sort map { $_->name } grep { $_->name =~ /README/ } @pages ],
    [qw(README.md contrib/monitoring/README.md)], 'each page is read once');
my (@statements, $script);
for my $page (@pages) {
    for my $statement ($page->statements) {
        push @statements, [ $page->name, $statement ];
        $script .= "\\echo $#statements\n"
          . ($statement =~ /^\s*CALL/ ? "BEGIN; $statement; ROLLBACK;\n" : "PREPARE s$#statements AS $statement;\n");
    }
}
cmp_ok(scalar @statements, '>', 110, 'the pages have calls');
my ($at, @unknown) = (0);
for (split /\n/, psql('target', $script, '-v', 'VERBOSITY=sqlstate', '-q')) {
    $at = $1 if /^(\d+)$/;
    push @unknown, "$_: $statements[$at][1] ($statements[$at][0])" if /^ERROR:  42(?!501)/;
}
is_deeply(\@unknown, [], 'the pages name nothing that is not there');

# --- the README, whose reader has an empty database
sub empty_target { return psql('target', 'DROP SCHEMA public CASCADE; CREATE SCHEMA public') }
psql('target', 'DROP EXTENSION livemigrate');
empty_target();
run_session('README', $_->[1], app => 'target') for grep { $_->[1] =~ /^app=#/ } page('README.md')->blocks;

# --- installation: the source
my %installation = page('doc/installation.md')->marked;
for my $name ($installation{settings} =~ /^(\w+)/mg) {
    is(value('target', "SELECT count(*) FROM pg_settings WHERE name = '$name'"), '1', "installation: the setting $name");
}

sub runs {
    my ($label, $side, $sql, @arguments) = @_;
    my $out = psql($side, $sql, '-At', @arguments);
    unlike($out, qr/^ERROR/m, "$label: runs");
    return $out;
}
runs('installation: the role goes', 'source', $installation{drop_role});
psql('source', "CREATE ROLE app_owner; CREATE TABLE log (line text); ALTER TABLE log OWNER TO app_owner;
    SELECT lo_from_bytea(16401, 'large')");
runs('installation: the role', 'source', $installation{role});
psql('source', 'GRANT postgres TO migrator');
if (value('source', "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'")) {
    runs('installation: wal2json', 'source', $installation{wal2json});
}
runs('installation: an identity', 'source', $installation{identity});
my $hba = "$dir/servers/source/pg_hba.conf";
my $rules = slurp_file($hba);
write_file($hba, $installation{hba} =~ s/^hostssl/host/r =~ s{\S+/32}{127.0.0.1/32}r . $rules);
psql('source', 'SELECT pg_reload_conf()');
is(value('source', 'SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL'), '0', 'installation: the line of pg_hba.conf');
ok(until_true(sub { psql('source', 'SELECT 1', '-U', 'migrator', '-w') =~ /no password supplied/ }), 'installation: it asks for the password');

# --- installation: passwords, and the target
write_file("$dir/.pgpass", $installation{pgpass} =~ s/old\.example:5432/127.0.0.1:$port{source}/r);
chmod 0600, "$dir/.pgpass";
write_file("$dir/.pg_service.conf",
    $installation{service} =~ s/old\.example/127.0.0.1\nport=$port{source}/r =~ s/verify-full/prefer/r);
empty_target();
psql('target', 'CREATE ROLE operator LOGIN');
runs('installation: the operator', 'target', $installation{operator});
unlike(runs('installation: the check', 'target', $installation{check} =~ s/'host.*'/'service=old'/r), qr/\|error\|/,
    'installation: no error');

# --- the same role as at a provider
psql('source', 'ALTER ROLE migrator RENAME TO kept');
my %providers = page('doc/providers.md')->marked;
runs("providers: $_", 'source', $providers{$_}) for qw(role replication);
unlike(runs('providers: the check', 'target', $providers{check} =~ s/ sslmode=\S+ sslrootcert=[^']*/ password=.../r),
    qr/^replication_role\|error/m, 'providers: the role may replicate');
psql('source', 'DROP OWNED BY migrator; DROP ROLE migrator; ALTER ROLE kept RENAME TO migrator');
psql('source', "ALTER ROLE migrator PASSWORD '...'");

# --- a migration, on which the runbook's statements are run
runs('installation: the start', 'target', $installation{start});
is(psql('target', "CALL livemigrate.migration_wait('streaming')"), "CALL\n", 'installation: it streams');
my %runbook = page('doc/runbook.md')->marked;
like(runs('runbook: look', 'target', $runbook{look}), qr/^main\|streaming\|running\|/, 'runbook: what is going on');
runs('runbook: the slot', 'source', $runbook{slot});
for my $page (grep { $_->name =~ /runbook|monitoring|resuming/ } @pages) {
    for my $statement (grep { !/migration_(?:abort|cleanup|resume|wait|start)|set_endpos|watch|\blsn\b/ } $page->statements) {
        runs($page->name . ': ' . substr($statement, 0, 60), 'target', $statement);
    }
}

# --- monitoring
my %monitoring = page('doc/monitoring.md')->marked;
runs('monitoring: on the source', 'source', $monitoring{source});
chdir LiveMigrate::Page::root() or die;
for my $name (qw(script report)) {
    my $out = shell("monitoring: $name", "cd $dir; PGHOST=127.0.0.1 PGPORT=$port{target}; export PGHOST PGPORT; $monitoring{$name}");
    is($out, '', "monitoring: $name says nothing");
}
my $kit = $monitoring{kit} =~ s/DATA_SOURCE_NAME=.*//sr;
shell('monitoring: the kit', "PGHOST=127.0.0.1 PGPORT=$port{target}; export PGHOST PGPORT; $kit");
like(psql('target', 'SELECT count(*) > 30 FROM livemigrate.metrics', '-At', '-U', 'monitor'), qr/^t$/, 'monitoring: the role reads figures');

# --- installation: a new version, and removing it
psql('target', 'SELECT livemigrate.migration_pause()');
until_true(sub { value('target', 'SELECT state FROM livemigrate.migration_status()') eq 'paused' });
runs('installation: update', 'target', $installation{update});
runs('installation: give up', 'target', 'SELECT livemigrate.migration_abort()');
runs('installation: the role goes again', 'source', $installation{drop_role});
runs('installation: remove', 'target', $installation{remove});
is(value('target', "SELECT count(*) FROM pg_namespace WHERE nspname = 'livemigrate'"), '0', 'installation: nothing is left');
is(value('source', 'SELECT count(*) FROM pg_replication_slots'), '0', 'installation: nor on the source');

done_testing();
