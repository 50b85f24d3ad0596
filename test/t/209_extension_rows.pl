# N07: an extension whose tables have rows of its own and of its user, as CREATE EXTENSION makes it on the
# target: its own rows come with it, the user's from the source, and so do the sequences that are the user's.
# And tables that an extension may watch over: their rows come by statements, in the copy, too.
#
# Needs a directory of extensions that can be written to, which server_tests.sh makes when root runs it.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $directory = $ENV{LIVEMIGRATE_EXTENSIONS}
  or plan skip_all => 'LIVEMIGRATE_EXTENSIONS names no directory for an extension';

my %file = ('test_rows.control' => "default_version = '1.0'\nrelocatable = false\nschema = rows\n",
    'test_rows--1.0.sql' => <<'SQL');
CREATE TABLE settings (name text PRIMARY KEY, v text, ours boolean NOT NULL DEFAULT false);
INSERT INTO settings VALUES ('made by', 'the extension', true);
CREATE TABLE jobs (id serial PRIMARY KEY, what text);
CREATE TABLE internal (id serial PRIMARY KEY, what text);
CREATE SEQUENCE ticket; CREATE SEQUENCE own_counter;
INSERT INTO internal (what) VALUES ('the extension''s');
SELECT pg_extension_config_dump('settings', 'WHERE NOT ours');
SELECT pg_extension_config_dump('jobs', ''); SELECT pg_extension_config_dump('jobs_id_seq', '');
SELECT pg_extension_config_dump('ticket', '');
SQL
$file{'test_watch.control'} = "default_version = '1.0'\nrelocatable = false\nschema = watch\n";
$file{'test_watch--1.0.sql'} =
    "CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';";
for my $name (sort keys %file) {
    open my $made, '>', "$directory/$name" or die "$name: $!\n";
    print $made $file{$name};
    close $made or die "$name: $!\n";
}

