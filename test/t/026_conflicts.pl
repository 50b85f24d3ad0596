# A conflict stops apply where its transaction begins, names table, key and position, and is passed
# over only when asked to; nothing before it is held up, nothing behind it is lost.  And a column
# that was added on the source (D-group: schema drift) stops it with the SQL that helps.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("conflict_$plugin");
    $one->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text);
CREATE TABLE n (id int PRIMARY KEY, v text);
INSERT INTO n VALUES (1, 'zero');
SQL
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    $one->target_sql("INSERT INTO t VALUES (2, 'written on the target')");

    # All in one batch: apply is held until they are there.
    my $lock = $one->lock_table($target, 'n');
    $one->source_sql("UPDATE n SET v = 'first'");
    $one->wait_blocked($target);
    $one->source_sql("INSERT INTO t VALUES (1, 'before')");
    $one->source_sql(
        "BEGIN; INSERT INTO t VALUES (9, 'lost'); INSERT INTO t VALUES (2, 'conflict'); COMMIT");
    $one->source_sql("INSERT INTO t VALUES (3, 'behind')");
    $one->end_session($lock);
    $one->wait_state('failed');

    is($one->target_sql('SELECT id FROM t ORDER BY id'),
        "1\n2", "$plugin: all before the conflict is applied, nothing of it or behind it");
    my $conflict = $one->target_sql(
        'SELECT kind, schema_name, table_name, key, sqlstate FROM livemigrate.conflicts');
    is($conflict, 'INSERT|public|t|(id)=(2)|23505', "$plugin: conflicts names table and key");
    is($one->target_sql(q{SELECT value FROM livemigrate.metrics WHERE name = 'livemigrate_conflicts_total'}),
        '1', "$plugin: the metric counts it");
    my $lsn    = $one->target_sql('SELECT end_lsn FROM livemigrate.conflicts');
    my $status = $one->status_row;
    like($status->{hint}, qr/skip_transaction\('$lsn', migration => '\w+'\)/, "$plugin: the hint has the way on");

    $one->assert_error(
        "SELECT livemigrate.skip_transaction('0/1')",
        "$plugin: another position",
        sqlstate => qr/22023/,
        message  => qr/0\/1 is not the position of the transaction that stopped apply/);
    $one->target_sql("SELECT livemigrate.skip_transaction('$lsn')");
    $one->resume;
    ok( $one->poll(sub { $one->target_sql('SELECT id FROM t WHERE id > 2') eq '3' }),
        "$plugin: what is behind the skipped transaction is applied") or $one->diagnose('skip');
    is($one->target_sql('SELECT v FROM t WHERE id = 2'),
        'written on the target', "$plugin: nothing of the skipped transaction is");
    is( $one->target_sql('SELECT resolution FROM livemigrate.conflicts'),
        'skipped', "$plugin: conflicts says so");
    is( $one->target_sql(
            'SELECT changes, skipped_at IS NOT NULL FROM livemigrate.skipped_transaction'),
        '2|t',
        "$plugin: so does skipped_transaction");
    $one->assert_error(
        "SELECT livemigrate.skip_transaction('$lsn')",
        "$plugin: nothing to skip any more",
        sqlstate => qr/55000/,
        message  => qr/cannot skip a transaction of migration/,
        plain    => 1);

    # Without a second skip the rest follows; then the row is brought in line by hand.
    $one->target_sql("DELETE FROM t WHERE id = 2");
    $one->source_sql("DELETE FROM t WHERE id = 9");
    $one->wait_state('failed');
    is( $one->target_sql(
            'SELECT kind, key, sqlstate FROM livemigrate.conflicts WHERE resolution IS NULL'),
        'DELETE|(id)=(9)|P0002',
        "$plugin: a missing row is a conflict");
    $one->target_sql("INSERT INTO t VALUES (2, 'conflict'), (9, 'any')");
    $one->resume;

    # What leaves a change out without an error; the hint has the SQL that lets it through.
    $one->target_sql('CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$;
        CREATE TRIGGER none BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE RULE none AS ON DELETE TO n DO INSTEAD NOTHING;
        ALTER TABLE t ENABLE REPLICA TRIGGER none; ALTER TABLE n ENABLE ALWAYS RULE none');
    for my $left_out (
        [ "INSERT INTO t VALUES (5, 'x')",        't|INSERT|27000', 'public.t DISABLE TRIGGER "?none"?' ],
        [ "DELETE FROM n; INSERT INTO n VALUES (1, 'first')", 'n|DELETE|P0002', 'public.n ENABLE RULE "?none"?' ]) {
        my ($change, $conflict, $command) = @$left_out;
        $one->source_sql("BEGIN; $change; COMMIT");
        $one->wait_state('failed');
        is($one->target_sql('SELECT table_name, kind, sqlstate FROM livemigrate.conflicts ORDER BY at DESC LIMIT 1'),
            $conflict, "$plugin: what a trigger or rule leaves out is a conflict");
        my ($sql) = $one->status_row->{hint} =~ /(ALTER TABLE $command; SELECT livemigrate\.migration_resume\(.*\);)/;
        ok($sql, "$plugin: the hint names it") or diag $one->status_row->{hint};
        $one->target_sql($sql);
    }
    ok($one->poll(sub { $one->target_sql('SELECT count(*) FROM t WHERE id = 5') eq '1' }), "$plugin: nothing is left out now");
    $one->target_sql('DROP TRIGGER none ON t; DROP FUNCTION nothing; DROP RULE none ON n');

    # Schema drift.
    $one->source_sql("INSERT INTO n VALUES (2, 'before the new column')");
    $one->source_sql('ALTER TABLE t ADD COLUMN amount varchar(10)');
    $one->source_sql('INSERT INTO t VALUES (4, NULL, $$x$$)');
    $one->wait_state('failed');
    is($one->target_sql('SELECT v FROM n WHERE id = 2'),
        'before the new column', "$plugin: what is before the new column is applied");
    my $hint = $one->status_row->{hint};
    like($hint, qr/ALTER TABLE "public"\."t" ADD COLUMN "amount" /, "$plugin: the hint has the column");
    if ($plugin eq 'pgoutput') {
        like($hint, qr/"amount" character varying\(10\); /, 'pgoutput: and its type');
    }
    $one->target_sql('ALTER TABLE t ADD COLUMN amount varchar(10)');
    $one->resume;
    $one->finish("$plugin: after conflicts and drift");
}

done_testing();
