# C17: large objects arrive bit for bit under their OIDs, from the snapshot.  With
# PG_TEST_EXTRA=large_objects one of 2.5 GB as well.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
my $huge = ($ENV{PG_TEST_EXTRA} // '') =~ /\blarge_objects\b/;

# The first bytes come in one piece of 64 kB, the rest in pieces of 1 MB: sizes around both.
$pair->source_sql(<<'SQL');
CREATE TABLE t (id int PRIMARY KEY, object oid);
SELECT lo_create(5), lo_from_bytea(6, '\x00'), lo_from_bytea(4294967295, 'last'),
    lo_from_bytea(7, decode(repeat('00ff5c27', 100), 'hex'));
SELECT lo_from_bytea((100 + n)::oid, decode(repeat('ab', 65535 + n), 'hex'))
    FROM generate_series(0, 2) n;
SELECT lo_from_bytea((110 + n)::oid, decode(repeat('cd', 65536 + 1024 * 1024 - 1 + n), 'hex'))
    FROM generate_series(0, 2) n;
-- Sparse ones: a hole in the middle, zeros at the end on and off a piece's end.
SELECT lo_create(120), lo_create(121), lo_create(122);
SELECT lo_put(120, n * 3000000::bigint, decode(repeat(md5(n::text), 1000), 'hex'))
    FROM generate_series(0, 5) n;
SELECT lo_put(121, 65536 + 1024 * 1024 - 1, '\x00'), lo_put(122, 65536 + 1024 * 1024, '\x00'),
    lo_put(122, 70000, '\x01');
-- Many small ones: several ranges.
SELECT count(lo_from_bytea((10000 + n)::oid, decode(repeat(md5(n::text), n % 20), 'hex')))
    FROM generate_series(1, 2500) n;
COMMENT ON LARGE OBJECT 5 IS 'it''s "empty" \';
INSERT INTO t SELECT row_number() OVER (), oid FROM pg_largeobject_metadata;
SQL
$pair->source_sql("SELECT lo_put(lo_create(200), 2500::bigint * 1024 * 1024, 'behind 2 GB')") if $huge;

my %query = (
    contents =>
        'SELECT oid, md5(lo_get(oid)), length(lo_get(oid)) FROM pg_largeobject_metadata
         WHERE oid <> 200 AND oid < 20000 OR oid > 4000000000 ORDER BY oid',
    comments =>
        "SELECT objoid, description FROM pg_description
         WHERE classoid = 'pg_largeobject'::regclass ORDER BY 1",
    'what is behind 2 GB' =>
        'SELECT lo_get(oid, 2500::bigint * 1024 * 1024 - 5, 100) FROM pg_largeobject_metadata
         WHERE oid = 200');
my %want = map { $_ => $pair->source_sql($query{$_}) } keys %query;
$pair->start(plugin => 'pgoutput', pause_after => ['data']);
$pair->wait_stage('slot');

# Behind the snapshot: not in the change stream, and not in what is copied.
$pair->source_sql("SELECT lo_from_bytea(20001, 'too late'), lo_unlink(10001), lo_put(7, 0, 'changed')");
$pair->wait_stage('data', $huge ? 600 : undef);
for my $what (sort keys %query) {
    is($pair->target_sql($query{$what}), $want{$what}, "C17 $what as in the snapshot");
}
is($pair->target_sql('SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 20001'),
    '0', 'C17 one made after the snapshot is not there');
cmp_ok(
    $pair->target_sql('SELECT sum(rows_done) FROM livemigrate.copy_part WHERE table_id IS NULL'),
    '>=', 2513, 'objects are counted');
$pair->wait_state('paused');
$pair->resume;
$pair->wait_stage('streaming');
$pair->set_endpos;
$pair->wait_stage('done');
$pair->cleanup;

# A target that has large objects is refused with a way out.
my $taken = $pair->database('taken');
$taken->source_sql('CREATE TABLE t (id int PRIMARY KEY); SELECT lo_create(77)');
$taken->target_sql('SELECT lo_create(77)');
my $error = $taken->assert_error($taken->start_sql(plugin => 'pgoutput'),
    'C17 a large object is there already');
like($error->{all}, qr/lo_unlink/, 'the hint says how to remove it');
is($taken->target_sql('SELECT count(*) FROM pg_largeobject_metadata'), '1', 'nothing was touched');
done_testing();