my $pair = LiveMigrate::Test->new(dbname => 'unused');
$pair->source->safe_psql('postgres', 'CREATE ROLE migrator LOGIN REPLICATION');
for my $plugin (qw(pgoutput wal2json)) {
    my $one = $pair->database("rows_$plugin");
    $one->source_sql(<<'SQL');
CREATE EXTENSION test_rows;
INSERT INTO rows.settings VALUES ('a', '1'), ('b', '2');
INSERT INTO rows.jobs (what) SELECT 'job' FROM generate_series(1, 10);
INSERT INTO rows.internal (what) VALUES ('not the user''s');
SELECT setval('rows.ticket', 500), setval('rows.own_counter', 600);
CREATE TABLE t (id int PRIMARY KEY);
SQL
    my $source = LiveMigrate::Test::quote_literal($one->conninfo(user => 'migrator'));
    $one->source_sql('GRANT USAGE ON SCHEMA rows TO migrator; GRANT SELECT ON ALL TABLES IN SCHEMA rows TO migrator');
    like($one->target_sql("SELECT string_agg(fix, ' ') FROM livemigrate.migration_check($source) WHERE check_id = 'select_rights'"),
        qr/GRANT SELECT ON SEQUENCE "rows"\."jobs_id_seq", "rows"\."ticket"/, "N07 $plugin: who migrates must read its sequences");
    $one->start(plugin => $plugin);
    $one->wait_stage('streaming');
    $one->source_sql("INSERT INTO rows.settings VALUES ('c', '3'); UPDATE rows.settings SET v = 'new' WHERE name = 'a';
        INSERT INTO rows.jobs (what) VALUES ('later'); DELETE FROM rows.jobs WHERE id = 1; SELECT nextval('rows.ticket')");
    $one->set_endpos;
    $one->wait_stage('done');
    is($one->target_sql("SELECT string_agg(concat_ws(' ', name, v), ', ' ORDER BY name) FROM rows.settings"),
        'a new, b 2, c 3, made by the extension', "N07 $plugin: each row once, whosesoever it is");
    is($one->target_sql('SELECT count(*), max(id) FROM rows.jobs'), '10|11', "N07 $plugin: and all of a table that is the user's");
    is($one->target_sql('SELECT string_agg(what, $$,$$) FROM rows.internal'), "the extension's",
        "N07 $plugin: and none of one that is not");
    is($one->target_sql("SELECT nextval('rows.jobs_id_seq'), nextval('rows.ticket'), nextval('rows.own_counter')"), '12|502|1',
        "N07 $plugin: the user's sequences go on, the extension's does not");
    $one->cleanup;
}

# The target's tables are kept: what would be in the way of the user's rows may go, and only that.
{
    my $kept = $pair->database('kept');
    $_->("CREATE EXTENSION test_rows; INSERT INTO rows.settings VALUES ('a', '1'); INSERT INTO rows.jobs (what) VALUES ('job')")
        for sub { $kept->source_sql($_[0]) }, sub { $kept->target_sql($_[0]) };
    my $error = $kept->target_error($kept->start_sql(on_existing => 'skip_schema'));
    like($error->{message}, qr/rows already: "rows"\."jobs", "rows"\."settings"/, 'N07 rows are in the way');
    $kept->target_sql($error->{hint});
    is($kept->target_sql('SELECT (SELECT count(*) FROM rows.jobs), (SELECT string_agg(name, $$,$$) FROM rows.settings)'),
        '0|made by', "N07 the fix leaves the extension's own");
    $kept->start(on_existing => 'skip_schema');
    $kept->wait_stage('streaming');
    is($kept->target_sql('SELECT (SELECT count(*) FROM rows.jobs), (SELECT count(*) FROM rows.settings)'), '1|2',
        "N07 and the user's come");
    $kept->set_endpos;
    $kept->wait_stage('done');
    $kept->cleanup;
}

# As the server's view of it has it, COPY as a statement reads from a client, the other kind from a callback.
my $one = $pair->database('watched');
$one->source_sql(join '', map {"CREATE TABLE $_ (id int PRIMARY KEY, v text);
    INSERT INTO $_ SELECT g, 'v' FROM generate_series(1, 25000) g;"} qw(plain watched depending other_method));
$one->source_sql("CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted DEFAULT; INSERT INTO parted SELECT generate_series(1, 25000)");
$one->start(pause_after => ['schema']);
$one->wait_state('paused');
$one->target_sql(<<'SQL');
CREATE EXTENSION test_watch;
CREATE ACCESS METHOD other_heap TYPE TABLE HANDLER heap_tableam_handler;
DROP TABLE other_method, parted; CREATE TABLE other_method (id int NOT NULL, v text) USING other_heap;
CREATE TABLE parted (id int NOT NULL) PARTITION BY RANGE (id);
CREATE TABLE parted_a PARTITION OF parted FOR VALUES FROM (1) TO (20000) USING other_heap;
CREATE TABLE parted_b PARTITION OF parted DEFAULT;
CREATE TABLE counted (what text);
CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN
        PERFORM pg_stat_clear_snapshot();
        INSERT INTO public.counted
            SELECT concat_ws(' ', TG_TABLE_NAME, lower(type)) FROM pg_stat_progress_copy WHERE pid = pg_backend_pid();
        RETURN NULL;
    END$$;
CREATE TRIGGER look AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION watch.look();
CREATE FUNCTION own_look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER look AFTER INSERT ON depending FOR EACH ROW EXECUTE FUNCTION own_look();
ALTER TRIGGER look ON depending DEPENDS ON EXTENSION test_watch;
DO $$DECLARE t text; BEGIN FOREACH t IN ARRAY '{plain, watched, depending, other_method, parted}'::text[] LOOP
    EXECUTE format('CREATE TRIGGER counts AFTER INSERT ON %I EXECUTE FUNCTION count_statement();
        ALTER TABLE %I ENABLE ALWAYS TRIGGER counts', t, t); END LOOP; END$$;
SQL
$one->resume(['data']);
$one->wait_stage('data');
$one->wait_state('paused');
is($one->target_sql("SELECT string_agg(what, ', ' ORDER BY what) FROM counted"),
    'depending pipe, other_method pipe, parted pipe, plain callback, watched pipe',
    'rows of tables that an extension may watch over come by a statement');
$one->target_sql('DROP TRIGGER counts ON plain; DROP TRIGGER counts ON watched; DROP TRIGGER counts ON depending;
    DROP TRIGGER counts ON other_method; DROP TRIGGER counts ON parted');
$one->resume([]);
$one->wait_stage('streaming');
$one->source_sql("UPDATE $_ SET id = -id WHERE id % 1000 = 0; DELETE FROM $_ WHERE id = 1; INSERT INTO $_ VALUES (-1)")
    for qw(plain watched depending other_method parted);
$one->set_endpos;
$one->wait_stage('done');
is($one->target_sql('SELECT count(*) FROM livemigrate.compare_data() WHERE equal'), '5', '... and all of them');
$one->cleanup;
$pair->assert_nothing_left('nothing left');

done_testing();
