# D09: a character that UTF-8 does not have, in a transaction of wal2json so large that apply has written a
# part of it when it comes there. The migration stops as it does for a small one: table and key are told, and
# the transaction can be passed over.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new(dbname => 'unused');
my $one  = $pair->database('large', encoding => 'WIN1252');
$one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text)');
$one->start(plugin => 'wal2json');
$one->wait_stage('streaming');

# More than a batch takes. The rows before it have characters to convert, too.
$one->source_sql(q{INSERT INTO t SELECT g, CASE WHEN g <= 30000 THEN chr(233) || g ELSE convert_from('\x81', 'WIN1252') END
    FROM generate_series(1, 30001) g; INSERT INTO t VALUES (40000, 'behind')});
$one->wait_state('failed');
my $told = join ' ', map { $_ // '' } @{ $one->status_row }{qw(message last_error hint)},
  $one->target_sql(q{SELECT string_agg(concat_ws(' ', message, detail), ' ') FROM livemigrate.events WHERE severity = 'error'});
like($told, qr/0x81 in encoding "WIN1252" has no equivalent in encoding "UTF8"/, 'the byte');
like($told, qr/applying INSERT on "public"\."t" \(id\)=\(30001\) of source transaction/, 'table and key');
is($one->target_sql('SELECT table_name, kind, key FROM livemigrate.conflicts'), 't|INSERT|(id)=(30001)', 'among the conflicts');
is($one->target_sql('SELECT count(*) FROM t'), 0, 'nothing of the transaction is there');
my ($skip) = $told =~ /(SELECT livemigrate\.skip_transaction\([^;]*;)/;
$one->target_sql($skip // die "no transaction to skip\n");
$one->resume;
ok($one->poll(sub { $one->target_sql('SELECT string_agg(id || v, $$ $$) FROM t') eq '40000behind' }), 'it can be passed over')
  or $one->diagnose('not passed over');
$one->abort;
$one->cleanup;
done_testing();
