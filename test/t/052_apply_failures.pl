# What stops a batch in the middle: the error names table and transaction, what is before that
# transaction stays and nothing else, and once the cause is gone everything is applied.  And what
# must not stop it: locks, deadlocks, other sessions, changes of the target's tables and types.
# Takes long.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use Test::More;

my $pair = LiveMigrate::Batch->new(
    dbname      => 'unused',
    source_conf => "wal_sender_timeout = 10s\n",
    target_conf => "deadlock_timeout = 100ms\n");

my $setup = <<'SQL';
CREATE TABLE a (id int PRIMARY KEY, n int, v text);
CREATE TABLE b (id int PRIMARY KEY, n int, v text);
INSERT INTO a SELECT g, g, 'copied' FROM generate_series(1, 100) g; INSERT INTO b TABLE a;
CREATE TABLE log (id int, v text); ALTER TABLE log REPLICA IDENTITY FULL;
SQL

# Five transactions, of which the fourth is the bad one.  The rows of $table in it and after it are
# updated again, so that the net effect is not where the error is.
sub five_transactions {
    my ($bad) = @_;
    return
        "UPDATE a SET v = 'first' WHERE id < 50; INSERT INTO b VALUES (201, 1, 'second');"
        . " INSERT INTO log VALUES (1, 'third'); BEGIN; UPDATE a SET v = 'fourth'"
        . " WHERE id = 60; $bad; DELETE FROM log; COMMIT; UPDATE a SET v = 'fifth' WHERE id = 60;";
}

# It would fire at the target's commit, of all five.
my $deferred = <<'SQL';
CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
    IF NEW.n = -5 THEN RAISE $_$not this one$_$; END IF; RETURN NULL; END$$;
CREATE CONSTRAINT TRIGGER no AFTER INSERT OR UPDATE ON b DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION no();
ALTER TABLE b ENABLE ALWAYS TRIGGER no
SQL

