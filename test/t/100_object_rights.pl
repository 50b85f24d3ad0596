# C17, N06: owners, privileges and comments of large objects, and security labels.
use strict;
use warnings;

use File::Spec ();
use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;

# PostgreSQL's own label provider for tests, dummy_seclabel, comes with its source only.  This one
# takes every label; it must be loaded wherever labels are set.
my $provider = <<'C';
#include "postgres.h"
#include "commands/seclabel.h"
#include "fmgr.h"
PG_MODULE_MAGIC;
void _PG_init(void);
static void relabel(const ObjectAddress *object, const char *label) {}
void _PG_init(void) { register_label_provider("dummy", relabel); }
C

# The name to preload, or undef with the reason.
sub build_provider {
    my $directory = $pair->source->basedir;
    my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
    chomp(my $include = `$pg_config --includedir-server`);
    chomp(my $flags   = `$pg_config --cppflags`);
    open my $file, '>', "$directory/provider.c" or die "provider.c: $!\n";
    print $file $provider;
    close $file or die "provider.c: $!\n";
    my $library = "$directory/provider.so";
    my $log     = `cc $flags -I$include -fPIC -shared -o $library $directory/provider.c 2>&1`;
    return $? == 0 ? $library : (undef, $log);
}

# --- large objects
$pair->source_sql(<<'SQL');
CREATE ROLE keeper; CREATE ROLE reader; CREATE ROLE "odd ""role"; CREATE ROLE handed;
CREATE TABLE t (id int PRIMARY KEY);
SELECT lo_create(1), lo_create(2), lo_create(3), lo_create(4), lo_create(5);
SELECT count(lo_from_bytea((1000 + n)::oid, decode(md5(n::text), 'hex'))) FROM generate_series(1, 2100) n;
ALTER LARGE OBJECT 2 OWNER TO keeper;
ALTER LARGE OBJECT 1500 OWNER TO "odd ""role";
GRANT SELECT ON LARGE OBJECT 2 TO reader WITH GRANT OPTION;
GRANT UPDATE ON LARGE OBJECT 2 TO PUBLIC;
SET ROLE reader; GRANT SELECT ON LARGE OBJECT 2 TO handed; RESET ROLE;
GRANT ALL ON LARGE OBJECT 3 TO "odd ""role";
REVOKE ALL ON LARGE OBJECT 4 FROM CURRENT_USER;
COMMENT ON LARGE OBJECT 4 IS 'nobody''s';
COMMENT ON LARGE OBJECT 3000 IS 'far behind';
SQL

# The items of an access control list have no order.
my $rights = q{SELECT m.oid, m.lomowner::regrole, (SELECT string_agg(i::text, ' ' ORDER BY i::text)
    FROM unnest(m.lomacl) i), d.description, md5(lo_get(m.oid))
    FROM pg_largeobject_metadata m LEFT JOIN pg_description d
    ON d.objoid = m.oid AND d.classoid = 'pg_largeobject'::regclass ORDER BY 1};
my $want = $pair->source_sql($rights);
$pair->start(owner => 1, privileges => 1, table_jobs => 3, pause_after => ['data']);
$pair->wait_stage('data');
$pair->wait_state('paused');
is($pair->target_sql($rights), $want, 'C17 owners, privileges and comments of large objects');
cmp_ok(
    $pair->target_sql('SELECT count(*) FROM livemigrate.copy_part WHERE table_id IS NULL'),
    '>', 2, 'they are copied in parts');
$pair->resume([]);
$pair->wait_stage('streaming');

# One that changed after the snapshot, with its rights.
$pair->source_sql(q{SELECT lo_put(2, 0, 'changed'), lo_create(6);
    ALTER LARGE OBJECT 6 OWNER TO keeper; GRANT UPDATE ON LARGE OBJECT 6 TO reader});
$pair->target_sql('SELECT livemigrate.copy_large_objects()');
is($pair->target_sql($rights), $pair->source_sql($rights), 'and when they are copied again');
$pair->finish('C17');

# --- without the options they belong to whoever migrates, as with pg_restore --no-owner --no-acl
my $plain = $pair->database('plain');
$plain->source_sql(q{SELECT lo_from_bytea(2, 'two'); ALTER LARGE OBJECT 2 OWNER TO keeper;
    GRANT SELECT ON LARGE OBJECT 2 TO reader; CREATE TABLE t (id int PRIMARY KEY)});
$plain->start(pause_after => ['data']);
$plain->wait_stage('data');
is( $plain->target_sql(q{SELECT lomowner::regrole = current_user::regrole, lomacl IS NULL
        FROM pg_largeobject_metadata}),
    't|t', 'C17 no owner and no privileges unless asked for');
$plain->abort;
$plain->cleanup;

# --- N06: security labels
my ($library, $reason) = build_provider();
SKIP: {
    skip "no label provider can be built: $reason", 2 unless $library;
    my $labelled = $pair->database('labelled');
    $pair->source->append_conf('postgresql.conf', "shared_preload_libraries = '$library'\n");
    $pair->source->restart;
    $labelled->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t VALUES (1, 'one');
SELECT lo_create(9);
SECURITY LABEL FOR dummy ON TABLE t IS 'it''s secret';
SECURITY LABEL FOR dummy ON COLUMN t.v IS 'classified';
SECURITY LABEL FOR dummy ON LARGE OBJECT 9 IS 'unclassified';
SQL
    my $labels = q{SELECT classoid::regclass, CASE WHEN classoid = 'pg_class'::regclass
            THEN objoid::regclass::text ELSE objoid::text END, objsubid, provider, label
        FROM pg_seclabel ORDER BY 1, 2, 3};

    # The provider is not loaded on the target: said so, and after a restart it goes on.
    $labelled->start;
    $labelled->wait_state('failed');
    like($labelled->status_row->{last_error}, qr/provider "dummy" is not loaded/,
        'N06 a label provider that the target lacks is named');
    $pair->target->append_conf('postgresql.conf',
        "shared_preload_libraries = 'livemigrate,$library'\n");
    $pair->target->restart;
    $labelled->resume;
    $labelled->wait_stage('streaming');
    is($labelled->target_sql($labels), $labelled->source_sql($labels), 'N06 security labels');
    $labelled->finish('N06');
}
done_testing();
