# I01: changes to tables that were accepted without a replica identity cannot be replicated.  Each
# such table is a row of its own in livemigrate.conflicts, and cutover fails once to say so.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

my $pair = LiveMigrate::Test->new;
$pair->source_sql(<<'SQL');
CREATE SCHEMA "My Schema";
CREATE TABLE public.log (v int);
CREATE TABLE "My Schema"."Log, too" (v int);
CREATE TABLE public.untouched (v int);
INSERT INTO public.log SELECT generate_series(1, 10);
INSERT INTO "My Schema"."Log, too" SELECT generate_series(1, 10);
INSERT INTO public.untouched SELECT generate_series(1, 10);
SQL
$pair->start(
    options => { insert_only_tables => [ 'public.log', '"My Schema"."Log, too"', 'public.un*' ] });
$pair->wait_stage('streaming');
$pair->source_sql(<<'SQL');
UPDATE public.log SET v = -v WHERE v <= 3;
DELETE FROM "My Schema"."Log, too" WHERE v = 7;
INSERT INTO public.untouched VALUES (11);
SQL

# The source's statistics come a moment later.
$pair->source->poll_query_until('app',
    "SELECT sum(n_tup_upd + n_tup_del) = 4 FROM pg_stat_user_tables") or
  die 'no statistics';
$pair->set_endpos;
$pair->wait_state('failed');
is( $pair->target_sql(
        'SELECT kind, schema_name, table_name, message FROM livemigrate.conflicts ORDER BY 2, 3'),
    join("\n",
        'insert_only|My Schema|Log, too|1 rows were updated or deleted on the source',
        'insert_only|public|log|3 rows were updated or deleted on the source'),
    'I01 a row for each table');
my $status = $pair->status_row;
like($status->{message}, qr/without replica identity/, 'I01 the message says why');
like($pair->target_sql('SELECT last_error_detail FROM livemigrate.migrations'),
    qr/"My Schema"\."Log, too".*"public"\."log"|"public"\."log".*"My Schema"\."Log, too"/,
    'I01 the detail names both');

# The person has brought the target in line.
$pair->target_sql('UPDATE public.log SET v = -v WHERE v <= 3;
    DELETE FROM "My Schema"."Log, too" WHERE v = 7');
$pair->resume;
$pair->wait_stage('done');
is($pair->target_sql('SELECT count(*) FROM livemigrate.conflicts'), '2', 'I01 told once');
$pair->assert_equal_tables('I01 equal tables');

done_testing();