(my $deferred_on_one = "ALTER TABLE b RENAME TO b_1; ALTER INDEX b_pkey RENAME TO b_1_pkey;
    CREATE TABLE b (LIKE b_1 INCLUDING ALL) PARTITION BY RANGE (id); ALTER TABLE b ATTACH PARTITION b_1 DEFAULT;
    $deferred") =~ s/(?<=ON|LE) b (?=DEF|ENABLE)/ b_1 /g;

# Label; what spoils the target; the change that fails; SQLSTATE; the table; what mends it.
my @failures = (
    [   'a CHECK constraint of the target',
        'ALTER TABLE b ADD CONSTRAINT positive CHECK (n > 0)',
        'UPDATE b SET n = -1 WHERE id = 7',
        '23514', 'public.b',
        'ALTER TABLE b DROP CONSTRAINT positive' ],
    [   'a unique index of the target',
        'CREATE UNIQUE INDEX only_once ON b (n)',
        'INSERT INTO b VALUES (300, 7)',
        '23505', 'public.b',
        'DROP INDEX only_once' ],
    [   'I14 a missing row',
        'DELETE FROM b WHERE id = 7',
        'UPDATE b SET n = 0 WHERE id = 7',
        'P0002', 'public.b',
        "INSERT INTO b VALUES (7, 7, 'copied')" ],
    [   'I15 a row that is there already',
        'INSERT INTO b VALUES (300, 1)',
        "INSERT INTO b VALUES (300, 7, 'x')",
        '23505', 'public.b',
        'DELETE FROM b WHERE id = 300' ],
    [   'NOT NULL on the target, through SQL',
        'ALTER TABLE log ALTER v SET NOT NULL',
        'INSERT INTO log VALUES (5, NULL)',
        '23502', 'public.log',
        'ALTER TABLE log ALTER v DROP NOT NULL' ],
    [   'a narrower type of the target',
        'ALTER TABLE b ALTER v TYPE varchar(10)',
        "UPDATE b SET v = repeat('x', 11) WHERE id = 7",
        '22001', 'public.b',
        'ALTER TABLE b ALTER v TYPE text' ],
    [   'a trigger of the target',
        'CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            IF NEW.n = -5 THEN RAISE $_$not this one$_$; END IF; RETURN NEW; END$$;
            CREATE TRIGGER no BEFORE UPDATE ON b FOR EACH ROW EXECUTE FUNCTION no();
            ALTER TABLE b ENABLE ALWAYS TRIGGER no',
        'UPDATE b SET n = -5 WHERE id = 7',
        'P0001', 'public.b',
        'DROP TRIGGER no ON b' ],
    [   'a deferred trigger of the target', $deferred,
        'UPDATE b SET n = -5 WHERE id = 7',
        'P0001', 'public.b',
        'DROP TRIGGER no ON b' ],
    [   'a deferred trigger of one partition on the target', $deferred_on_one,
        'UPDATE b SET n = -5 WHERE id = 7',
        'P0001', 'public.b',
        'ALTER TABLE b DETACH PARTITION b_1; DROP TABLE b; ALTER TABLE b_1 RENAME TO b;
            ALTER INDEX b_1_pkey RENAME TO b_pkey; DROP TRIGGER no ON b' ],
    [   'a deferred trigger before another failure',
        "$deferred; INSERT INTO b VALUES (300, 1)",
        "UPDATE b SET n = -5 WHERE id = 7; COMMIT; BEGIN; INSERT INTO b VALUES (300, 7, 'x')",
        'P0001', 'public.b',
        'DROP TRIGGER no ON b; DELETE FROM b WHERE id = 300' ],
    [   'a column that the target lacks',
        'ALTER TABLE b DROP COLUMN v',
        'UPDATE b SET n = 0 WHERE id = 7',
        '42703', 'public.b',
        "ALTER TABLE b ADD COLUMN v text; UPDATE b SET v = 'copied'" ],
    [   'a table that the target lacks',
        'ALTER TABLE b RENAME TO c',
        'UPDATE b SET n = 0 WHERE id = 7',
        '42P01', 'public.b',
        'ALTER TABLE c RENAME TO b' ],
    [   'TRUNCATE of a table that another one references',
        'CREATE TABLE child (id int REFERENCES b); INSERT INTO child SELECT min(id) FROM b',
        'TRUNCATE b',
        '0A000', 'public.b',
        'DROP TABLE child' ],);

my $number = 0;
for my $plugin (qw(pgoutput wal2json)) {
    for my $case (@failures) {
        my ($label, $spoil, $bad, $sqlstate, $table, $mend) = @$case;
        my $one = $pair->database('failure' . ++$number);
        $one->create_gate;
        $one->source_sql($setup);
        $one->start(plugin => $plugin);
        $one->wait_stage('streaming');
        $one->target_sql($spoil);

        $one->hold_batch(five_transactions($bad));
        $one->wait_state('failed');
        my $status = $one->status_row;
        is( $one->target_sql(
                q{SELECT count(*) FILTER (WHERE v = 'first'), string_agg(v, '') FILTER
                  (WHERE id = 60) FROM a}),
            '49|copied',
            "$label ($plugin): what is before the transaction stays, nothing of it or behind it");
        my $conflict = $one->target_sql(<<'SQL');
SELECT concat(schema_name, '.', table_name, ' ', sqlstate, ' ', end_lsn IS NOT NULL AND xid > 0)
FROM livemigrate.conflicts
SQL
        is($conflict, "$table $sqlstate t", "$label ($plugin): a conflict with its position");
        my $event = $one->target_sql(
            "SELECT string_agg(concat_ws(' ', message, detail), ' ')
             FROM livemigrate.events WHERE severity = 'error'");
        my ($name) = $table =~ /\.(\w+)/;
        like($event, qr/"?\b$name\b"?.* at [0-9A-F]+\/[0-9A-F]+/s,
            "$label ($plugin): the error names table and position");
        ok($status->{hint}, "$label ($plugin): and what to do");

        $one->target_sql($mend);
        $one->resume;
        $one->wait_applied;
        $one->finish("$label ($plugin): mended and resumed", relations => 0);
    }
}

done_testing();
