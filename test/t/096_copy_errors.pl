# Permanent errors of single tables during the copy: the other tables are copied, the message names
# table, row and statement, and migration_resume copies only what is missing.  The source's own error
# is shown, not that its data ended early.  A session that an error has made useless is replaced, and
# never are there more than table_jobs.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use List::Util qw(max);
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $pair = LiveMigrate::Test->new(source_conf => "log_disconnections = on\n");
my ($source, $target) = ($pair->source, $pair->target);

sub paused_after {
    my ($one, $stage) = @_;
    $one->wait_stage($stage);
    $one->wait_state('paused');
}

sub copied {
    my ($one) = @_;
    return $one->target_sql(q{SELECT string_agg(format('%s %s %s', t.table_name, t.finished_at,
            pg_relation_filenode(t.table_name::regclass)), E'\n' ORDER BY t.table_name)
        FROM livemigrate.table_copy t WHERE t.state = 'done'});
}

# How many sessions there were under the snapshot beside the one that holds it, and the most of them
# at once.
sub copying_sessions {
    my @lines = grep {/\] livemigrate LOG:  (?:statement|disconnection):/} split /\n/, slurp_file($source->logfile);
    my %holds = map { /\[(\d+)\].*pg_export_snapshot/ ? ($1 => 1) : () } @lines;
    my ($all, %lives, @counts) = (0);
    for my $line (@lines) {
        my ($pid, $what) = $line =~ /\[(\d+)\].*(SET TRANSACTION SNAPSHOT|disconnection:)/ or next;
        next if $holds{$pid};
        $what =~ /SET/ ? $lives{$pid} = ++$all : delete $lives{$pid};
        push @counts, scalar keys %lives;
    }
    return ($all, max @counts);
}

