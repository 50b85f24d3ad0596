# D09: text of sources in WIN1252 and EUC_JP comes into a UTF8 database, through the copy and through the
# stream of both plugins: values, keys, names of tables and columns. Bytes that the source takes for a
# character and UTF-8 does not, in the stream: the migration stops there.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $servers = LiveMigrate::Test->new(dbname => 'unused');

# Unicode's numbers of characters of the encoding; others among them are left out. A name; and bytes that
# stand for nothing.
my %encoding = (
    WIN1252 => { from => 160,    to => 8482,   step => 1, name => "\xc3\x96l & \xe2\x82\xac",         nothing => '81' },
    EUC_JP  => { from => 0x3041, to => 0x9fa0, step => 7, name => "\xe6\x97\xa5\xe6\x9c\xac \xc3\xa4", nothing => 'a2af' });

sub characters_sql {
    my (%of) = @_;
    return <<"SQL";
CREATE TABLE t (id int PRIMARY KEY, c text NOT NULL, v text);
DO \$\$ DECLARE c text; BEGIN
    FOR i IN $of{from} .. $of{to} BY $of{step} LOOP
        BEGIN
            EXECUTE format('SELECT U&''\\%s''', lpad(to_hex(i), 4, '0')) INTO c;
            INSERT INTO t VALUES (i, c, format('%s"%s\\%s', c, repeat(c, 3), c));
        EXCEPTION WHEN untranslatable_character THEN NULL;
        END;
    END LOOP;
END \$\$;
CREATE TABLE keys (c text PRIMARY KEY, n int); INSERT INTO keys SELECT c, id FROM t;
CREATE TABLE "$of{name}" (id int PRIMARY KEY, "$of{name}" text, "v $of{name}" varchar(3));
INSERT INTO "$of{name}" SELECT id, c, repeat(c, 3) FROM t;
ALTER TABLE "$of{name}" REPLICA IDENTITY FULL;
SQL
}

my $changes = <<'SQL';
UPDATE t SET v = v || c || c WHERE id % 3 = 0; INSERT INTO t SELECT id + 100000, c, v FROM t WHERE id % 2 = 0;
DELETE FROM t WHERE id % 5 = 0; UPDATE keys SET c = c || c WHERE n % 3 = 0; UPDATE keys SET n = 0 WHERE n % 2 = 0;
DELETE FROM keys WHERE n % 5 = 1; INSERT INTO keys SELECT DISTINCT c || '!', 1 FROM t;
SQL

# What is told of the failure, wherever.
sub told {
    my ($one) = @_;
    return join ' ', map { $_ // '' } @{ $one->status_row }{qw(message last_error hint)},
      $one->target_sql("SELECT string_agg(concat_ws(' ', message, detail), ' ') FROM livemigrate.events WHERE severity = 'error'");
}

for my $encoding (sort keys %encoding) {
    my %of = %{ $encoding{$encoding} };
    for my $plugin (qw(pgoutput wal2json)) {
        my $label = "D09 $encoding $plugin";
        my $one   = $servers->database(lc "${encoding}_$plugin", encoding => $encoding);
        $one->source_sql("SET client_encoding = 'UTF8'; " . characters_sql(%of));
        cmp_ok($one->source_sql('SELECT count(*) FROM t'), '>', 100, "$label: characters to bring");
        $one->start(plugin => $plugin);
        $one->wait_stage('streaming');
        $one->source_sql("SET client_encoding = 'UTF8'; $changes"
              . qq{UPDATE "$of{name}" SET "v $of{name}" = '' WHERE id % 2 = 0; DELETE FROM "$of{name}" WHERE id % 3 = 0;}
              . qq{INSERT INTO "$of{name}" SELECT id + 100000, v, c FROM t});
        $one->set_endpos;
        $one->wait_stage('done');
        $one->assert_equal_tables("$label: equal tables");
        is($one->target_sql('SELECT * FROM livemigrate.compare_data() WHERE NOT equal'), '', "$label: compare_data, too");
        $one->cleanup;
    }
}

# --- the bytes that stand for nothing
for my $encoding (sort keys %encoding) {
    for my $plugin (qw(pgoutput wal2json)) {
        my $label = "D09 $encoding $plugin, no such character";
        my $one   = $servers->database(lc "no_${encoding}_$plugin", encoding => $encoding);
        my $bytes = $encoding{$encoding}{nothing};
        my $value = "convert_from('\\x$bytes', '$encoding')";
        $one->source_sql('CREATE TABLE "a table" (id int PRIMARY KEY, v text); INSERT INTO "a table" VALUES (7, NULL)');
        $one->start(plugin => $plugin);
        $one->wait_stage('streaming');
        $one->source_sql(qq{INSERT INTO "a table" VALUES (1, 'before'); UPDATE "a table" SET v = $value WHERE id = 7;
            INSERT INTO "a table" VALUES (2, 'behind')});
        $one->wait_state('failed');
        my $told = told($one);
        my $hex  = join ' ', map {"0x$_"} $bytes =~ /../g;
        like($told, qr/$hex in encoding "$encoding" has no equivalent in encoding "UTF8"/, "$label: the bytes");
        # What comes before may or may not have been applied when the receiver tells.
        like($one->target_sql(q{SELECT string_agg(id || coalesce(v, ''), ' ' ORDER BY id) FROM "a table"}),
            qr/^(?:1before )?7$/, "$label: nothing else is in its place");
        if ($plugin eq 'pgoutput') {
            # The source cannot convert it, and does not say more.
            like($told, qr/output plugin "pgoutput", in the change callback, associated LSN [0-9A-F]+\/[0-9A-F]+/,
                "$label: where it is");
            like($told, qr/Change the value on the source, then start over/, "$label: what can be done");
            $one->abort;
        } else {
            like($told, qr/applying UPDATE on "public"\."a table" \(id\)=\(7\) of source transaction/,
                "$label: table and key");
            is($one->target_sql('SELECT table_name, kind, key FROM livemigrate.conflicts'), 'a table|UPDATE|(id)=(7)',
                "$label: among the conflicts");
            my ($skip) = $told =~ /(SELECT livemigrate\.skip_transaction\([^;]*;)/;
            $one->target_sql($skip);
            $one->resume;
            ok($one->poll(sub { $one->target_sql(q{SELECT count(*) FROM "a table" WHERE v = 'behind'}) == 1 }),
                "$label: it can be passed over")
              or $one->diagnose($label);
            $one->abort;
        }
        $one->cleanup;
    }
}

done_testing();
