# Hypertables on the target: copied into, followed, compared.
use strict;
use warnings;

use LiveMigrate::Hypertables;
use Test::More;

my $schema = <<'SQL';
CREATE TABLE devices (id int PRIMARY KEY, name text);
INSERT INTO devices SELECT g, 'device ' || g FROM generate_series(1, 50) g;

-- the key has the time, in another place; a stored generated column, a default, a toasted one
CREATE TABLE metrics (
    device int NOT NULL REFERENCES devices,
    "Time" timestamptz NOT NULL,
    value float8,
    twice float8 GENERATED ALWAYS AS (value * 2) STORED,
    tags int[] DEFAULT '{1,2}',
    note text,
    PRIMARY KEY (device, "Time"));
ALTER TABLE metrics ALTER note SET STORAGE EXTERNAL;
CREATE INDEX metrics_value ON metrics (value) WHERE value > 10;
INSERT INTO metrics (device, "Time", value, note)
SELECT g % 50 + 1, timestamptz '2026-01-01 00:00+00' + g * interval '97 s', g % 97,
       CASE WHEN g % 500 = 0 THEN repeat(md5(g::text), 200) ELSE 'n' || g END
FROM generate_series(1, 20000) g;
UPDATE metrics SET value = 'NaN' WHERE device = 7 AND value = 5;

-- no key, whole rows identify, some of them twice
CREATE TABLE readings (at timestamp NOT NULL, v numeric(10, 2), j json);
ALTER TABLE readings REPLICA IDENTITY FULL;
INSERT INTO readings SELECT timestamp '2026-02-01' + (g % 700) * interval '1 h', g % 3, '{"a": 1}'
FROM generate_series(1, 1500) g;

-- integer time
CREATE TABLE ticks (n bigint PRIMARY KEY, s text);
INSERT INTO ticks SELECT g, 's' || g FROM generate_series(0, 4999) g;

CREATE TABLE plain (id int PRIMARY KEY, t text);
INSERT INTO plain SELECT g, 'p' FROM generate_series(1, 100) g;
SQL

my $hypertables = <<'SQL';
SELECT create_hypertable('metrics', 'Time', chunk_time_interval => interval '1 day');
SELECT create_hypertable('readings', 'at', chunk_time_interval => interval '1 day');
SELECT create_hypertable('ticks', 'n', chunk_time_interval => 1000);
SQL

my $changes = <<'SQL';
INSERT INTO metrics (device, "Time", value, note)
SELECT g % 50 + 1, timestamptz '2026-03-01 00:00+00' + g * interval '1 min', g, 'late'
FROM generate_series(1, 3000) g;
UPDATE metrics SET value = value + 1 WHERE device <= 5;
UPDATE metrics SET value = -1 WHERE note LIKE repeat('_', 1000) || '%';  -- toasted note unchanged
DELETE FROM metrics WHERE device = 9 AND "Time" < '2026-01-10';
-- to another chunk, with and without another key column
UPDATE metrics SET "Time" = "Time" + interval '40 days' WHERE device = 3 AND value < 20;
UPDATE metrics SET device = 50, "Time" = "Time" + interval '1 ms'
WHERE device = 11 AND "Time" < '2026-01-03';
BEGIN;
INSERT INTO metrics (device, "Time", value) VALUES (1, '2020-01-01', 1);
UPDATE metrics SET value = 2 WHERE device = 1 AND "Time" = '2020-01-01';
DELETE FROM metrics WHERE device = 1 AND "Time" = '2020-01-01';
INSERT INTO metrics (device, "Time", value) VALUES (1, '2020-01-01', 3);
COMMIT;

INSERT INTO readings VALUES ('2026-02-02', 1, NULL), ('2026-02-02', 1, NULL), ('2026-05-02', 1, '[]');
DELETE FROM readings WHERE ctid IN (SELECT min(ctid) FROM readings GROUP BY at, v LIMIT 100);
UPDATE readings SET v = 99 WHERE at < '2026-02-03' AND v = 2;
UPDATE readings SET at = at + interval '90 days' WHERE at = '2026-02-05 03:00';

