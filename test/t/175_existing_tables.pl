# Tables that are on the target beforehand (on_existing): text of the source's that must not run
# there, foreign keys of partitioned tables, triggers, and an extension's own rows.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my ($source, $target) = ($pair->source, $pair->target);

# --- an extension says which of its rows are the user's, by SQL: that of the source is not the
# target's
my %attack = (
    skip_schema => 'WHERE false); CREATE ROLE intruder SUPERUSER; SELECT (SELECT false',
    truncate    => 'WHERE false; CREATE ROLE intruder SUPERUSER');
for my $mode (sort keys %attack) {
    my $evil = $pair->database("evil_$mode");
    for my $sql (qw(source_sql target_sql)) {
        $evil->$sql("CREATE EXTENSION tcn; CREATE TABLE settings (name text PRIMARY KEY, ours boolean DEFAULT true);
            ALTER EXTENSION tcn ADD TABLE settings; INSERT INTO settings VALUES ('of the extension', true);
            UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid],
                extcondition = ARRAY['WHERE NOT ours'] WHERE extname = 'tcn';
            CREATE TABLE chosen (name text PRIMARY KEY REFERENCES settings)");
    }
    $evil->source_sql('UPDATE pg_extension SET extcondition = ARRAY['
          . LiveMigrate::Test::quote_literal($attack{$mode}) . "] WHERE extname = 'tcn'");
    $evil->target_sql("INSERT INTO settings VALUES ('before', false); INSERT INTO chosen VALUES ('before')")
      if $mode eq 'truncate';
    eval { $evil->start(on_existing => $mode); $evil->wait_state('failed') };
    is($evil->target_sql("SELECT count(*) FROM pg_roles WHERE rolname = 'intruder'"), '0',
        "$mode: the source's condition is not run on the target");
    is($evil->target_sql("SELECT string_agg(name, ',') FROM settings"), 'of the extension',
        "$mode: the target's says which rows are the user's")
      or $evil->diagnose($mode);
    like($evil->target_sql("SELECT string_agg(message, E'\n') FROM livemigrate.events WHERE severity = 'warning'"),
        qr/user's rows of "public"."settings" are told apart otherwise on the target/, "$mode: that they differ is told");
    eval { $evil->abort; $evil->cleanup };
}

# --- on_existing => 'truncate': a foreign key is also the partitioned table's; triggers fire as
# while changes are applied: not the ordinary ones, others as the owner
my $filled = $pair->database('filled');
$filled->target_sql('CREATE ROLE keeper; CREATE SCHEMA AUTHORIZATION keeper');
for my $sql (qw(source_sql target_sql)) {
    $filled->$sql(<<'SQL');
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent) PARTITION BY RANGE (id);
CREATE TABLE child_1 PARTITION OF child FOR VALUES FROM (0) TO (100);
CREATE TABLE child_2 PARTITION OF child DEFAULT;
CREATE TABLE audit (id int PRIMARY KEY, who text);
CREATE TABLE watched (id int PRIMARY KEY);
CREATE TABLE kept (id int PRIMARY KEY);
CREATE EXTENSION tcn; CREATE TABLE settings (name text PRIMARY KEY, ours boolean DEFAULT true);
ALTER EXTENSION tcn ADD TABLE settings; INSERT INTO settings VALUES ('of the extension', true);
UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid], extcondition = ARRAY['WHERE NOT ours']
    WHERE extname = 'tcn';
CREATE TABLE chosen (name text PRIMARY KEY REFERENCES settings);
INSERT INTO parent VALUES (1), (2); INSERT INTO child VALUES (1, 1), (200, 2);
INSERT INTO audit VALUES (1, 'x'); INSERT INTO watched VALUES (1); INSERT INTO kept VALUES (1);
INSERT INTO settings VALUES ('of the user', false); INSERT INTO chosen VALUES ('of the user');
SQL
}
$filled->target_sql(<<'SQL');
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO public.audit VALUES (99, 'a trigger'); RETURN NULL; END$$;
CREATE TRIGGER note AFTER TRUNCATE ON watched EXECUTE FUNCTION note();
CREATE TRIGGER note AFTER DELETE ON settings EXECUTE FUNCTION note();
ALTER TABLE kept OWNER TO keeper;
CREATE TABLE keeper.seen (who name); ALTER TABLE keeper.seen OWNER TO keeper;
CREATE FUNCTION keeper.look() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO keeper.seen VALUES (current_user); RETURN NULL; END$$;
CREATE TRIGGER look AFTER TRUNCATE ON kept EXECUTE FUNCTION keeper.look();
ALTER TABLE kept ENABLE ALWAYS TRIGGER look;
SQL
$filled->start(on_existing => 'truncate', exclude_tables => ['keeper.*']);
$filled->wait_state('failed');
like($filled->status_row->{last_error}, qr/several owners at once: a trigger of theirs fires/,
    'no trigger of one owner runs when the tables have several')
  or $filled->diagnose('filled');
is($filled->target_sql('SELECT count(*) FROM keeper.seen'), '0', 'it has not run');
$filled->target_sql('ALTER TABLE kept DISABLE TRIGGER look');
$filled->resume;
$filled->wait_stage('streaming');
is($filled->target_sql('SELECT count(*), max(id) FROM audit'), '1|1', 'ordinary triggers do not fire');
is($filled->target_sql("SELECT string_agg(name, ', ' ORDER BY name) FROM settings"),
    'of the extension, of the user', "an extension's rows stay");
$filled->finish('tables that were filled', skip => qr/settings/, relations => 0);

done_testing();
