# A spool file that somebody has cut: the migration fails with what can be done, instead of waiting for
# what does not come, and goes on when an intact copy is put back.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Copy qw(copy);
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
$pair->start;
$pair->wait_stage('streaming');
my $apply = $pair->worker_pid('apply');
kill 'STOP', $apply;
$pair->source_sql('INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 1000) g');
my $lsn = $pair->source_sql('SELECT pg_current_wal_lsn()');
ok($pair->poll(sub { $pair->source_sql("SELECT confirmed_flush_lsn >= '$lsn' FROM pg_replication_slots") eq 't' }),
    'the source was told that the changes are safe');
my ($file) = grep { /\.spool$/ } $pair->spool_files;
my $intact = $file =~ s{.*/}{$target->basedir . '/'}er;
copy($file, $intact) or die "$intact: $!";
my $half = int((-s $file) / 2);
truncate $file, $half or die "$file: $!";
kill 'CONT', $apply;
$pair->wait_state('failed');
my $row = $pair->status_row;
like($row->{last_error}, qr/^spool segment "\Q$file\E" has been cut off at offset $half$/, 'a cut file fails the migration');
like($row->{hint}, qr/intact copy of the file, put it back\. Then run: SELECT livemigrate\.migration_resume\(\);/,
    'with what can be done');

$pair->resume;
$pair->wait_state('failed');
$row = $pair->status_row;
like($row->{last_error}, qr/^spool ".*" ends at .*, before what the source was told is safe$/, 'resumed without a copy: what is lost');
like($row->{hint}, qr/SELECT livemigrate\.migration_abort\(\);/, 'and that there is no way but to start over');
is(-s $file, $half, 'the file is left as it is');

# Into the same file, whose owner and mode stay.
open my $in,  '<:raw', $intact or die "$intact: $!";
open my $out, '>:raw', $file   or die "$file: $!";
copy($in, $out) or die "$file: $!";
close $out or die "$file: $!";
$pair->resume;
ok($pair->poll(sub { $pair->target_sql('SELECT count(*) FROM t') eq '1000' }), 'with an intact copy it goes on')
  or $pair->diagnose('an intact copy');
$pair->finish('a spool file that was cut');

done_testing();
