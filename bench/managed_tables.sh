#!/bin/bash
# bench/managed_tables.sh hypertable|distributed [ROWS] [REPS] - copy into a hypertable, or a table that Citus
# distributes over two nodes, against a plain COPY into it; and changes applied to it against the same to a plain
# table: processor seconds of the target (all its servers), with wall seconds beside them. TimescaleDB or
# Citus must be installed for the server. KINDS names the kinds of changes; empty, only the copy is measured.
. "$(dirname "$0")/lib.sh"
KIND=${1:?hypertable or distributed} ROWS=${2:-1000000} REPS=${3:-2} BASE_DB=managed_$ROWS SRC_DB=managed_src TGT_DB=managed_run
CHANGES=$((ROWS * 3 / 10)) NODES= NO_OPTIONS='{}'
case $KIND in
    hypertable) PRELOADED='timescaledb, livemigrate' ;;
    distributed) PRELOADED='citus, livemigrate' NODES='node1 node2' ;;
esac
port_of() { case $1 in src) echo "$SRC_PORT" ;; tgt) echo "$TGT_PORT" ;; node*) echo $((TGT_PORT + ${1#node})) ;; esac; }
for c in src tgt $NODES; do
    cluster_init $c
    grep -q ^max_prepared_transactions "$(data_of $c)/postgresql.conf" ||
        printf '%s\n' 'max_prepared_transactions = 100' 'max_locks_per_transaction = 256' 'logical_decoding_work_mem = 4MB' \
            "timescaledb.telemetry_level = off" "citus.node_conninfo = 'sslmode=prefer'" >>"$(data_of $c)/postgresql.conf"
done
cluster_start src; preload tgt "$PRELOADED"
for c in $NODES; do preload $c citus; done
columns='time timestamptz not null, device int not null, id bigint, v float8, note text'
rows() { echo "select timestamptz '$1' + g * interval '1 s', g % 1000, g, random(), md5(g::text) from generate_series(1, $2) g"; }
if [ -z "$(sql src postgres -c "select datname from pg_database where datname = '$BASE_DB'")" ]; then
    sql src postgres -c "create database $BASE_DB template template0"
    sql src $BASE_DB -c "create table m ($columns, primary key (device, time))" -c "insert into m $(rows 2025-01-01 $ROWS)" \
        -c 'vacuum analyze m'
fi

# Of all processes of the target's servers, also those that have ended, in hundredths of a second.
cpu() {
    local c pm
    for c in tgt $NODES; do
        pm=$(pm_pid $c)
        awk '{ print $14 + $15 + $16 + $17 }' "/proc/$pm/stat"
        for child in $(cat "/proc/$pm/task/$pm/children"); do awk '{ print $14 + $15 }' "/proc/$child/stat" 2>/dev/null; done
    done | awk '{ sum += $1 } END { print sum }'
}
measure() { # measure NAME COMMAND...
    local name=$1 before t0 t1; shift
    settle; before=$(cpu) t0=$(now)
    "$@" >/dev/null || die "$name failed"
    t1=$(now)
    sleep 1 # until the postmaster knows of processes that have ended
    echo "$name: cpu $(awk -v a="$before" -v b="$(cpu)" 'BEGIN { printf "%.2f", (b - a) / 100 }') s, wall $(elapsed "$t0" "$t1") s"
}

# Also of a run that was interrupted.
new_databases() { # new_databases managed|plain
    for c in tgt $NODES; do drop_db $c $TGT_DB; done
    sql src postgres -c 'select pg_terminate_backend(active_pid, 5000) from pg_replication_slots' \
        -c 'select pg_drop_replication_slot(slot_name) from pg_replication_slots' >/dev/null
    drop_db src $SRC_DB
    sql tgt postgres -c 'select pg_replication_origin_drop(roname) from pg_replication_origin' >/dev/null
    sql src postgres -c "create database $SRC_DB template $BASE_DB strategy file_copy"
    for c in tgt $NODES; do sql $c postgres -c "create database $TGT_DB template template0"; done
    case $1.$KIND in
        managed.hypertable) lm 'create extension timescaledb' 2>/dev/null ;;
        managed.distributed)
            for c in $NODES tgt; do sql $c $TGT_DB -c 'create extension citus'; done
            lm "select citus_set_coordinator_host('127.0.0.1', $(port_of tgt))" >/dev/null
            for c in $NODES; do lm "select citus_add_node('127.0.0.1', $(port_of $c))" >/dev/null || die "no node $c"; done ;;
    esac
    lm 'create extension livemigrate'
}
manage() {
    case $KIND in
        hypertable) lm "select create_hypertable('m', 'time', chunk_time_interval => interval '1 day', create_default_indexes => false)" ;;
        distributed) lm "select create_distributed_table('m', 'device', shard_count => 8)" ;;
    esac >/dev/null || die "the table cannot be made one of the extension's"
}
plain_copy() { sql src $SRC_DB -c 'copy m to stdout (format binary)' | sql tgt $TGT_DB -c 'copy m from stdin (format binary)'; }
start() { # start [OPTIONS]
    lm "select livemigrate.migration_start('$(dsn src $SRC_DB)', table_jobs => 1, split_tables_larger_than => '0', roles => false,
        pause_after => '{schema,data,indexes}', options => '${1:-$NO_OPTIONS}')" >/dev/null && lm_wait schema
}
to_stage() { lm "select livemigrate.migration_resume()" && lm_wait "$1"; }
# What the source did before apply goes on: one transaction of inserts, one each of updates and deletes by
# key, many small ones.
changes() {
    case $1 in
        insert*) sql src $SRC_DB -c "insert into m $(rows 2025-02-01 $CHANGES)" ;;
        update) sql src $SRC_DB -c "update m set v = v + 1 where id <= $CHANGES / 3" -c "delete from m where id between $CHANGES and $CHANGES * 4 / 3" ;;
        small) sql src $SRC_DB -c "do \$\$ begin for i in 1..$((CHANGES / 10)) loop
                insert into m values (timestamptz '2025-02-01' + i * interval '1 s', i % 1000, i, 0, 'small'); commit;
                update m set v = i where device = i % 1000 and time = timestamptz '2025-01-01' + i * interval '1 s'; commit;
                end loop; end \$\$" ;;
    esac
}
drain() { lm "select livemigrate.migration_resume(pause_after => '{}')" && lm_wait done; }
set_streaming() { sql tgt postgres -c "alter system set livemigrate.stream_in_progress = $1" -c 'select pg_reload_conf()' >/dev/null; }

