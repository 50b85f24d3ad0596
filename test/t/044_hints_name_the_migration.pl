# Two migrations into one database: a hint can be run as it is, so it must name the migration it is
# about, also where what raised it does not know the name.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $two  = bless { %$pair, migration => 'it\'s "two"' }, ref $pair;
my $name = q{'it''s "two"'};

$pair->source_sql("CREATE SCHEMA $_; CREATE TABLE $_.t (id int PRIMARY KEY, v int);
    INSERT INTO $_.t SELECT g, g FROM generate_series(1, 100) g")
  for qw(one two);

sub hint { return $_[0]->status_row->{hint} // '' }

# Alone and of the default name: no more than is needed.
$pair->start(include_tables => ['one.*'], pause_after => ['schema']);
$pair->wait_stage('schema');
$pair->wait_state('paused');
is(hint($pair), 'SELECT livemigrate.migration_resume();', 'alone: the hint is short');
$pair->resume([]);
$pair->wait_stage('streaming');

$two->start(include_tables => ['two.*'], pause_after => ['schema']);
$two->wait_stage('schema');
$two->wait_state('paused');
is(hint($two), "SELECT livemigrate.migration_resume($name);", 'after a stage: named');
$two->target_sql(hint($two));
$two->wait_stage('streaming');
$two->pause;
$two->wait_state('paused');
is(hint($two), "SELECT livemigrate.migration_resume($name);", 'paused: named');
$two->target_sql(hint($two));

# An error of a worker: apply does not know the migration's name.
for my $one ($pair, $two) {
    my $table = $one == $two ? 'two.t' : 'one.t';
    $one->target_sql("DELETE FROM $table WHERE id = 7");
    $one->source_sql("UPDATE $table SET v = 0 WHERE id = 7");
    $one->wait_state('failed');
    my $quoted = LiveMigrate::Test::quote_literal($one->name);
    like(hint($one), qr/\('?[^)]*\Q$quoted\E/, $one->name . ' failed: named in ' . hint($one));
    unlike(hint($one), qr/\(\)/, $one->name . ' failed: no call without it');
    my $error = $one->target_error($one->wait_sql('done', 5));
    is($error->{hint}, hint($one), $one->name . ' failed: migration_wait says the same');
    $one->target_sql("INSERT INTO $table VALUES (7, 7)");
    $one->resume;
    $one->wait_state('running');
}

# Answers to calls
like($two->target_error("SELECT livemigrate.migration_cleanup($name)")->{hint},
    qr/migration_wait\(migration => \Q$name\E\).*migration_abort\(\Q$name\E\)/, 'cleanup: named');
like($pair->target_error("SELECT livemigrate.set_endpos('0/1', 'main')")->{hint},
    qr/set_endpos\(migration => 'main'\)/, 'set_endpos: named');
my $drop = $pair->target_error('DROP EXTENSION livemigrate');
like($drop->{hint}, qr/migration_abort\('main'\);.*migration_abort\(\Q$name\E\);/,
    'DROP EXTENSION: both are named');

for my $one ($pair, $two) {
    $one->set_endpos;
    $one->wait_stage('done');
}
like(hint($two), qr/compare_data\(\Q$name\E\).*migration_cleanup\(\Q$name\E\)/, 'done: named');
my @calls = split /(?<=;) /, hint($two);
is(scalar @calls, 2, 'done: two calls');
$two->target_sql($_) for @calls;
$pair->cleanup;
$pair->assert_nothing_left('what the hints said has cleaned up');

done_testing();