# Everything a person is told.
sub told {
    my ($one) = @_;
    return $one->target_sql("SELECT concat_ws(' ', message, last_error_detail, hint)
        FROM livemigrate.migrations ORDER BY started_at DESC LIMIT 1");
}

# --- errors of the target: a row that its table does not take, as a whole and in one of its parts
$pair->source_sql(<<'SQL');
CREATE TABLE checked (id int PRIMARY KEY, v text);
INSERT INTO checked SELECT g, 'v' || g FROM generate_series(1, 1000) g;
CREATE TABLE doubled (id int PRIMARY KEY, v int);
INSERT INTO doubled SELECT g, g / 2 FROM generate_series(1, 1000) g;
CREATE TABLE parts (id int PRIMARY KEY, filler text);
INSERT INTO parts SELECT g, repeat(md5(g::text), 8) FROM generate_series(1, 20000) g;
CREATE TABLE hopeless (LIKE parts INCLUDING ALL);
INSERT INTO hopeless TABLE parts;
CREATE TABLE narrow (id int PRIMARY KEY, v int);
INSERT INTO narrow VALUES (1, 1), (2, 70000);
CREATE TABLE sieved (id int PRIMARY KEY, v text);
INSERT INTO sieved SELECT g, 'v' || g FROM generate_series(1, 1000) g;
CREATE TABLE seen (LIKE sieved INCLUDING ALL);
INSERT INTO seen TABLE sieved;
CREATE TABLE ruled (LIKE sieved INCLUDING ALL);
INSERT INTO ruled TABLE sieved;
CREATE TABLE bounded (LIKE sieved INCLUDING ALL);
INSERT INTO bounded TABLE sieved;
SQL
$pair->source_sql("CREATE TABLE good_$_ (id int PRIMARY KEY, v text);
    INSERT INTO good_$_ SELECT g, md5(g::text) FROM generate_series(1, 3000) g") for 1 .. 5;
$pair->start(pause_after => ['schema'], table_jobs => 2, split_tables_larger_than => '256 kB');
paused_after($pair, 'schema');
$pair->target_sql('ALTER TABLE checked ADD CONSTRAINT small CHECK (id <> 700);
    CREATE UNIQUE INDEX once ON doubled (v); ALTER TABLE narrow ALTER v TYPE smallint;
    ALTER TABLE parts ADD CONSTRAINT no_part CHECK (id <> 15000);
    ALTER TABLE hopeless ADD CONSTRAINT no_row CHECK (false);
    ALTER TABLE bounded ADD CONSTRAINT small CHECK (id <> 700)');
# What leaves rows out without an error, of a COPY below SQL and, as an extension is said to watch the table, of one
# as a statement; and a rule, which is not for COPY.
$pair->target_sql(<<'SQL');
CREATE FUNCTION public.sieve() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RETURN CASE WHEN NEW.id <> 700 THEN NEW END; END$$;
CREATE TRIGGER "by 700" BEFORE INSERT ON sieved FOR EACH ROW EXECUTE FUNCTION public.sieve();
ALTER TABLE sieved ENABLE ALWAYS TRIGGER "by 700";
CREATE TRIGGER seen BEFORE INSERT ON seen FOR EACH ROW EXECUTE FUNCTION public.sieve();
ALTER TABLE seen ENABLE REPLICA TRIGGER seen;
ALTER TRIGGER seen ON seen DEPENDS ON EXTENSION plpgsql;
CREATE TRIGGER seen AFTER INSERT ON ruled FOR EACH ROW EXECUTE FUNCTION public.sieve();
ALTER TRIGGER seen ON ruled DEPENDS ON EXTENSION plpgsql;
CREATE TRIGGER seen AFTER INSERT ON bounded FOR EACH ROW EXECUTE FUNCTION public.sieve();
ALTER TRIGGER seen ON bounded DEPENDS ON EXTENSION plpgsql;
CREATE RULE few AS ON INSERT TO ruled WHERE NEW.id > 999 DO INSTEAD NOTHING;
ALTER TABLE ruled ENABLE REPLICA RULE few;
SQL
$pair->resume(['data']);
$pair->wait_state('failed');
is($pair->status_row->{stage}, 'data', 'it stops in the stage');
is( $pair->target_sql(
        "SELECT string_agg(table_name, ' ' ORDER BY table_name) FROM livemigrate.table_copy
            WHERE state = 'done'"),
    'good_1 good_2 good_3 good_4 good_5 ruled', 'every other table is copied');
is($pair->target_sql('SELECT count(*) FROM ruled'), '1000', 'whole, whatever rules it has');
my %row = (
    bounded => qr/line 700/,
    checked => qr/line 700/,
    doubled => qr/\(v\)=\(\d+\)/,
    hopeless => qr/no_row/,
    narrow  => qr/line 2/,
    parts   => qr/\(15000, /,
    seen    => qr/has written 999 of 1000 rows/,
    sieved  => qr/has written 999 of 1000 rows/);
for my $table (sort keys %row) {
    my $events = $pair->target_sql(qq{SELECT message || ' ' || detail FROM livemigrate.events
        WHERE severity = 'error' AND message ~ 'table "public"."$table" could not be copied'});
    like($events, $row{$table}, "an event says which row of $table");
    like($events, qr/COPY .*\b$table\b.* TO STDOUT/, "and which statement");
    isnt(
        $pair->target_sql("SELECT error FROM livemigrate.table_progress WHERE table_name = '$table'"),
        '', "table_progress has the error of $table");
}
like(told($pair), qr/table "public"\."\w+" could not be copied: .*COPY .* TO STDOUT.*migration_resume/s,
    'the status says what to do');
is( $pair->target_sql("SELECT (parts_done > 0) || ' ' || (parts_done < parts) FROM livemigrate.table_progress
        WHERE table_name = 'parts'"),
    'true true', 'of a table in parts those before the row are copied');
is( $pair->target_sql("SELECT parts > 20 FROM livemigrate.table_progress WHERE table_name = 'hopeless'"),
    't', 'a table in many parts, all of which would fail,');
is( $pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE severity = 'error' AND message ~ '\"hopeless\"'"),
    '1', 'ends the stage for no other, and is told once');
like(told($pair), qr/8 tables failed in all/, 'the status says how many tables are missing');

my ($sessions, $most) = copying_sessions();
cmp_ok($sessions, '>=', 4, 'sessions of failed copies were replaced');
# One that its worker has closed may take a moment to go, beside that which takes its place.
cmp_ok($most, '<=', 4, 'and there were never more than table_jobs at once, beside such as ended');

my $before = copied($pair);
$pair->target_sql('ALTER TABLE checked DROP CONSTRAINT small; DROP INDEX once;
    ALTER TABLE narrow ALTER v TYPE int; ALTER TABLE parts DROP CONSTRAINT no_part;
    ALTER TABLE hopeless DROP CONSTRAINT no_row; ALTER TABLE bounded DROP CONSTRAINT small');
$pair->target_sql($_) for split /\n/, $pair->target_sql(
    "SELECT regexp_replace(p.error_hint, 'SELECT.*', '') FROM livemigrate.copy_part p
        JOIN livemigrate.table_copy t ON t.migration = p.migration AND t.id = p.table_id WHERE t.table_name IN ('seen', 'sieved')");
$pair->resume(['data']);
paused_after($pair, 'data');
my $after = copied($pair);
like($after, qr/\Q$_\E/, 'copied once: ' . substr $_, 0, 6) for split /\n/, $before;
is($pair->target_sql('SELECT count(*) FROM livemigrate.table_progress WHERE error IS NOT NULL'),
    '0', 'no error is left');
is( $pair->target_sql("SELECT count(*) FROM livemigrate.events WHERE message ~ 'new snapshot'"),
    '0', 'under the same snapshot');
$pair->resume([]);
$pair->wait_stage('streaming');
$pair->target_sql('DROP TRIGGER seen ON ruled; DROP TRIGGER seen ON bounded; DROP TRIGGER seen ON seen; DROP RULE few ON ruled; DROP TRIGGER "by 700" ON sieved; DROP FUNCTION sieve');
$pair->finish('errors of the target');

# --- errors of the source, met when some rows have been sent: text without an equivalent in the
# target's encoding
my $latin = $pair->database('latin', target_encoding => 'LATIN1');
$latin->source_sql(<<'SQL');
CREATE TABLE euro (id int PRIMARY KEY, v text);
INSERT INTO euro SELECT g, 'plain' FROM generate_series(1, 500) g;
INSERT INTO euro VALUES (501, U&'\20AC');
CREATE TABLE good (id int PRIMARY KEY, v text);
INSERT INTO good SELECT g, U&'\00E9' || g FROM generate_series(1, 2000) g;
SQL
$latin->start;
$latin->wait_state('failed');
like(told($latin), qr/table "public"\."euro" could not be copied: .*has no equivalent.*sent 500 rows.*COPY/s,
    'an encoding that has no such character');
is($latin->target_sql("SELECT count(*) FROM good"), '2000', 'the other table is copied');
$latin->abort;

done_testing();
