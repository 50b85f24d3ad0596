# D20, D21, SEC-17: messages of the change stream that are of no known kind, or do not hold together, as from
# a later server or a bad network. What the receiver sees is not kept: it asks again, after a while, and
# goes on if the message comes right; the same one four times, and the migration stops. What only apply
# can see stops it at once. Nothing of the transaction is written, no process crashes, and position and first
# bytes are told, never a row's values. The decoders' unit tests have more.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use File::Temp qw(tempdir);
use LiveMigrate::Pooler;
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');

# The values that mark a row, and what happens to the message that has it. An Insert of pgoutput is I,
# the relation's number, N, the number of columns, and for each t (text) or b (binary), length, value.
my $id    = qr/[tb]\0\0\0(?:\x01\d|\x04\0\0\0.)/s;
my @cases = (
    { what => 'd20_kind', plugin => 'pgoutput', heals => 1,
        message => 'unknown pgoutput message type', begins => '5a 00',
        change  => sub { s/I(....N\0\x02$id[tb]\0\0\0\x08d20_kind)/Z$1/s } },
    { what => 'd21_length', plugin => 'pgoutput', at => 'receiver',
        message => 'replication message is truncated', begins => '49 00',
        change  => sub { s/([tb])\0\0\0\x0a(d21_length)/$1\xff\xff\xff\x0a$2/s } },
    { what => 'd21_columns', plugin => 'pgoutput', heals => 1,
        message => 'replication message is truncated', begins => '49 00',
        change  => sub { s/(I....N)\0\x02($id[tb]\0\0\0\x0bd21_columns)/$1\0\x03$2/s } },
    { what => 'd21_relation', plugin => 'pgoutput', at => 'apply',
        message => 'has not been described', begins => '49 7f ff ff ff 4e 00 02',
        change  => sub { s/I....(N\0\x02$id[tb]\0\0\0\x0cd21_relation)/I\x7f\xff\xff\xff$1/s } },
    { what => 'd20_action', plugin => 'wal2json', heals => 1,
        message => 'unknown wal2json action', begins => '7b 22 61 63 74 69 6f 6e 22 3a 22 5a 22',
        change  => sub { s/"action":"I"([^}]*\},[^}]*"d20_action")/"action":"Z"$1/s } },
    { what => 'd21_member', plugin => 'wal2json', at => 'apply',
        message => 'column without name or value', begins => '7b 22 61 63 74 69 6f 6e 22 3a 22 49 22',
        change  => sub { s/"value":"d21_member"/"valve":"d21_member"/ } });

# A number, sent as text that is none: the message is whole, and only its value is not.
my @values = map { my ($what, $bytes, $key) = @$_;
    { what => $what, key => $key, change => sub { s/(I....N\0\x02)b\0\0\0\x04....([tb]\0\0\0\x09$what)/$1t\0\0\0\x04$bytes$2/s } }
  } ([ sec17_nul => "12\0x", '12' ], [ sec17_not => "12\xff\xfe", '12??' ]);

# While there is a file of its name, a row is changed.
my $bad = tempdir(CLEANUP => 1);
sub spoil { my $file = "$bad/$_[0]{what}"; open my $made, '>', $file or die "$file: $!"; return $file }
my $pooler = LiveMigrate::Pooler->start($pair->source, tamper => sub {
    for my $case (@cases, @values) { $case->{change}->() if -e "$bad/$case->{what}" } # each in $_
});

for my $case (@cases) {
    my ($what, $plugin) = @$case{qw(what plugin)};
    my $number = uc substr $what, 0, 3;
    my $file = spoil($case);
    my $one  = $pair->database($what);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
    $one->start(source => $pooler->conninfo($what), plugin => $plugin);
    $one->wait_stage('streaming');
    $one->source_sql("INSERT INTO t VALUES (1, 'good')");
    ok($one->poll(sub { $one->target_sql('SELECT v FROM t') eq 'good' }), "$number $what: what is before it");
    $one->source_sql("BEGIN; INSERT INTO t VALUES (2, 'before'); INSERT INTO t VALUES (3, '$what'); COMMIT");
    $one->source_sql("INSERT INTO t VALUES (4, 'behind')");
    $one->wait_state($case->{heals} ? 'retrying' : 'failed');
    my ($sqlstate, $rows) = split /\|/, $one->target_sql('SELECT last_error_sqlstate, (SELECT string_agg(v, $$ $$) FROM t)
        FROM livemigrate.migrations');
    # At once: it is tried a few times only.
    unlink $file or die "$file: $!" if $case->{heals};
    is($sqlstate, '08P01', "$number $what: SQLSTATE") or $one->diagnose($what);
    is($rows, 'good', "$number $what: nothing of the transaction");
    my $told = $one->target_sql("SELECT message || '|' || detail FROM livemigrate.events "
          . "WHERE severity IN ('warning', 'error') AND message ~ '$case->{message}' ORDER BY at DESC LIMIT 1");
    like($told, qr/The $plugin message at [0-9A-F]+\/[0-9A-F]+ has \d+ bytes and begins with \Q$case->{begins}\E/,
        "$number $what: position and first bytes");
    unlike($told, qr/$what/, "$number $what: not the row's values");
    if ($case->{heals}) {
        ok($one->poll(sub { $one->target_sql('SELECT string_agg(v, $$ $$ ORDER BY id) FROM t') eq
                      "good before $what behind" }), "$number $what: came right, nothing is missing");
    } else {
        my ($attempts, $hint) = @{ $one->status_row }{qw(attempts hint)};
        is($one->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ '$case->{message}'"),
            $case->{at} eq 'apply' ? 1 : 4, "$number $what: tried as often as it may help");
        like($hint, qr/migration_resume/, "$number $what: the hint says how to go on") if $case->{at} eq 'receiver';
    }
    $one->abort;
}
for my $case (@values) {
    my $what = $case->{what};
    my $file = spoil($case);
    my $one  = $pair->database($what);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
    $one->start(source => $pooler->conninfo($what), plugin => 'pgoutput');
    $one->wait_stage('streaming');
    $one->source_sql("INSERT INTO t VALUES (3, '$what')");
    my $ends = $one->poll(sub { $one->target_sql(q{SELECT state <> 'running' OR EXISTS (SELECT FROM t) FROM livemigrate.migration_status()}) eq 't' });
    ok($ends, "SEC-17 $what: it comes to an end") or $one->diagnose($what);
    is($one->target_sql('SELECT last_error_sqlstate, (SELECT count(*) FROM t) FROM livemigrate.migrations'), '22021|0',
        "SEC-17 $what: no value is made of it");
    is($one->target_sql('SELECT key FROM livemigrate.conflicts'), "(id)=($case->{key})", "SEC-17 $what: what is shown of it");
    $one->abort;
}
$pooler->stop;
my $log = slurp_file($pair->target->logfile);
unlike($log, qr/terminated by signal|TRAP:|PANIC/, 'D21 nothing has crashed');
unlike($log, qr/^.*(?:ERROR|LOG|DETAIL|WARNING):.*pgoutput message.*(?:d20_kind|d21_length)/m, "nor are values in the log");
done_testing();
