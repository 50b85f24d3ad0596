# N07: an extension whose tables have rows of its own and of its user, as CREATE EXTENSION makes it on the
# target: its own rows come with it, the user's from the source, and so do the sequences that are the user's.
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
$pair->assert_nothing_left('nothing left');

done_testing();
