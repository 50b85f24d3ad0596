# C16: the stream's values in binary form, where all types allow it: exact whatever the column is on
# the target, in whatever encoding roles are set to, and when a column of another type comes up in
# the middle.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use Test::More;

my $pair = LiveMigrate::Batch->new(
    source_conf => "logical_decoding_work_mem = 64kB\n",
    target_conf => "livemigrate.stream_binary = on\n");
my ($source, $target) = ($pair->source, $pair->target);

plan skip_all => 'the source sends no binary values'
  if $pair->source_sql('SHOW server_version_num') < 140000;

# How the walsender was asked to send. One that was asked before may take a moment to go.
sub is_form {
    my ($one, $want, $label) = @_;
    my $form;
    ok($one->poll(sub {
            my $command = $one->source_sql("SELECT query FROM pg_stat_activity WHERE backend_type = 'walsender'"
                  . ' AND datname = current_database()');
            $form = $command =~ /"binary" 'true'/ ? 'binary' : $command =~ /^START_REP/ ? 'text' : "?$command";
            return $form eq $want;
        }), $label)
      or diag $form;
}

my $schema = <<'SQL';
CREATE TYPE mood AS ENUM ('sad', 'so-so', 'glücklich');
CREATE DOMAIN amount AS numeric(20,4) CHECK (VALUE >= 0);
CREATE DOMAIN rooms AS int[];
CREATE TABLE t (
    id int PRIMARY KEY, v text, m mood, a amount, r rooms, at timestamptz, u uuid, j jsonb,
    f float8, b bytea, n name, c char(6), d date, p point, i interval, w inet, s numrange);
SQL
my $row = q{'häßlich € 😀', 'glücklich', 12.3400, '{1,NULL,3}', '2026-03-29 01:59:59.999999+00',
    '00000000-0000-4000-8000-00000000abcd', '{"ä": [1.00, null]}', '-0', '\x00ff', 'ñ', 'ü', '-infinity',
    '(1e-300,NaN)', '1 mon -1 day 00:00:00.000001', '::1/64', '[1.0,2.00)'};

# The receive functions of text convert from client_encoding, which a role may have set.
{
    my $role = $pair->target_sql('SELECT quote_ident(current_user)');
    $pair->target_sql("ALTER ROLE $role SET client_encoding = 'LATIN1'");
    my $one = $pair->database('encoding');
    $one->create_gate;
    $one->source_sql($schema . "INSERT INTO t VALUES (1, $row)");
    $one->start;
    $one->wait_stage('streaming');
    is_form($one, 'binary', 'C16: values come in binary form');
    $one->source_sql("INSERT INTO t VALUES (2, $row); INSERT INTO t (id, v) VALUES (3, NULL), (4, '')");
    $one->source_sql("UPDATE t SET m = 'sad', v = v || 'é' WHERE id < 3; UPDATE t SET id = 9 WHERE id = 3");
    $one->finish('C16 a role with another client_encoding');
    $pair->target_sql("ALTER ROLE $role RESET client_encoding");
}

# What the target's columns are is the user's choice; each value is what the source's text would
# have made of it.
{
    my $one = $pair->database('other_types');
    $one->create_gate;
    $one->source_sql($schema . "ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, $row)");
    $one->start(pause_after => ['schema']);
    $one->wait_state('paused');
    $one->target_sql('ALTER TABLE t ALTER id TYPE bigint, ALTER m TYPE text, ALTER a TYPE text,'
          . ' ALTER at TYPE text, ALTER u TYPE text, ALTER f TYPE numeric, ALTER d TYPE timestamp,'
          . ' ALTER j TYPE json, ALTER r TYPE bigint[], ALTER c TYPE varchar');
    $one->resume;
    $one->wait_stage('streaming');
    is_form($one, 'binary', 'C16 other types: values come in binary form');
    $one->source_sql("INSERT INTO t VALUES (2, $row), (3, $row); UPDATE t SET v = 'x' WHERE id = 1;"
          . 'DELETE FROM t WHERE id = 3');
    $one->set_endpos;
    $one->wait_stage('done');
    my $image = q{SELECT id, v, m, a::text, r::text, at::text, u, j::text, f::text, b, n, c, d::text, p,
        i, w, s FROM t ORDER BY id};
    my $got = $one->target_sql("SET TimeZone = 'UTC'; $image");
    like($got, qr/^1\|x\|glücklich\|12\.3400\|\{1,NULL,3\}\|2026-03-29 01:59:59\.999999\+00\|/,
        'C16 other types: as the text says');
    is($got =~ s/-infinity/-infinity/gr, $one->source_sql("SET TimeZone = 'UTC'; $image") =~ s/\|-0\|/|0|/gr,
        'C16 other types: all columns');
    $one->cleanup;
}

