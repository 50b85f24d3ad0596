# Columns that change on the source while changes are applied (hard case L01).  A value of a column
# whose type has changed may fit the old one, rounded or cut; and what ALTER TABLE does to the rows
# that are there is not in the change stream.  So apply stops at the first row behind the change, the
# cutover looks at the tables that had none, and the hint, run as it is, brings the target in line.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use Test::More;

my $pair = LiveMigrate::Batch->new;
my $lossy = !$pair->wal2json_is_lossless;

# Statements, from outside the migration's own SQL, that the hint of a failed one has for a person.
sub follow_hint {
    my ($one, $label) = @_;
    my ($sql) = $one->status_row->{hint} =~ /^On the target run: (.*)$/s;
    ok($sql, "$label: the hint has SQL") or diag($one->status_row->{hint});
    $one->target_sql($sql // 'SELECT 1');
    $one->poll(sub { $one->status_row->{state} ne 'failed' });
}

sub follow {
    my ($one, $label, $change, $message) = @_;
    $one->source_sql($change);
    $one->wait_state('failed');
    like($one->status_row->{message}, $message, "$label: apply stops, and says why");
    follow_hint($one, $label);
}

# wal2json before 2.6 sends NaN and Infinity as NULL: a column that is new, or has such a type only
# now, is refused, unless the target takes no NULL in it.
sub refuse_lossy_columns {
    my ($one) = @_;
    my $refused = sub {
        my ($column, $label) = @_;
        $one->wait_state('failed');
        like($one->status_row->{message}, qr/column "$column" .*without loss: this wal2json/, $label);
        like($one->status_row->{hint}, qr/IS NOT NULL\) NOT VALID; .*pgoutput.*2\.6.*migration_abort/, "$label: and what to do");
    };
    $one->source_sql('INSERT INTO measure SELECT i, i FROM generate_series(-5, 0) i');
    $one->knock;
    $one->wait_applied;
    $one->source_sql('ALTER TABLE measure ADD f float8; UPDATE measure SET f = id');
    $one->source_sql(q{INSERT INTO measure (id, f) VALUES (1, 'NaN')});
    $refused->('f', 'wal2json, ADD COLUMN of a float');
    $one->target_sql('ALTER TABLE measure ADD f float8');
    my $failures = q{SELECT count(*) FROM livemigrate.events WHERE message = 'state is now failed'};
    my $failed   = $one->target_sql($failures);
    $one->resume;
    # Apply finds it, or whoever looks at the source before.
    $one->poll(sub { $one->target_sql($failures) > $failed });
    $refused->('f', 'wal2json, the float is there');
    my ($sql) = $one->status_row->{hint} =~ /(ALTER TABLE.*?);/;
    $one->target_sql($sql);
    $one->resume;
    $one->poll(sub { $one->target_sql("SELECT count(*) FROM livemigrate.conflicts WHERE sqlstate = '23514'") eq '1' });
    $one->wait_state('failed');
    is($one->target_sql('SELECT count(*) FROM measure'), '6', 'wal2json, NOT NULL: NaN does not become NULL');
    $one->target_sql("INSERT INTO measure VALUES (1, NULL, 'NaN');
        SELECT livemigrate.skip_transaction((SELECT end_lsn FROM livemigrate.conflicts ORDER BY at DESC LIMIT 1))");
    $one->resume;
    $one->source_sql('INSERT INTO measure VALUES (2, 0, 2.5)');
    ok($one->poll(sub { $one->target_sql('SELECT f FROM measure WHERE id = 2') eq '2.5' }),
        'wal2json, NOT NULL: other values arrive');

    $one->source_sql('ALTER TABLE measure ALTER f SET NOT NULL, ALTER n TYPE numeric');
    $refused->('n', 'wal2json, ALTER TYPE to numeric');
    $one->target_sql('ALTER TABLE measure ALTER n TYPE numeric');
    $one->resume;
    $one->wait_state('failed');
    $refused->('n', 'wal2json, the numeric is there');
    $one->target_sql('ALTER TABLE measure ALTER n TYPE int');
    $one->source_sql('ALTER TABLE measure ALTER n TYPE int');
    $one->resume;
    return;
}

my $tables = <<'SQL';
CREATE TYPE mood AS ENUM ('good', 'fair');
CREATE DOMAIN small AS varchar(4);
CREATE TABLE price (id int PRIMARY KEY, amount timestamp(2), at timestamptz(0), note text);
CREATE TABLE quiet (id int PRIMARY KEY, amount timestamp(2), note varchar(5));
CREATE TABLE swapped (id int PRIMARY KEY, a int, b int);
CREATE TABLE measure (id int PRIMARY KEY, n int);
CREATE TABLE again (id int PRIMARY KEY, last int);
INSERT INTO again SELECT i, i FROM generate_series(1, 5) i;
CREATE TABLE wide (id int PRIMARY KEY, v int, m mood, s small);
INSERT INTO price SELECT i, '2020-01-01', '2020-01-01', 'n' FROM generate_series(1, 5) i;
INSERT INTO quiet SELECT i, '2020-01-01', 'n' FROM generate_series(1, 5) i;
INSERT INTO swapped SELECT i, i, -i FROM generate_series(1, 5) i;
INSERT INTO wide SELECT i, i, 'good', 'x' FROM generate_series(1, 5) i;
SQL

for my $how (qw(text binary wal2json)) {
    my $plugin = $how eq 'wal2json' ? $how : 'pgoutput';
    my $one    = $pair->database("changes_$how");
    $one->create_gate;
    $one->source_sql($tables);
    # A type whose binary form is not known to be the same has all come as text.
    $one->source_sql('CREATE TABLE odd (id int PRIMARY KEY, q tsquery)') if $how eq 'text';
    # Made wider on purpose before the rows came: that is nobody's business.
    $one->start(plugin => $plugin, pause_after => ['schema']);
    $one->wait_state('paused');
    $one->target_sql('ALTER TABLE wide ALTER v TYPE bigint, ALTER s TYPE text');
    $one->resume;
    $one->wait_stage('streaming');
    $one->source_sql("INSERT INTO wide VALUES (6, 6, 'fair', 'y'); UPDATE wide SET s = 'z' WHERE id = 1");

    if ($plugin eq 'pgoutput') {
        follow($one, "$how, another modifier",
            'ALTER TABLE price ALTER amount TYPE timestamp(4); UPDATE price SET amount = $$2020-01-01 00:00:01.2345$$ WHERE id = 1',
            qr/"price" was changed on the source: column "amount" has another type/);
        is( $one->target_sql("SELECT kind || ' ' || sqlstate FROM livemigrate.conflicts ORDER BY at DESC LIMIT 1"),
            'UPDATE 42804', "$how, another modifier: a conflict");
        follow($one, "$how, another precision",
            q{ALTER TABLE price ALTER at TYPE timestamptz; INSERT INTO price VALUES (6, now(), '2020-01-01 00:00:00.25', 'x')},
            qr/column "at" has another type/);
    } else {
        # Found by looking at the source, not at its stream.
        $one->source_sql('ALTER TABLE price ALTER amount TYPE timestamp(4)');
        $one->wait_state('failed');
        like($one->status_row->{message}, qr/column "amount" has another type/, "$how: the type is looked at");
        follow_hint($one, "$how, another modifier");
        $one->source_sql('UPDATE price SET amount = $$2020-01-01 00:00:01.2345$$ WHERE id = 1');
    }
    # That is for the cutover to tell: rows do not wait for it.
    $one->source_sql('ALTER TABLE wide DROP v; INSERT INTO wide (id) VALUES (7)');
    follow($one, "$how, a column with a default",
        q{ALTER TABLE price ADD extra int NOT NULL DEFAULT 5; INSERT INTO price VALUES (10, now(), now(), 'new', 7)},
        qr/"extra"/);
    follow($one, "$how, a default that is evaluated once",
        q{ALTER TABLE price ADD made timestamptz DEFAULT now(); ALTER TABLE price ALTER made DROP DEFAULT;
          INSERT INTO price VALUES (11, now(), now(), 'new', 8, NULL), (12, now(), now(), 'new', 8, now())},
        qr/"made"/);
    follow($one, "$how, an enum",
        q{ALTER TABLE price ADD m mood DEFAULT 'fair'; INSERT INTO price (id, m) VALUES (13, 'good')}, qr/"m"/);
    follow($one, "$how, RENAME COLUMN",
        q{ALTER TABLE price RENAME note TO "Remark"; INSERT INTO price (id, "Remark") VALUES (14, 'r')},
        qr/"Remark"/);
    $one->source_sql('DELETE FROM price WHERE id = 2');
    $one->knock;
    $one->wait_applied;
    $one->assert_equal_tables("$how: after each", rows_only => 1, skip => qr/wide/);

    # Two columns that change their names look the same as before; where each was tells.
    if ($plugin eq 'pgoutput') {
        $one->source_sql('ALTER TABLE swapped RENAME a TO c; ALTER TABLE swapped RENAME b TO a;
            ALTER TABLE swapped RENAME c TO b; INSERT INTO swapped (id, a, b) VALUES (6, 60, 61)');
        $one->wait_state('failed');
        like($one->status_row->{message}, qr/"[ab]" is another one of that name/, "$how, swapped: told");
        $one->target_sql('ALTER TABLE swapped RENAME a TO c; ALTER TABLE swapped RENAME b TO a;
            ALTER TABLE swapped RENAME c TO b');
        $one->resume;
        $one->knock;
        $one->wait_applied;
    }

    refuse_lossy_columns($one) if $lossy && $plugin eq 'wal2json';

    # The last column, made anew as it was: every row looks the same.
    $one->source_sql('ALTER TABLE again DROP last; ALTER TABLE again ADD last int; INSERT INTO again VALUES (6, 60)');

    # No row tells of these.
    $one->source_sql(q{ALTER TABLE quiet ALTER note TYPE text USING note || note,
        ALTER amount TYPE timestamp(3); ALTER TABLE quiet RENAME amount TO sum;
        ALTER TABLE quiet ADD more int DEFAULT 3});
    if ($plugin eq 'pgoutput') {
        $one->poll(sub { $one->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'warning'
            AND message ~ '\"quiet\" was changed on the source.*note.*sum|\"quiet\" was changed.*\"sum\"'") > 0 });
        is($one->status_row->{state}, 'running', "$how, no rows: a warning before the cutover");
        $one->set_endpos;
    }
    $one->wait_state('failed');
    like($one->target_sql('SELECT last_error || last_error_detail FROM livemigrate.migrations'),
        $plugin eq 'wal2json' ? qr/"quiet" was changed on the source/ :
          qr/3 tables were changed on the source.*"quiet" was changed on the source/s,
        "$how: it stops");
    my $same_again = sub {
        like($one->target_sql('SELECT last_error_detail FROM livemigrate.migrations'),
            qr/"again" was changed on the source: column "last" is another one of that name/,
            "$how, made anew: the cutover tells");
        $one->target_sql('UPDATE again SET last = NULL WHERE id < 6');
    };
    $same_again->() if $plugin eq 'pgoutput';
    follow_hint($one, "$how, no rows");
    $one->target_sql('UPDATE quiet SET note = note || note');
    if ($plugin eq 'wal2json') {
        $one->set_endpos;
        $one->wait_state('failed');
        $same_again->();
        follow_hint($one, "$how, no rows, at the cutover");
    }
    $one->wait_stage('done');
    $one->assert_equal_tables("$how: at the end");
    $one->cleanup;
}

done_testing();
