# T03: an infinite interval, which PostgreSQL has from version 17 on, on the way to an older server: an
# error, in the copy and in the stream. Its binary form would arrive as 178956970 years and a bit.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::SourceServer;
use LiveMigrate::Test;
use Test::More;

my ($major) = grep { $_ >= 17 } fetched_versions();
plan skip_all => 'a target from 17 on has infinite intervals' if target_major() >= 17;
plan skip_all => 'no source server 17 or 18: run test/source_servers.sh fetch' unless $major;

my $pair   = LiveMigrate::Test->new(dbname => 'unused');
my $source = $pair->other_source(install_path($major), 'streamed');
my $copied = $source->database('copied');
my $tables = 'CREATE TABLE one (id int PRIMARY KEY, i interval);
    CREATE TABLE many (id int PRIMARY KEY, i interval[]);';

# There is no pg_dump of the source's version, so the tables are made by hand.
sub start {
    my ($one, @rows) = @_;
    $_->($one, $tables) for $one->can('source_sql'), $one->can('target_sql');
    $one->source_sql("INSERT INTO one VALUES (1, '178000000 years -3 days 1 microsecond'), (2, '-1 month')");
    $one->source_sql("INSERT INTO many VALUES (1, '{1 day,NULL,-178000000 years}')");
    $one->source_sql($_) for @rows;
    $one->start(on_existing => 'truncate', options => { allow_downgrade => \1 });
}

start($source);
my @found = map {"$_->{severity} $_->{message}"} grep { $_->{check_id} eq 'infinite_intervals' }
  $source->check_rows(on_existing => 'truncate', options => { allow_downgrade => \1 });
is(scalar(grep {/^warning table "public"\."(?:one|many)" has intervals in i: /} @found), 2, 'T03 both tables are named beforehand')
  or diag explain \@found;
$source->wait_stage('streaming');
$source->source_sql("UPDATE one SET i = i * 2 WHERE id = 2; INSERT INTO many VALUES (2, '{2 days}')");
$source->finish('T03 finite intervals');

start($copied, "INSERT INTO many VALUES (7, '{1 day,infinity}')");
$copied->wait_state('failed');
like($copied->status_row->{message}, qr/infinity/, 'T03 copy: the error names the value');
is($copied->target_sql('SELECT count(*) FROM many'), '0', 'T03 copy: nothing of the table has come');
$copied->abort;

my $live = $source->database('live');
start($live);
$live->wait_stage('streaming');
$live->source_sql("INSERT INTO one VALUES (9, '-infinity')");
$live->wait_state('failed');
like($live->status_row->{message}, qr/infinity/, 'T03 stream: the error names the value');
is($live->target_sql('SELECT count(*) FROM one WHERE id = 9'), '0', 'T03 stream: it has not come');
$live->abort;
done_testing();
