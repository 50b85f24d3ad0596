# SEC-01, SEC-02, SEC-03, SEC-09, O05: the source's password is in no log, view, process title,
# spool file or error message, in whichever form it was given; and nothing is granted to PUBLIC.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils;
use Test::More;

# The caller's own statement is the server's business, so it is not logged here.
my $pair = LiveMigrate::Test->new(target_conf => <<'CONF');
log_statement = none
log_min_error_statement = panic
log_min_messages = debug1
CONF
my ($source, $target) = ($pair->source, $pair->target);

# Parts of it that no escaping changes are looked for as well.
my $password = q{canary 'quote" %40@/?#\\back};
my @canaries = ($password, 'canary', 'canary%20%27quote', '\\\\back');
(my $in_uri = $password) =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;

$source->safe_psql('app',
    'SET log_statement = none; CREATE ROLE "mig rator" LOGIN REPLICATION SUPERUSER PASSWORD '
        . LiveMigrate::Test::quote_literal($password));
my $hba = slurp_file($source->data_dir . '/pg_hba.conf');
open my $file, '>', $source->data_dir . '/pg_hba.conf' or die $!;
print $file qq{local all,replication "mig rator" scram-sha-256\n$hba};
close $file;
$source->reload;
my %given = (
    keywords => $pair->conninfo(user => 'mig rator', password => $password),
    uri      => 'postgresql://mig%20rator:'
        . $in_uri
        . '@/app?host='
        . ($source->host =~ s{/}{%2F}gr)
        . '&port='
        . $source->port,);
ok($source->psql('app', 'SELECT 1', connstr => $given{keywords}) == 0, 'the password is right');
ok($source->psql('app', 'SELECT 1', connstr => $given{uri}) == 0,      'the URI is right');
isnt($source->psql('app', 'SELECT 1', connstr => $pair->conninfo(user => 'mig rator')),
    0, 'and it is needed');

sub leaks {
    my ($text) = @_;
    return grep { index($text, $_) >= 0 } @canaries;
}

sub assert_no_leak {
    my ($label, $text) = @_;
    my @found = leaks($text);
    ok(!@found, "$label: no password") or
        diag map { my $at = index $text, $_; substr($text, $at < 200 ? 0 : $at - 200, 400) . "\n" }
        @found;
}

# Every view of ours as text, the status, and the activity of every process but the caller's.
sub everything_shown {
    my $views
        = $pair->target_sql(
        "SELECT string_agg(oid::regclass::text, ',') FROM pg_class WHERE relkind = 'v'
            AND relnamespace = 'livemigrate'::regnamespace"
        );
    my $sql  = join ';', map {"SELECT v::text FROM $_ v"} split /,/, $views;
    my $text = $target->safe_psql('app',
        "$sql; SELECT s::text FROM livemigrate.migration_status() s;
            SELECT a::text FROM pg_stat_activity a;"
    );
    for my $optional ('migration_report()', 'dashboard()') {
        my ($rc, $out) = $target->psql('app', "SELECT livemigrate.$optional");
        $text .= $out if $rc == 0;
    }
    return $text . $source->safe_psql('app', 'SELECT a::text FROM pg_stat_activity a');
}

# Titles and arguments of every process of ours on this machine, pg_dump above all.
sub process_titles {
    my $text = '';
    for my $path (glob '/proc/[0-9]*/cmdline') {
        next if $path =~ m{^/proc/$$/};
        open my $title, '<', $path or next;
        local $/;
        $text .= (<$title> // '') =~ s/\0/ /gr . "\n";
    }
    return $text;
}

for my $form (sort keys %given) {
    my $one      = $form eq 'uri' ? $pair->database('second')           : $pair;
    my $conninfo = $form eq 'uri' ? $given{uri} =~ s{/app\?}{/second?}r : $given{keywords};
    $one->create_ledger;
    is_deeply([ $one->check_errors(source => $conninfo) ],
        [], "$form: migration_check works with it");
    $one->start(source => $conninfo, pause_after => ['roles']);
    $one->wait_stage('roles');
    $one->wait_state('paused');

    # pg_dump is held by a lock while its arguments are read.
    my $lock = $one->lock_table($source, 'pg_catalog.pg_ts_parser');
    $one->resume([]);
    $one->wait_blocked($source);
    my $titles = process_titles();
    like($titles, qr/pg_dump/, "$form: pg_dump is running");
    assert_no_leak("$form: process titles", $titles);
    $one->assert_answers_barrier('pg_dump waits for a lock') if $form eq 'uri';
    $one->end_session($lock);
    $one->wait_stage('streaming');
    $one->work(20);
    assert_no_leak("$form: views and activity", everything_shown());
    my @files = $one->spool_files;
    ok(scalar @files, "$form: there are spool files");
    # What is applied may be removed meanwhile.
    assert_no_leak("$form: files of the migration", join '', map { eval { slurp_file($_) } // '' } @files);

    # Errors while it runs: the source goes away and comes back.
    $source->restart;
    $one->work(20);
    $one->finish("$form: with a password");
    assert_no_leak("$form: views after the end", everything_shown());
}

# Errors that mention the connection.
for my $bad (
    $pair->conninfo(user => 'mig rator', password => "$password wrong"),
    $pair->conninfo(host => '/nowhere',  password => $password),
    $given{keywords} . " nonsense='1'",
    $given{uri} . '&nonsense=1',
    $given{keywords} . " password='unclosed canary",
    $pair->conninfo(user => 'mig rator', password => $password, dbname => 'no such')
) {
    my $error = $pair->target_error($pair->start_sql(source => $bad, migration => 'bad'));
    ok(%$error, 'a bad connection string is refused');
    assert_no_leak("error \"$error->{sqlstate}\"", $error->{all} // '');
    my $literal = LiveMigrate::Test::quote_literal($bad);
    my ($rc, $out, $err)
        = $target->psql('app', "SELECT c::text FROM livemigrate.migration_check($literal) c");
    assert_no_leak('migration_check of it', "$out$err");
}
assert_no_leak('log of the target', slurp_file($target->logfile));
assert_no_leak('log of the source', slurp_file($source->logfile));
my @temporary
    = grep {-f}
    glob '/tmp/*livemigrate* /tmp/.*livemigrate* '
    . $target->data_dir
    . '/*pgpass* '
    . $target->data_dir
    . '/livemigrate*';
is_deeply(\@temporary, [], 'SEC-03 no password file is left');

# SEC-09: an ordinary role sees and calls nothing.
$target->safe_psql('app', 'CREATE ROLE nobody_here LOGIN');
my $relations
    = $pair->target_sql(
    "SELECT string_agg(oid::regclass::text, ',') FROM pg_class WHERE relkind IN ('r', 'v', 'S')
        AND relnamespace = 'livemigrate'::regnamespace"
    );
for my $relation (split /,/, $relations) {
    my ($rc) = $target->psql('app', "SET ROLE nobody_here; SELECT * FROM $relation");
    isnt($rc, 0, "SEC-09 $relation is closed to PUBLIC");
}
for my $call (
    'migration_status()',           "migration_check('host=/tmp')",
    "migration_start('host=/tmp')", 'migration_abort()',
    'migration_cleanup()',          'set_endpos()'
) {
    my ($rc, $out, $err) = $target->psql('app', "SET ROLE nobody_here; SELECT livemigrate.$call");
    like($err, qr/permission denied/, "SEC-09 $call is closed to PUBLIC");
}
# O07: a dump of the target carries no secret.
my ($dump, $stderr) = run_command([ 'pg_dump', '-d', $target->connstr('app') ]);
assert_no_leak('O07 a dump of the target', $dump);
$pair->target_sql('DROP EXTENSION livemigrate');
is_deeply([ $pair->spool_files ], [], 'O04 DROP EXTENSION leaves no file');

done_testing();
