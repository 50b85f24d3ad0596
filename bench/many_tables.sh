#!/bin/bash
# bench/many_tables.sh [TABLES] - C2: whole copy of a database of many small tables (primary key, one index, 10
# rows each), livemigrate against pg_dump | pg_restore, with ANALYZE in both; wall time and processor seconds
. "$(dirname "$0")/lib.sh"
TABLES=${1:-10000} SRC_DB=many_$TABLES WORK=$BENCH_DIR/work/many LM_JOBS=${LM_JOBS:-2}
for c in src tgt; do
    cluster_init $c
    # pg_dump locks every table in one transaction, and so does whoever creates them all in one
    grep -q ^max_locks_per_transaction "$(data_of $c)/postgresql.conf" ||
        echo "max_locks_per_transaction = 1024" >>"$(data_of $c)/postgresql.conf"
    cluster_start $c
done
if [ -z "$(sql src postgres -c "select from pg_database where datname = '$SRC_DB'" -c "select datname from pg_database where datname = '$SRC_DB'")" ]; then
    sql src postgres -c "create database $SRC_DB template template0"
    for batch in $(seq 0 500 $((TABLES - 1))); do
        sql src $SRC_DB -c "do \$\$ begin
            for i in $batch + 1 .. least($batch + 500, $TABLES) loop
                execute format('create table t_%s (id int primary key, at timestamptz, note text)', i);
                execute format('insert into t_%s select g, now(), md5(g::text) from generate_series(1, 10) g', i);
                execute format('create index on t_%s (at)', i);
            end loop; end \$\$"
    done
    sql src $SRC_DB -c 'vacuum analyze'
fi
load_tool livemigrate
tool_copy() {
    lm "create extension livemigrate" &&
    lm "select livemigrate.migration_start('$(dsn src $SRC_DB)', table_jobs => $LM_JOBS, index_jobs => $LM_JOBS, roles => false, pause_after => '{indexes}')" &&
    lm_wait indexes
}
floor_copy() {
    pg_dump -Fc -Z0 "$(dsn src $SRC_DB)" | pg_restore -d "$(dsn tgt $TGT_DB)" && vacuumdb -q --analyze-only -d "$(uri tgt $TGT_DB)"
}
# Each tool gets a database of its own and none is dropped in between: ext4 passes over the inodes of files that were
# removed in the last five minutes, which then takes a third of the time of whoever creates files next. So wait that long
# between two runs of this script.
run() { # run NAME FUNCTION
    TGT_DB=many_run_$tool; drop_db tgt $TGT_DB; sql tgt postgres -c "create database $TGT_DB template template0"
    rm -rf "$WORK"; mkdir -p "$WORK"; settle
    sampler_start "$WORK.json" "$WORK"
    local t0 t1 ok; t0=$(now); $2 >"$WORK.log" 2>&1; ok=$?; t1=$(now)
    sampler_stop
    [ "$(sql tgt $TGT_DB -c "select count(*) from pg_index where indisvalid and indrelid::regclass::text like 't\_%'")" = $((2 * TABLES)) ] || ok="$ok INDEXES-DIFFER"
    emit "C2_$TABLES" "$1" "$(elapsed "$t0" "$t1")" $((10 * TABLES)) '' "$WORK.json" "$ok" ''
}
TOOLS=${TOOLS:-floor livemigrate}
for tool in $TOOLS; do
    if [ $tool = floor ]; then run pg_dump+pg_restore floor_copy; else
        run livemigrate tool_copy
        [ -n "$READ" ] && sql tgt $TGT_DB -c '\timing on' -c 'select count(*) from (select * from livemigrate.table_progress offset 0) t' -c 'select count(*) from (select * from livemigrate.index_progress offset 0) t' -c 'select count(*) from livemigrate.migration_status()'
        tool_copy_cleanup
    fi
done
[ -n "$KEEP" ] || for tool in $TOOLS; do drop_db tgt many_run_$tool; done
