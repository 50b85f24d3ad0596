# A write load with an oracle.
#
# Each transaction of the load moves money between accounts and writes one audit row for each
# movement; every audit row carries the number of rows its transaction wrote.  So any state of any
# copy can be judged by itself: a transaction that is there partly, twice or out of order breaks a
# sum or a count.
package LiveMigrate::Ledger;

use strict;
use warnings;

use PostgreSQL::Test::Utils;
use Test::More;

our $schema = <<'SQL';
CREATE SCHEMA ledger;
CREATE TABLE ledger.account (
    id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0, version bigint NOT NULL DEFAULT 0);
CREATE TABLE ledger.audit (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tx bigint NOT NULL, rows_in_tx int NOT NULL,
    seq int NOT NULL, account int NOT NULL REFERENCES ledger.account, delta bigint NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ON ledger.audit (tx);
CREATE TABLE ledger.document (
    id int PRIMARY KEY, revision int NOT NULL DEFAULT 0, body jsonb, payload text);
CREATE TABLE ledger.inbox (id bigserial PRIMARY KEY, body text NOT NULL);
CREATE TABLE ledger.bulk (id int PRIMARY KEY, filler text NOT NULL);

INSERT INTO ledger.account SELECT g FROM generate_series(1, 100) g;
INSERT INTO ledger.document
    SELECT g, 0, jsonb_build_object('n', g), string_agg(md5(g::text || h::text), '')
    FROM generate_series(1, 200) g, generate_series(1, 100) h GROUP BY g;
INSERT INTO ledger.inbox (body) SELECT 'before ' || g FROM generate_series(1, 500) g;
INSERT INTO ledger.bulk SELECT g, repeat(md5(g::text), 2) FROM generate_series(1, 50000) g;

-- Accounts are locked in the order of their numbers, so that transactions do not deadlock.
CREATE FUNCTION ledger.work() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    n int := 2 + floor(random() * 4);
    chosen int[];
    delta bigint;
    total bigint := 0;
    chosen_document int := 1 + floor(random() * 200);
BEGIN
    chosen := ARRAY(SELECT id FROM ledger.account ORDER BY random() LIMIT n);
    PERFORM FROM ledger.account WHERE id = ANY (chosen) ORDER BY id FOR UPDATE;
    FOR i IN 1..n LOOP
        delta := CASE WHEN i = n THEN -total ELSE floor(random() * 1000)::bigint END;
        total := total + delta;
        UPDATE ledger.account SET balance = balance + delta, version = version + 1
            WHERE id = chosen[i];
        INSERT INTO ledger.audit (tx, rows_in_tx, seq, account, delta)
            VALUES (txid_current(), n, i, chosen[i], delta);
    END LOOP;
    INSERT INTO ledger.inbox (body) VALUES ('item of ' || txid_current());
    DELETE FROM ledger.inbox WHERE id = (
        SELECT id FROM ledger.inbox ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
    UPDATE ledger.document SET revision = revision + 1, body = body || jsonb_build_object('r', n),
            payload = CASE WHEN n = 2 THEN reverse(payload) ELSE payload END
        WHERE id = (SELECT id FROM ledger.document WHERE id = chosen_document FOR UPDATE SKIP
            LOCKED);
END $$;
SQL

# Each query counts violations.
my %invariant = (
    'no transaction is there partly or twice' => <<'SQL',
SELECT count(*) FROM (SELECT FROM ledger.audit GROUP BY tx
    HAVING count(*) <> min(rows_in_tx) OR count(DISTINCT seq) <> count(*)) t
SQL
    'the sum of all balances is zero' => <<'SQL',
SELECT count(*) FROM (SELECT FROM ledger.account HAVING sum(balance) <> 0) t
SQL
    'each account is the sum of its audit rows' => <<'SQL',
SELECT count(*) FROM ledger.account a
LEFT JOIN (SELECT account, sum(delta) AS total, count(*) AS changes FROM ledger.audit GROUP BY 1) s
    ON s.account = a.id
WHERE a.balance <> coalesce(s.total, 0) OR a.version <> coalesce(s.changes, 0)
SQL
);

sub create_ledger { my ($self) = @_; $self->source_sql($schema) }

# Transactions of the load, one after the other.
sub work { my ($self, $count) = @_; $self->source_sql('SELECT ledger.work();' x $count) }

# pgbench in the background.  Options: clients, rate (transactions a second), script (SQL).
sub start_load {
    my ($self, %opt) = @_;
    my $script = PostgreSQL::Test::Utils::tempdir() . '/load.sql';
    append_to_file($script, $opt{script} // 'SELECT ledger.work();');
    $self->{load} = $self->start_background(
        'pgbench', '--no-vacuum', '--file', $script, '--client', $opt{clients} // 2,
        '--time',  3600,          '--rate',
        $opt{rate} // 150,
        $self->source->connstr($self->dbname));
    return $self->{load};
}

# The last transactions may still be committing when pgbench is gone.
sub stop_load {
    my ($self) = @_;
    $self->stop_background(delete $self->{load}) if $self->{load};
    $self->source->poll_query_until($self->dbname,
        "SELECT count(*) = 0 FROM pg_stat_activity WHERE application_name ~ 'pgbench'");
}

# Waits until the load has committed this many more transactions.
sub wait_for_load {
    my ($self, $transactions) = @_;
    my $sql    = 'SELECT coalesce(max(id), 0) FROM ledger.audit';
    my $wanted = $self->source_sql($sql) + 3 * $transactions;
    $self->poll(sub { $self->source_sql($sql) >= $wanted }) or
        die "the load stands still: $self->{load}{output}\n";
}

# True at any moment on the source, and on the target from the first applied change on.
sub assert_ledger {
    my ($self, $side, $label) = @_;
    my @broken;
    for my $rule (sort keys %invariant) {
        my $violations = $self->$side->safe_psql($self->dbname, $invariant{$rule});
        push @broken, "$rule: $violations violations" if $violations;
    }
    ok(!@broken, $label) or diag join "\n", @broken;
}

1;