load_tool livemigrate
for rep in $(seq "$REPS"); do
    new_databases managed; lm "create table m ($columns)"; manage
    measure "copy, plain COPY, $rep" plain_copy
    # Without a key, so that no index is built as soon as the rows are there.
    new_databases managed; sql src $SRC_DB -c 'alter table m drop constraint m_pkey'
    start '{"insert_only_tables": ["*.*"]}' || die start
    manage; measure "copy, livemigrate, $rep" to_stage data
    for kind in ${KINDS-insert insert_unstreamed update small}; do
        for table in managed plain; do
            new_databases $table
            set_streaming "$([ $kind = insert_unstreamed ] && echo off || echo on)"
            start || die start
            [ $table = plain ] || manage
            to_stage data >/dev/null; to_stage indexes >/dev/null; changes $kind
            lm "select livemigrate.set_endpos()" >/dev/null
            measure "apply, $kind, $table, $rep" drain
            [ "$(lm 'select bool_and(equal) from livemigrate.compare_data()')" = t ] || die 'not equal'
            echo "    streamed transactions: $(sql src $SRC_DB -c 'select sum(stream_txns) from pg_stat_replication_slots')"
            lm "select livemigrate.migration_cleanup()" >/dev/null
        done
    done
done
set_streaming on
for c in src tgt $NODES; do drop_db $c $([ $c = src ] && echo $SRC_DB || echo $TGT_DB); done
for c in $NODES; do cluster_stop $c; done
