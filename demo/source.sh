# The source's roles and data, and the application that keeps writing. Sourced by run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # its variables are read by the other parts

PGBENCH_SCALE=${PGBENCH_SCALE:-20}
LOAD_RATE=${LOAD_RATE:-400}
LOAD_CLIENTS=4
LOAD_PID=

# The migration's role is no superuser: it may replicate, and as a member of the owner's role it
# may read and publish what the application owns. The password goes into a passfile that only the
# target's server user can read, so it appears in no command line and no SQL call.
create_roles() {
    local password
    password=$(od -An -N18 -tx1 /dev/urandom | tr -d ' \n')
    psql_at source --quiet <<END
CREATE ROLE shop_owner;
CREATE ROLE shop_app LOGIN;
CREATE ROLE migrator LOGIN REPLICATION PASSWORD '$password' IN ROLE shop_owner;
GRANT CREATE ON DATABASE $DATABASE TO shop_owner;
GRANT CREATE ON SCHEMA public TO shop_owner;
END
    (
        umask 077
        echo "127.0.0.1:${PORT[source]}:*:migrator:$password" >"$WORK/passfile"
    )
    chown "$SERVER_USER" "$WORK/passfile"
    SOURCE_CONNINFO="host=127.0.0.1 port=${PORT[source]} dbname=$DATABASE user=migrator"
    SOURCE_CONNINFO+=" passfile=$WORK/passfile"
}

as_owner() { PGOPTIONS='-c role=shop_owner' "$@"; }

fill_pgbench() {
    as_owner "$BINDIR/pgbench" --initialize --quiet --scale="$PGBENCH_SCALE" \
        --host="$WORK/socket" --port="${PORT[source]}" --username=postgres "$DATABASE" \
        >"$WORK/log/pgbench-init.log" 2>&1 || {
        complain "pgbench --initialize failed:"
        tail -n 5 "$WORK/log/pgbench-init.log" >&2
        return 1
    }
    psql_at source --quiet <<<"GRANT SELECT, INSERT, UPDATE, DELETE
                                  ON ALL TABLES IN SCHEMA public TO shop_app"
}

fill_shop() {
    local orders
    as_owner psql_at source --quiet --file="$DEMO/shop_schema.sql"
    as_owner psql_at source --quiet --file="$DEMO/shop_orders.sql" &
    orders=$!
    as_owner psql_at source --quiet --file="$DEMO/shop_data.sql"
    wait "$orders"
    as_owner psql_at source --quiet --file="$DEMO/shop_constraints.sql"
}

fill_source() {
    local started pgbench size
    started=$(now)
    create_roles
    fill_pgbench &
    pgbench=$!
    fill_shop
    wait "$pgbench"
    size=$(query source "SELECT pg_size_pretty(pg_database_size(current_database()))")
    say "filled in $(seconds_between "$started" "$(now)") s: $size," \
        "pgbench at scale $PGBENCH_SCALE and a shop"
    run_sql source "SELECT count(*) FILTER (WHERE relkind = 'r') AS tables,
       count(*) FILTER (WHERE relispartition AND relkind = 'r') AS \"of them partitions\",
       count(*) FILTER (WHERE relkind = 'i') AS indexes,
       count(*) FILTER (WHERE relkind = 'S') AS sequences,
       (SELECT count(*) FROM pg_largeobject_metadata) AS \"large objects\",
       sum(greatest(reltuples, 0)) FILTER (WHERE relkind = 'r')::bigint AS \"rows, about\"
  FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'shop'::regnamespace);"
}

# The application: TPC-B transactions and the shop's, at a fixed rate.
start_load() {
    "$BINDIR/pgbench" --host="$WORK/socket" --port="${PORT[source]}" --username=shop_app \
        --no-vacuum --client="$LOAD_CLIENTS" --jobs=1 --time=3600 --rate="$LOAD_RATE" \
        --builtin=tpcb-like@8 \
        --file="$DEMO/load/order.pgbench@4" \
        --file="$DEMO/load/transfer.pgbench@4" \
        --file="$DEMO/load/ship.pgbench@3" \
        --file="$DEMO/load/cancel.pgbench@1" \
        --file="$DEMO/load/catalogue.pgbench@1" \
        "$DATABASE" >"$WORK/log/load.log" 2>&1 &
    LOAD_PID=$!
    sleep 1
    check_load
    say "pgbench writes $LOAD_RATE transactions a second with $LOAD_CLIENTS clients:" \
        "TPC-B, orders, parcels, transfers, ..."
}

check_load() {
    kill -0 "$LOAD_PID" 2>/dev/null && return
    complain "the application's load has stopped by itself:"
    tail -n 5 "$WORK/log/load.log" >&2
    return 1
}

# SIGALRM is how pgbench's own time limit ends a run: open transactions are finished and counted.
stop_load() {
    [[ -n $LOAD_PID ]] || return 0
    kill -ALRM "$LOAD_PID" 2>/dev/null || true
    wait "$LOAD_PID" || true
    LOAD_PID=
}

kill_load() {
    [[ -n $LOAD_PID ]] || return 0
    kill -TERM "$LOAD_PID" 2>/dev/null || true
    wait "$LOAD_PID" 2>/dev/null || true
    LOAD_PID=
}

# Transactions that pgbench was told are committed.
acknowledged_transactions() {
    awk -F': ' '/^number of transactions actually processed/ { print $2 + 0 }' "$WORK/log/load.log"
}

# count_transactions SIDE: each transaction of the load leaves one row in one of these two tables.
count_transactions() {
    query "$1" "SELECT (SELECT count(*) FROM public.pgbench_history)
                       + (SELECT count(*) FROM shop.journal)"
}
