# pause_after every stage: what must be there, and what must not yet, at each point; and the source
# is written to at each point, so every change has to find its way through copy or stream.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use Test::More;

# Catchup ends when all that was received is applied, and not a little before.
my $pair = LiveMigrate::Test->new(target_conf => "livemigrate.caught_up_lag = 10ms\n");
$pair->create_ledger;
$pair->source_sql(<<'SQL');
CREATE ROLE paused_app;
CREATE TABLE public.visit (stage text PRIMARY KEY, n serial);
CREATE TABLE public.child (id int PRIMARY KEY, stage text REFERENCES public.visit);
CREATE VIEW public.visits AS SELECT count(*) FROM public.visit;
CREATE MATERIALIZED VIEW public.seen AS SELECT stage FROM public.visit;
INSERT INTO public.visit VALUES ('before');
SQL

my @stages = qw(preflight slot roles schema data indexes catchup streaming cutover);

# Facts as queries on one side that must give true, checked when the migration is paused.
my $slot_exists
    = "SELECT count(*) = 1 FROM pg_replication_slots WHERE slot_name = 'livemigrate_main'";
my $no_tables = "SELECT count(*) = 0 FROM pg_tables WHERE schemaname IN ('public', 'ledger')";
my %facts     = (
    preflight => {
        'no slot yet'  => [ source => 'SELECT count(*) = 0 FROM pg_replication_slots' ],
        'no table yet' => [ target => $no_tables ], },
    slot => {
        'the slot is there'                 => [ source => $slot_exists ],
        'changes are received while paused' => [
            source =>
                "SELECT count(*) = 1 FROM pg_stat_replication
                    WHERE application_name = 'livemigrate'"
        ],
        'no table yet' => [ target => $no_tables ], },
    roles => {
        'the role is there' =>
            [ target => "SELECT count(*) = 1 FROM pg_roles WHERE rolname = 'paused_app'" ],
        'no table yet' => [ target => $no_tables ], },
    schema => {
        'tables are there' => [
            target => "SELECT count(*) = 7 FROM pg_tables WHERE schemaname IN ('public', 'ledger')"
        ],
        'no data yet'  => [ target => 'SELECT count(*) = 0 FROM ledger.account' ],
        'no index yet' => [
            target =>
                "SELECT count(*) = 0 FROM pg_indexes WHERE schemaname IN ('public', 'ledger')" ], },
    data => {
        'the snapshot is copied'     => [ target => 'SELECT count(*) = 50000 FROM ledger.bulk' ],
        'only what the snapshot saw' => [
            target =>
                "SELECT string_agg(stage, ',' ORDER BY n) = 'before,preflight' FROM public.visit" ],
    },
    indexes => {
        'primary keys are there' => [
            target =>
                "SELECT count(*) = 7 FROM pg_constraint WHERE contype = 'p'
                    AND connamespace::regnamespace::text"
                . " IN ('public', 'ledger')" ],
        'tables are analyzed' =>
            [ target => "SELECT reltuples > 0 FROM pg_class WHERE relname = 'bulk'" ],
        'nothing is applied yet' => [
            target =>
                "SELECT string_agg(stage, ',' ORDER BY n) = 'before,preflight' FROM public.visit" ],
    },
    catchup => {
        'buffered changes are applied' =>
            [ target => "SELECT count(*) = 1 FROM public.visit WHERE stage = 'indexes'" ], },
    streaming => {
        'the last change is applied' =>
            [ target => "SELECT count(*) = 1 FROM public.visit WHERE stage = 'catchup'" ],
        'a change after endpos is not' =>
            [ target => "SELECT count(*) = 0 FROM public.visit WHERE stage = 'after endpos'" ],
        'foreign keys are there' =>
            [ target => "SELECT count(*) = 2 FROM pg_constraint WHERE contype = 'f'
            AND connamespace <> 'livemigrate'::regnamespace" ], },
    cutover => {
        'sequences are set' => [ target => "SELECT last_value >= 9 FROM public.visit_n_seq" ],
        'materialized views are refreshed' =>
            [ target => "SELECT count(*) = 1 FROM public.seen WHERE stage = 'catchup'" ], });

$pair->start(pause_after => \@stages);
for my $stage (@stages) {
    $pair->wait_stage($stage);
    $pair->wait_state('paused');
    my $status = $pair->status_row;
    ok($status->{message} && $status->{hint}, "$stage: paused, with a message and a hint");
    for my $fact (sort keys %{ $facts{$stage} }) {
        my ($side, $sql) = @{ $facts{$stage}{$fact} };
        ok($pair->poll(sub { $pair->$side->safe_psql('app', $sql) eq 't' }), "$stage: $fact");
    }
    # After preflight nothing is fixed yet, so this row comes with the snapshot; later ones stream.
    # What is written after endpos stays on the source.
    if ($stage ne 'streaming' && $stage ne 'cutover') {
        $pair->source_sql("INSERT INTO public.visit VALUES ('$stage'); SELECT ledger.work()");
    }
    if ($stage eq 'indexes') {
        my $written = $pair->source_sql('SELECT pg_current_wal_lsn()');
        ok($pair->poll(sub { $pair->target_sql("SELECT received_lsn >= '$written'
                FROM livemigrate.migration_status()") eq 't' }), "$stage: received while paused");
    }
    if ($stage eq 'catchup') {
        $pair->set_endpos;
        $pair->source_sql("INSERT INTO public.visit VALUES ('after endpos')");
    }
    if ($stage eq 'streaming') {
        $pair->source_sql("DELETE FROM public.visit WHERE stage = 'after endpos';
            REFRESH MATERIALIZED VIEW public.seen");
    }
    $pair->resume;
}
$pair->wait_stage('done');
is($pair->status_row->{state}, 'done', 'done after the last pause');
$pair->assert_equal_tables('equal tables after pausing at every stage');
$pair->assert_ledger('target', 'the ledger holds');
is($pair->status_row->{plugin}, 'pgoutput', 'auto took pgoutput, since the role may publish');
ok( $pair->target_sql(
        "SELECT count(*) FROM livemigrate.events WHERE message || coalesce(detail, '') ~ 'pgoutput'"
    ),
    'the events say which plugin was taken');
$pair->cleanup;
$pair->assert_nothing_left('nothing left');

# resume takes a new list of pauses.
my $again = $pair->database('again');
$again->source_sql(
    'CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 10) g;
        ALTER TABLE t ADD PRIMARY KEY (id)'
);
$again->start(pause_after => ['slot']);
$again->wait_stage('slot');
$again->wait_state('paused');
$again->resume(['data']);
$again->wait_stage('data');
$again->wait_state('paused');
is($again->target_sql('SELECT count(*) FROM t'), '10',
    'resume with pause_after: paused after data');
$again->resume;
$again->wait_stage('streaming');
$again->finish('resume with pause_after');

done_testing();
