# R18, O06: the library of one version and the extension's scripts of another.  Calls say what to do,
# nothing works on tables it does not know, and a migration goes on after the update.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
my $version
    = $pair->target_sql("SELECT extversion FROM pg_extension WHERE extname = 'livemigrate'");

# An update script from a version that never was, where the server's directory can be written.
chomp(my $sharedir = `pg_config --sharedir`);
my $script    = "$sharedir/extension/livemigrate--0.0.1--$version.sql";
my $has_script = open my $file, '>', $script;
close $file if $has_script;
END { unlink $script if $has_script }

sub set_version {
    my ($other) = @_;
    $pair->target_sql("UPDATE pg_extension SET extversion = '$other' WHERE extname = 'livemigrate'");
}

sub update {
    return set_version($version) unless $has_script;
    $pair->target_sql('ALTER EXTENSION livemigrate UPDATE');
    is( $pair->target_sql("SELECT extversion FROM pg_extension WHERE extname = 'livemigrate'"),
        $version, 'ALTER EXTENSION livemigrate UPDATE works');
}

sub workers {
    return $target->safe_psql('postgres',
        "SELECT count(*) FROM pg_stat_activity WHERE backend_type ~ 'livemigrate'
            AND backend_type !~ 'launcher'");
}

sub log_since { return slurp_file($target->logfile, $_[0]) }

# --- every call
set_version('0.0.1');
for my $call (
    "SELECT * FROM livemigrate.migration_check('host=/nonexistent')",
    "SELECT livemigrate.migration_start('host=/nonexistent')",
    'SELECT * FROM livemigrate.migration_status()',
    'SELECT livemigrate.migration_pause()',
    'SELECT livemigrate.migration_resume()',
    'SELECT livemigrate.set_endpos()',
    'SELECT livemigrate.copy_sequences()',
    'CALL livemigrate.migration_wait()',
    'SELECT * FROM livemigrate.compare_schema()',
    'SELECT * FROM livemigrate.compare_data()',
    'SELECT livemigrate.migration_abort()',
    'SELECT livemigrate.migration_cleanup()'
) {
    my $error = $pair->assert_error($call, "R18 refused: $call",
        sqlstate => qr/^55000$/,
        message  => qr/version 0\.0\.1 .* version \Q$version\E/);
    like($error->{hint} // '', qr/ALTER EXTENSION livemigrate UPDATE;/, 'R18 with the way out');
}
set_version('99.0');
my $error = $pair->target_error('SELECT * FROM livemigrate.migration_status()');
like($error->{hint}, qr/restart the server/, 'R18 an older library must be loaded anew');
set_version($version);
is($pair->target_sql('SELECT count(*) FROM livemigrate.migration_status()'),
    '0', 'R18 the same version works');

# --- under a running migration: it stops by itself, and goes on after the update
$pair->create_ledger;
$pair->start_load(rate => 30);
$pair->start;
$pair->wait_stage('streaming');
my $offset = -s $target->logfile;
set_version('0.0.1');
ok($pair->poll(sub { workers() eq '0' }), 'R18 coordinator and workers leave');
like(
    log_since($offset),
    qr/coordinator of migration 1 leaves: extension livemigrate is of version 0\.0\.1/,
    'R18 the log says why');
like(log_since($offset), qr/HINT:  Run: ALTER EXTENSION livemigrate UPDATE;/, 'R18 and what to do');
is( $pair->target_sql('SELECT stage, state FROM livemigrate.migration'),
    'streaming|running',
    'R18 the migration is as it was');

# --- after a restart the launcher's coordinator looks, says so once and leaves
$offset = -s $target->logfile;
$target->restart;
ok($pair->poll(sub { log_since($offset) =~ /coordinator of migration 1 leaves/ }),
    'R18 after a restart: the log says why');
ok($pair->poll(sub { workers() eq '0' }), 'R18 after a restart: nothing runs');
$pair->wait_for_load(60);
my @lines = log_since($offset) =~ /coordinator of migration 1 leaves/g;
is(scalar @lines, 1, 'R18 after a restart: it is not tried over and over');

update();
$pair->resume;
$pair->wait_stage('streaming');
$pair->wait_for_load(10);
$pair->stop_load;
$pair->finish('O06 after an update');

done_testing();