# A column of a type of which nothing is known makes the rest of the stream text. Changes of both
# forms to the same rows in one batch do not pass one another.
{
    my $one = $pair->database('switch');
    $one->create_gate;
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text);'
          . 'INSERT INTO t SELECT g, 0 FROM generate_series(1, 50) g');
    $one->start;
    $one->wait_stage('streaming');
    is_form($one, 'binary', 'C16 switch: binary at first');
    my $pair_type = 'CREATE TYPE pair AS (a int, b text);';
    $one->target_sql("$pair_type ALTER TABLE t ADD x pair");
    $one->in_one_batch("UPDATE t SET v = 'binary';"
          . 'DELETE FROM t WHERE id BETWEEN 10 AND 20; INSERT INTO t VALUES (15, 0), (100, 0);'
          . "$pair_type BEGIN; UPDATE t SET v = 'before' WHERE id = 1; ALTER TABLE t ADD x pair;"
          . "UPDATE t SET v = 'text', x = (1, 'ä'); DELETE FROM t WHERE id IN (15, 30);"
          . "INSERT INTO t VALUES (15, 'again', (2, NULL)), (101, 'new', NULL); COMMIT");
    is_form($one, 'text', 'C16 switch: text then');
    like(PostgreSQL::Test::Utils::slurp_file($target->logfile), qr/changes are received as text from now on/,
        'C16 switch: the log tells');
    is($one->target_sql('SELECT count(*) FROM livemigrate.conflicts'), '0', 'C16 switch: no conflict');
    $one->finish('C16 switch in the middle of a batch');
}

# The same inside a transaction that is sent, and applied, before it ends.
{
    my $one = $pair->database('streamed');
    $one->create_gate;
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text);');
    $one->start;
    $one->wait_stage('streaming');
    my $session = $one->session($source, 'BEGIN');
    $session->query_safe(
        'INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 20000) g; DELETE FROM t WHERE id % 3 = 0');
    $one->knock;
    $one->wait_applied;
    is_form($one, 'binary', 'C16 streamed: binary at first');
    $one->target_sql('ALTER TABLE t ADD x money');
    $session->query_safe("ALTER TABLE t ADD x money; UPDATE t SET x = '1.50' WHERE id % 5 = 0;"
          . "INSERT INTO t SELECT g, md5(g::text), '2' FROM generate_series(20001, 40000) g; COMMIT");
    $one->end_session($session);
    $one->knock;
    $one->wait_applied;
    is_form($one, 'text', 'C16 streamed: text then');
    $one->finish('C16 switch in a streamed transaction');
}

# Text from the start, where it must be or is asked for.
my %text = (
    'a type that has another form elsewhere' => { sql => 'ALTER TABLE t ADD x regclass' },
    'an array that names its element'        => { sql => "CREATE TYPE m AS ENUM ('a'); ALTER TABLE t ADD x m[]" },
    # Found by 059: COPY in binary form stopped here.
    'a vector that is empty' =>
      { sql => "ALTER TABLE t ADD x oidvector, ADD y int2vector; INSERT INTO t VALUES (7, 'a', '', '')" },
    'several apply workers' => { start => { options => { apply_jobs => 2 } } },
    'the setting'           => { conf  => "livemigrate.stream_binary = off\n" });
my $number = 0;
for my $why (sort keys %text) {
    my $one = $pair->database('text' . ++$number);
    $one->source_sql('CREATE TABLE t (id int PRIMARY KEY, v text);' . ($text{$why}{sql} // ''));
    if ($text{$why}{conf}) {
        $target->append_conf('postgresql.conf', $text{$why}{conf});
        $target->reload;
    }
    $one->start(%{ $text{$why}{start} // {} });
    $one->wait_stage('streaming');
    is_form($one, 'text', "C16 text: $why");
    $one->source_sql("INSERT INTO t VALUES (1, 'ä')");
    $one->finish("C16 text: $why");
}

done_testing();
