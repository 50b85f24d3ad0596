# D20, D21, SEC-17: messages of the change stream that are of no known kind, or do not hold together, as from
# a later server or a bad network. The migration stops, with nothing of the transaction written and no
# process crashed, and does not try again what would be the same. The decoders' unit tests have more.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Pooler;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');

# The values that mark a row, and what happens to the pgoutput message that has it. An Insert is I,
# the relation's number, N, the number of columns, and for each t (text) or b (binary), length, value.
my $id     = qr/[tb]\0\0\0(?:\x01\d|\x04\0\0\0.)/s;
my %tamper = (
    d20_kind     => sub { s/I(....N\0\x02$id[tb]\0\0\0\x08d20_kind)/Z$1/s },
    d21_length   => sub { s/([tb])\0\0\0\x0a(d21_length)/$1\xff\xff\xff\x0a$2/s },
    d21_columns  => sub { s/(I....N)\0\x02($id[tb]\0\0\0\x0bd21_columns)/$1\0\x03$2/s },
    d21_relation => sub { s/I....(N\0\x02$id[tb]\0\0\0\x0cd21_relation)/I\x7f\xff\xff\xff$1/s });
my $pooler = LiveMigrate::Pooler->start($pair->source, tamper => sub {
    for my $change (values %tamper) { $change->() } # each in $_
});

for my $what (sort keys %tamper) {
    my $number = uc substr $what, 0, 3;
    my $one    = $pair->database($what);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
    $one->start(source => $pooler->conninfo($what), plugin => 'pgoutput');
    $one->wait_stage('streaming');
    $one->source_sql("INSERT INTO t VALUES (1, 'good')");
    $one->source_sql("BEGIN; INSERT INTO t VALUES (2, 'before'); INSERT INTO t VALUES (3, '$what'); COMMIT");
    $one->source_sql("INSERT INTO t VALUES (4, 'behind')");
    $one->wait_state('failed');
    is($one->target_sql('SELECT last_error_sqlstate FROM livemigrate.migrations'), '08P01', "$number $what: SQLSTATE")
      or $one->diagnose($what);
    ok($one->poll(sub { $one->target_sql('SELECT string_agg(v, $$ $$) FROM t') eq 'good' }),
        "$number $what: what is before it is there, and nothing of the transaction");
    is($one->status_row->{attempts}, 1, "$number $what: not tried again");
    $one->abort;
}
$pooler->stop;
unlike(slurp_file($pair->target->logfile), qr/terminated by signal|TRAP:|PANIC/, 'D21 nothing has crashed');
done_testing();