TRUNCATE ticks;
INSERT INTO ticks SELECT g * 10, 'again' FROM generate_series(1, 500) g;
UPDATE ticks SET n = n + 100000 WHERE n <= 100;
UPDATE ticks SET s = 'once more' WHERE n BETWEEN 1000 AND 1200;
UPDATE plain SET t = 'q' WHERE id < 10;
SQL

my @tables = qw(metrics readings ticks);
my $pair   = LiveMigrate::Hypertables->new_or_skip;

for my $plugin ($pair->wal2json_is_lossless ? qw(pgoutput wal2json) : qw(pgoutput)) {
    my $db = $pair->database("hyper_$plugin");
    $db->source_sql($schema);
    # Parts of a page range each, copied by several workers into the same chunks.
    $db->start(
        plugin                   => $plugin,
        pause_after              => ['schema'],
        split_tables_larger_than => '200 kB');
    $db->wait_state('paused');
    $db->target_sql($hypertables);
    $db->resume([]);
    $db->wait_stage('streaming');
    $db->assert_in_chunks("$plugin, copied", @tables);
    cmp_ok($db->target_sql("SELECT count(*) FROM show_chunks('metrics')"),
        '>', 20, "$plugin: rows are in many chunks");
    is($db->target_sql("SELECT contype FROM pg_constraint WHERE conrelid = 'metrics'::regclass
            AND contype IN ('p', 'f') ORDER BY 1"), "f\np", "$plugin: keys are there");

    $db->source_sql($_) for split /\n\n/, $changes;
    $db->set_endpos;
    $db->wait_stage('done');
    $db->assert_in_chunks("$plugin, applied", @tables);
    is($db->target_sql('SELECT count(*) FROM livemigrate.compare_data() WHERE NOT equal'),
        '0', "$plugin: compare_data finds no difference");
    is($db->target_sql("SELECT count(*) FROM metrics WHERE twice IS DISTINCT FROM value * 2"),
        '0', "$plugin: generated columns");
    $db->assert_equal_tables("$plugin: equal tables", relations => 0);
    $db->cleanup;
    $db->assert_nothing_left("$plugin: nothing left");
}


# --- option hypertables, and keys that a hypertable cannot have
my $db = $pair->database('options');
$db->source_sql(<<'SQL');
CREATE TABLE events (id bigint PRIMARY KEY, at timestamptz NOT NULL, what text);
INSERT INTO events SELECT g, timestamptz '2026-01-01 00:00+00' + g * interval '1 h', 'e'
FROM generate_series(1, 2000) g;
CREATE SCHEMA "Raw";
CREATE TABLE "Raw"."Log" (at timestamp NOT NULL, host text NOT NULL, line text);
ALTER TABLE "Raw"."Log" REPLICA IDENTITY FULL;
CREATE INDEX "Log_at_idx" ON "Raw"."Log" (at DESC);
INSERT INTO "Raw"."Log" SELECT timestamp '2026-01-01' + g * interval '10 min', 'h' || g % 9, 'l'
FROM generate_series(1, 2000) g;
CREATE TABLE parted (at timestamptz NOT NULL) PARTITION BY RANGE (at);

-- keys that are more than their columns: what goes lost of them refuses rows that the source has
CREATE TABLE orders (id int PRIMARY KEY, at timestamptz NOT NULL, code text, "Seat (no)" int, active bool,
    UNIQUE ("Seat (no)") INCLUDE (code) DEFERRABLE INITIALLY DEFERRED);
CREATE UNIQUE INDEX orders_code ON orders (code COLLATE "C" text_pattern_ops DESC) INCLUDE (id) WHERE active;
CREATE UNIQUE INDEX orders_expr ON orders (lower(code || ', (') DESC, ("Seat (no)" / 2)) WHERE id % 2 > 0;
INSERT INTO orders SELECT g, timestamptz '2026-01-01' + g / 10 * interval '1 day', 'c' || g / 5, g, g % 5 = 1
FROM generate_series(1, 200) g;

-- the identity is an index, with the time and without
CREATE TABLE timed (a int NOT NULL, at timestamptz NOT NULL, v text);
CREATE UNIQUE INDEX timed_key ON timed (a, at);
ALTER TABLE timed REPLICA IDENTITY USING INDEX timed_key; ALTER TABLE timed CLUSTER ON timed_key;
INSERT INTO timed SELECT g % 20, timestamptz '2026-01-01' + g * interval '1 h', 't' FROM generate_series(1, 500) g;
CREATE TABLE keyed (a int NOT NULL, at timestamptz NOT NULL, v text);
CREATE UNIQUE INDEX keyed_key ON keyed (a);
ALTER TABLE keyed REPLICA IDENTITY USING INDEX keyed_key; ALTER TABLE keyed CLUSTER ON keyed_key;
INSERT INTO keyed SELECT g, timestamptz '2026-01-01' + g * interval '1 h', 'k' FROM generate_series(1, 500) g;
SQL

for my $bad (
    [ 'entry 1 of option "hypertables" has an unknown key "chunk_size"' =>
            { table => 'events', time_column => 'at', chunk_size => '1 day' } ],
    [ 'entry 1 of option "hypertables" lacks key time_column' => { table => 'events' } ],
    [ 'entry 1 of option "hypertables" is not a JSON object' => 'events' ],
    [ 'has a value of "table" that is no string' => { table => 5, time_column => 'at' } ],
    [ 'needs both of partition_column and partitions' =>
            { table => 'events', time_column => 'at', partitions => 3 } ],
    [ 'is not migrated' => { table => 'nosuch', time_column => 'at' } ],
    [ 'is partitioned'  => { table => 'parted', time_column => 'at' } ],
    [ 'has no column'   => { table => 'events', time_column => 'time' } ],
    [ 'its type is no time' => { table => 'events', time_column => 'what' } ],
    [ 'unique key "events_pkey" of "public"."events" lacks "at"' =>
            { table => 'events', time_column => 'at' } ]
) {
    my ($message, $entry) = @$bad;
    my $error = $db->target_error($db->start_sql(options => { hypertables => [$entry] }));
    like($error->{message}, qr/\Q$message/, "option refused: $message");
    ok($error->{hint}, '... with a hint');
}
is($db->target_sql('SELECT count(*) FROM livemigrate.migrations'), '0', 'nothing was started');

$db->start(
    pause_after => ['schema'],
    options     => {
        hypertables => [
            {   table            => 'Raw.Log',
                time_column      => 'at',
                chunk_interval   => '1 day',
                partition_column => 'host',
                partitions       => 2 } ] });
$db->wait_state('paused');
is($db->target_sql(
        "SELECT hypertable_name, num_dimensions FROM timescaledb_information.hypertables"),
    'Log|2', 'the hypertable is made with the schema');
$db->target_sql("SELECT create_hypertable('$_', 'at', chunk_time_interval => interval '1 day')")
    for qw(events orders timed keyed);
$db->resume([]);
$db->wait_state('failed');
my $status = $db->status_row;
is($status->{stage}, 'data', 'a key that cannot be is found before the copy');
is($db->target_sql('SELECT count(*) FROM events'), '0', '... nothing is copied yet');
is($status->{hint}, <<'SQL' =~ s/\n\z//r, '... with the fix, which keeps all that a key is');
ALTER TABLE "public"."events" ADD CONSTRAINT "events_pkey" PRIMARY KEY (id, "at");
CREATE UNIQUE INDEX "keyed_key" ON "public"."keyed" USING btree (a, "at");
ALTER TABLE "public"."orders" ADD CONSTRAINT "orders_Seat (no)_code_key" UNIQUE ("Seat (no)", "at") INCLUDE (code) DEFERRABLE INITIALLY DEFERRED;
CREATE UNIQUE INDEX "orders_code" ON "public"."orders" USING btree (code COLLATE "C" text_pattern_ops DESC, "at") INCLUDE (id) WHERE active;
CREATE UNIQUE INDEX "orders_expr" ON "public"."orders" USING btree (lower((code || ', ('::text)) DESC, (("Seat (no)" / 2)), "at") WHERE ((id % 2) > 0);
ALTER TABLE "public"."orders" ADD CONSTRAINT "orders_pkey" PRIMARY KEY (id, "at");
SELECT livemigrate.migration_resume('options');
SQL
$db->target_sql($status->{hint});
$db->wait_stage('streaming');
$db->source_sql(<<'SQL');
UPDATE events SET what = 'f' WHERE id % 10 = 0;
UPDATE events SET at = at + interval '200 days' WHERE id % 100 = 0;
DELETE FROM events WHERE id % 10 = 1;
UPDATE events SET id = id + 100000 WHERE id % 10 = 2;
DELETE FROM "Raw"."Log" WHERE host = 'h3';
UPDATE "Raw"."Log" SET host = 'h4' WHERE host = 'h5';

-- of the same time and code, seat or half of it: the keys' conditions allow it, or only their end
INSERT INTO orders SELECT 2000 + 2 * g, '2026-07-01', 'same', 4000 + g, false FROM generate_series(0, 3) g;
UPDATE orders SET "Seat (no)" = CASE "Seat (no)" WHEN 28 THEN 29 ELSE 28 END WHERE "Seat (no)" IN (28, 29);
UPDATE timed SET v = 'u' WHERE a < 5;
UPDATE timed SET at = at + interval '90 days' WHERE a = 6;
DELETE FROM timed WHERE a = 7;
UPDATE keyed SET v = 'u' WHERE a < 50;
UPDATE keyed SET at = at + interval '90 days' WHERE a BETWEEN 60 AND 70;
UPDATE keyed SET a = a + 1000 WHERE a BETWEEN 80 AND 90;
DELETE FROM keyed WHERE a BETWEEN 100 AND 120;
SQL
$db->set_endpos;
$db->wait_stage('done');
$db->assert_in_chunks('options', 'events', '"Raw"."Log"', qw(orders timed keyed));
is($db->target_sql("SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE i.indisreplident AND i.indisclustered AND i.indrelid IN ('timed'::regclass, 'keyed'::regclass) ORDER BY 1"),
    "keyed_key\ntimed_key", 'options: REPLICA IDENTITY USING INDEX and CLUSTER ON');
is($db->target_sql('SELECT count(*) FROM livemigrate.compare_data() WHERE NOT equal'),
    '0', 'options: compare_data finds no difference');
$db->assert_equal_tables('options: equal tables', relations => 0);
$db->cleanup;

# --- what else a hypertable cannot have
$db = $pair->database('limits');
$db->source_sql(<<'SQL');
CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TABLE ruled (at timestamptz PRIMARY KEY, a int);
CREATE RULE again AS ON UPDATE TO ruled DO ALSO SELECT 1;
CREATE TRIGGER "Off" AFTER INSERT ON ruled FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE ruled DISABLE TRIGGER "Off";
CREATE TRIGGER always AFTER INSERT ON ruled FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE ruled ENABLE ALWAYS TRIGGER always;
CREATE TRIGGER replica AFTER INSERT ON ruled FOR EACH ROW EXECUTE FUNCTION nothing(); ALTER TABLE ruled ENABLE REPLICA TRIGGER replica;
CREATE TRIGGER each_row AFTER UPDATE ON ruled REFERENCING OLD TABLE AS o FOR EACH ROW EXECUTE FUNCTION nothing();
CREATE TRIGGER statement AFTER UPDATE ON ruled REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION nothing();
CREATE TRIGGER plain BEFORE TRUNCATE ON ruled FOR EACH STATEMENT EXECUTE FUNCTION nothing();
CREATE TABLE referring (at timestamptz PRIMARY KEY REFERENCES ruled, other timestamptz CONSTRAINT itself REFERENCES referring);
CREATE TABLE outside (id int PRIMARY KEY, at timestamptz REFERENCES ruled);
CREATE TABLE checked (at timestamptz PRIMARY KEY, a int CONSTRAINT "Above 0" CHECK (a > 0) NO INHERIT);
ALTER TABLE checked ADD CONSTRAINT later CHECK (a < 100) NO INHERIT NOT VALID;
CREATE TABLE parent (at timestamptz PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (at)) INHERITS (parent);
CREATE UNLOGGED TABLE unlogged (at timestamptz PRIMARY KEY);
CREATE TABLE apart (at timestamptz PRIMARY KEY, during int4range,
    EXCLUDE USING gist (during WITH &&) WHERE (lower(during) > length(E'\nDROP TABLE apart;')));
INSERT INTO ruled VALUES ('2026-01-01', 1); INSERT INTO referring VALUES ('2026-01-01', '2026-01-01');
INSERT INTO outside VALUES (1, '2026-01-01'); INSERT INTO checked VALUES ('2026-01-01', 1);
SQL
my @limited = qw(ruled referring checked parent child unlogged);
my %options = (options => { hypertables => [ map { { table => $_, time_column => 'at' } } @limited, 'apart' ] });
my @found   = grep { $_->{check_id} eq 'hypertable_limits' } $db->check_rows(%options);
my $takes_unlogged = !exists $db->target_error("CREATE UNLOGGED TABLE tried (at timestamptz NOT NULL); SELECT create_hypertable('tried', 'at')")->{sqlstate};
$db->target_sql('DROP TABLE IF EXISTS tried');
my $expected = <<'SQL';
constraint "Above 0" of "public"."checked" cannot be on a hypertable: it is NO INHERIT|-- on the source:
ALTER TABLE public.checked DROP CONSTRAINT "Above 0", ADD CONSTRAINT "Above 0" CHECK ((a > 0)) NOT VALID; ALTER TABLE public.checked VALIDATE CONSTRAINT "Above 0";
constraint "later" of "public"."checked" cannot be on a hypertable: it is NO INHERIT|-- on the source:
ALTER TABLE public.checked DROP CONSTRAINT later, ADD CONSTRAINT later CHECK ((a < 100)) NOT VALID;
table "public"."child" cannot be a hypertable: it inherits or is inherited|-- leave it out of option "hypertables": it stays as it is
table "public"."parent" cannot be a hypertable: it inherits or is inherited|-- leave it out of option "hypertables": it stays as it is
foreign key "itself" of "public"."referring" cannot be on a hypertable: it leads to another|-- on the source:
ALTER TABLE public.referring DROP CONSTRAINT itself;
foreign key "referring_at_fkey" of "public"."referring" cannot be on a hypertable: it leads to another|-- on the source:
ALTER TABLE public.referring DROP CONSTRAINT referring_at_fkey;
rule "again" of "public"."ruled" cannot be on a hypertable|-- on the source:
DROP RULE again ON public.ruled;
trigger "Off" of "public"."ruled" cannot be on a hypertable: it is disabled|-- on the source:
DROP TRIGGER "Off" ON public.ruled;
trigger "always" of "public"."ruled" cannot be on a hypertable: it also fires in replica role|-- on the source:
ALTER TABLE public.ruled ENABLE TRIGGER always;
trigger "each_row" of "public"."ruled" cannot be on a hypertable: it has a transition table and is for each row|-- on the source:
DROP TRIGGER each_row ON public.ruled;
trigger "replica" of "public"."ruled" cannot be on a hypertable: it fires in replica role only|-- on the source:
DROP TRIGGER replica ON public.ruled;
table "public"."unlogged" cannot be a hypertable: it is unlogged|-- on the source:
ALTER TABLE public.unlogged SET LOGGED;
SQL
$expected =~ s/^table "public"\."unlogged".*//ms if $takes_unlogged;
is(join('', map {"$_->{message}|$_->{fix}\n"} @found), $expected, 'what TimescaleDB refuses is found beforehand');
my ($apart) = grep { $_->{check_id} eq 'hypertable_keys' } $db->check_rows(%options);
like($apart->{fix}, qr/ADD|create it on the target under its name, with "at" added: EXCLUDE/, 'an exclusion constraint is the user\'s to extend');
is_deeply([ grep { !/^--/ } split /\n/, $apart->{fix} ], [], '... its text stays in the comment');

# By hand after stage schema, where the tables are looked at when stage data begins.
$db->start(pause_after => ['schema']);
$db->wait_state('paused');
$db->target_sql("SELECT create_hypertable('$_', 'at')") for qw(ruled referring);
$db->resume([]);
$db->wait_state('failed');
$status = $db->status_row;
is("$status->{stage} $status->{message}", 'data a part of the schema of the source cannot be on the target\'s hypertable',
    'limits are found before the copy');
is($db->target_sql("SELECT last_error_detail FROM livemigrate.migrations"),
    join("\n", map {"$_->{message}."} grep { $_->{object} =~ /ruled|referring/ } @found), '... the same');
is(scalar(grep { !/^-- on the source, then start anew: |^SELECT livemigrate/ } split /\n/, $status->{hint}), 0, '... for the source');
$db->abort;
$db->cleanup;
$db->target_sql("DROP TABLE $_") for qw(ruled referring), 'outside, checked, parent, child, unlogged, apart';
$db->target_sql('DROP FUNCTION nothing');

# The fixes run as they are; nothing else stands against these tables then.
$db->source_sql($_) for grep { !/^-- leave/ } map { $_->{fix} } @found;
$options{options}{hypertables} = [ map { { table => $_, time_column => 'at' } } qw(ruled referring checked unlogged) ];
is_deeply([ map { $_->{message} } grep { "$_->{check_id} $_->{severity}" =~ /^hypertable.* error/ } $db->check_rows(%options) ],
    [], 'with the fixes nothing is found');
$db->start(%options);
$db->wait_stage('streaming');
$db->source_sql("INSERT INTO ruled VALUES ('2026-05-01', 2); INSERT INTO outside VALUES (2, '2026-05-01');
    INSERT INTO checked VALUES ('2026-05-01', 99); DELETE FROM referring");
$db->set_endpos;
$db->wait_stage('done');
is($db->target_sql("SELECT string_agg(tgname, ' ' ORDER BY 1) FROM pg_trigger WHERE tgrelid = 'ruled'::regclass
        AND tgname !~ '^(RI_|ts_)'"), 'always plain statement', 'the triggers that can be are there');
$db->assert_equal_tables('limits: equal tables', relations => 0);
$db->cleanup;

# --- SEC-12: code that comes with a hypertable runs as its owner
$db = $pair->database('owned');
$db->source_sql(<<'SQL');
CREATE ROLE tenant; GRANT CREATE ON DATABASE owned TO tenant; GRANT CREATE ON SCHEMA public TO tenant;
CREATE SCHEMA closed; GRANT CREATE, USAGE ON SCHEMA closed TO tenant;
SET ROLE tenant;
CREATE FUNCTION public.evil(v text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF current_setting('cluster_name') = 'target' THEN
        BEGIN EXECUTE 'ALTER ROLE tenant SUPERUSER'; EXCEPTION WHEN OTHERS THEN NULL; END;
        BEGIN EXECUTE 'SET ROLE NONE'; EXCEPTION WHEN OTHERS THEN NULL; END;
    END IF;
    RETURN v;
END $$;
CREATE TABLE public.trap (at timestamptz, id int, v text CHECK (public.evil(v) = v), PRIMARY KEY (at, id));
CREATE INDEX ON public.trap (public.evil(v));
CREATE TABLE closed.kept (at timestamptz, id int, v text, PRIMARY KEY (at, id));
INSERT INTO public.trap SELECT timestamptz '2026-01-01' + g * interval '1 h', g, g FROM generate_series(1, 500) g;
INSERT INTO closed.kept SELECT timestamptz '2026-01-01' + g * interval '1 h', g, g FROM generate_series(1, 500) g;
SQL
$db->start(owner => \'true', options => { hypertables => [
    map { { table => $_, time_column => 'at', chunk_interval => '1 day' } } 'public.trap', 'closed.kept' ] });
$db->wait_stage('streaming');
is($db->target_sql("SELECT severity || ' ' || object FROM livemigrate.checks WHERE check_id = 'table_writers'"),
    'warning "closed"."kept"', 'SEC-12 an owner who may not use the schema is told of');
$db->source_sql("INSERT INTO $_ SELECT timestamptz '2026-03-01' + g * interval '1 h', g, g FROM generate_series(1, 100) g;
    UPDATE $_ SET v = 'new' WHERE id % 3 = 0; DELETE FROM $_ WHERE id % 5 = 0; UPDATE $_ SET at = at + interval '90 days' WHERE id = 7")
  for qw(public.trap closed.kept);
$db->set_endpos;
$db->wait_stage('done');
$db->assert_in_chunks('SEC-12', 'public.trap', 'closed.kept');
is($db->target_sql('SELECT rolsuper FROM pg_roles WHERE rolname = $$tenant$$'), 'f', 'SEC-12 the tenant has not become superuser');
is($db->target_sql("SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class c JOIN pg_inherits i ON i.inhrelid = c.oid"),
    'tenant', 'SEC-12 chunks are the tenant\'s');
$db->assert_equal_tables('SEC-12 equal tables', relations => 0);
$db->cleanup;

# --- jobs of another owner, which a role that is no superuser cannot pause: they are told of
$db = $pair->database('jobs');
my $target = $db->target;
$db->source_sql("CREATE TABLE m (at timestamptz PRIMARY KEY); INSERT INTO m VALUES ('2026-01-01')");
$db->target_sql(<<'SQL');
ALTER SYSTEM SET livemigrate.source_password_required = off; SELECT pg_reload_conf();
CREATE ROLE operator LOGIN; CREATE ROLE "Jobs' owner";
GRANT CREATE ON DATABASE jobs TO operator; GRANT CREATE ON SCHEMA public TO operator;
GRANT SET ON PARAMETER session_replication_role TO operator; GRANT USAGE ON SCHEMA livemigrate TO operator;
GRANT EXECUTE ON ALL ROUTINES IN SCHEMA livemigrate TO operator;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA livemigrate TO operator;
SELECT _timescaledb_functions.stop_background_workers();
-- as add_job() makes them, which the Apache edition has not
INSERT INTO _timescaledb_config.bgw_job (application_name, schedule_interval, max_runtime, max_retries, retry_period,
    proc_schema, proc_name, owner, scheduled) VALUES
    ('Nightly', '1 day', '0', -1, '1 h', 'public', 'nightly', '"Jobs'' owner"', true);
SQL
my $job = $db->target_sql('SELECT max(job_id) FROM timescaledb_information.jobs');
my ($rc, $out, $err) = $target->psql($db->dbname, $db->start_sql(roles => \'false',
    options => { hypertables => [ { table => 'm', time_column => 'at' } ] }), extra_params => [ '-U', 'operator' ]);
is($rc, 0, 'a role that is no superuser migrates') or diag $err;
$db->wait_stage('streaming');
is($db->target_sql("SELECT count(*) || message || '|' || detail FROM livemigrate.events WHERE message ~ 'TimescaleDB' GROUP BY message, detail"),
    qq{1job $job of TimescaleDB is not paused: it belongs to role "Jobs' owner"|}
      . qq{As its owner or a superuser, run: SELECT FROM "public".alter_job($job, scheduled => false);}, '... and is told of a job, once');
$db->finish('jobs', relations => 0);

# --- a source with TimescaleDB is refused, and told where to read on
$db = $pair->database('refused');
$db->target_sql("CREATE TABLE m (at timestamptz NOT NULL); SELECT create_hypertable('m', 'at'); INSERT INTO m VALUES (now())");
my $itself = LiveMigrate::Test::quote_literal($db->conninfo(host => $target->host, port => $target->port));
like($db->target_sql("SELECT severity || ' ' || object || ' ' || fix FROM livemigrate.migration_check($itself)
        WHERE check_id = 'table_extensions'"),
    qr/^error "timescaledb" .*A source with TimescaleDB.* in doc\/hypertables\.md/, 'TimescaleDB as a source is refused');
my $refused = $db->target_error($db->start_sql(source => $db->conninfo(host => $target->host, port => $target->port)));
like("$refused->{message} $refused->{detail}", qr/the source database uses timescaledb/, '... and not started');
is($db->target_sql('SELECT count(*) FROM livemigrate.migrations'), '0', '... nothing is');

done_testing();
