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

# --- C13: rows that somebody writes before the first one is copied: once the migration has made the
# tables, in one part, in several and in other partitions than the source's; or has seen them empty
sub clear_strangers {
    my ($one, $tables, %opt) = @_;
    $one->wait_state('failed');
    my $status = $one->status_row;
    like($status->{last_error}, qr/have rows before any is copied: \Q$tables\E$/, "C13 refused: $tables");
    is($one->target_sql("SELECT count(*) FROM livemigrate.copy_part"), '0', 'C13 and nothing is copied');
    $one->target_sql($status->{hint});
    $one->wait_stage('streaming');
    $one->set_endpos;
    $one->wait_stage('done');
    is($one->$_('SELECT count(*), min(id) FROM root'), '2000|1', "C13 $_: rows in other partitions") for $opt{by_root} ? qw(source_sql target_sql) : ();
    $one->finish("C13 without them: $tables", relations => 0, endpos => 0, %opt);
}

my $made = $pair->database('made');
$made->source_sql(<<'SQL');
CREATE TABLE empty (id int PRIMARY KEY);
CREATE TABLE root (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
CREATE TABLE root_1 PARTITION OF root FOR VALUES FROM (0) TO (10000);
CREATE TABLE split (id int PRIMARY KEY, v text); CREATE TABLE whole (id int PRIMARY KEY, v text);
INSERT INTO split SELECT g, repeat('x', 500) FROM generate_series(1, 2000) g;
INSERT INTO whole TABLE split; INSERT INTO root TABLE split;
CREATE EXTENSION tcn; CREATE TABLE settings (name text PRIMARY KEY);
ALTER EXTENSION tcn ADD TABLE settings; UPDATE pg_extension SET extconfig = ARRAY['settings'::regclass::oid],
    extcondition = ARRAY[''] WHERE extname = 'tcn';
INSERT INTO settings VALUES ('of the user');
SQL
$made->target_sql('CREATE EXTENSION tcn; CREATE TABLE settings (name text PRIMARY KEY); ALTER EXTENSION tcn ADD TABLE settings');
$made->start(pause_after => ['schema'], split_tables_larger_than => '64 kB');
$made->wait_stage('schema');
$made->wait_state('paused');
$made->target_sql("DROP TABLE root_1; CREATE TABLE root_any PARTITION OF root DEFAULT;
    INSERT INTO root VALUES (-1); INSERT INTO split VALUES (-1); INSERT INTO whole VALUES (-1);
    INSERT INTO settings VALUES ('of the extension''s making'); INSERT INTO empty VALUES (1); DELETE FROM empty");
$made->resume([]);
clear_strangers($made, '"public"."root", "public"."split", "public"."whole"', skip => qr/settings|root_1/, by_root => 1);

my $seen = $pair->database('seen');
for my $sql (qw(source_sql target_sql)) {
    $seen->$sql('CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY REFERENCES parent);
        CREATE TABLE lonely (id int PRIMARY KEY)');
}
$seen->source_sql('INSERT INTO parent VALUES (1); INSERT INTO lonely VALUES (1); INSERT INTO child VALUES (1)');
$seen->start(on_existing => 'skip_schema', pause_after => ['slot']);
$seen->wait_stage('slot');
$seen->wait_state('paused');
$seen->target_sql('INSERT INTO parent VALUES (2); INSERT INTO lonely VALUES (2)');
$seen->resume([]);
clear_strangers($seen, '"public"."lonely", "public"."parent"');

# One that somebody has locked is named, and who it is; and of many tables the first.
my $many   = $pair->database('many');
my @tables = map { sprintf 't_%02d', $_ } 1 .. 21;
for my $sql (qw(source_sql target_sql)) {
    $many->$sql(join ' ', map {"CREATE TABLE $_ (id int PRIMARY KEY);"} @tables);
}
$many->start(on_existing => 'skip_schema', pause_after => ['slot']);
$many->wait_stage('slot');
$many->wait_state('paused');
$many->target_sql(join ' ', map {"INSERT INTO $_ VALUES (1);"} @tables);
my $lock = $many->lock_table($target, 't_05');
my $pid  = $lock->query('SELECT pg_backend_pid()');
$many->resume([]);
ok($many->poll(sub { ($many->status_row->{last_error} // '') =~ /table "public"\."t_05" of the target is locked/ }),
    'a table that is locked is named')
  or $many->diagnose('many');
like($many->target_sql('SELECT last_error_detail FROM livemigrate.migrations'), qr/^Process $pid \(\w+, since [\d:]+\) has locked it\./,
    '... and by whom');
my ($end) = $many->status_row->{hint} =~ /(SELECT pg_terminate_backend\($pid\);)/;
$many->target_sql($end);
$many->end_session($lock);
for my $listed ($tables[19] . '" and others', $tables[20] . '"') {
    $many->wait_state('failed');
    my $status = $many->status_row;
    like($status->{last_error}, qr/have rows before any is copied: .*$listed$/, "refused: $listed");
    $many->target_sql($status->{hint});
}
$many->wait_stage('streaming');
$many->finish('many tables that had rows');

done_testing();
