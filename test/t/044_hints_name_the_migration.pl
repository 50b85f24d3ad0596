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
# A row's check keeps the copy until it may go on.
$two->target_sql(<<'SQL');
CREATE FUNCTION two.hold() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN
    WHILE pg_catalog.to_regclass('two.go') IS NULL LOOP PERFORM pg_catalog.pg_sleep(0.01); END LOOP;
    RETURN true;
END$$;
ALTER TABLE two.t ADD CONSTRAINT hold CHECK (two.hold());
SQL
$two->target_sql(hint($two));
ok($two->poll(sub { hint($two) =~ /: SELECT \* FROM livemigrate\.dashboard\(\Q$name\E\);$/ }), 'while it copies: named')
  or diag hint($two);
my ($watch) = hint($two) =~ /(SELECT .*)/;
like($two->target_sql($watch // 'no call'), qr/it's "two"/, 'while it copies: the call runs');
$two->target_sql('CREATE TABLE two.go (); ALTER TABLE two.t DROP CONSTRAINT hold');
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

# A transaction to be passed over
$two->target_sql('ALTER TABLE two.t ADD CONSTRAINT small CHECK (v < 1000)');
$two->source_sql('UPDATE two.t SET v = 1000 WHERE id = 8');
$two->wait_state('failed');
my ($skip) = hint($two) =~ /(SELECT livemigrate\.skip_transaction.*)/;
like($skip // hint($two), qr/skip_transaction\('[^']*', migration => \Q$name\E\)/, 'a transaction to be passed over: named');
$two->target_sql($skip // 'no call');
$two->wait_state('running');

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
