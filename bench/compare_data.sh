#!/bin/bash
# bench/compare_data.sh [REPS] - what migration_estimate says of C1 beside what its stages took, then compare_data of all of it
# against `pgcopydb compare data` (PGCOPYDB names a binary of 0.11 or later; left out if there is none) and against
# SQL that one psql a side reads every row with. Elapsed seconds.
. "$(dirname "$0")/lib.sh"
REPS=${1:-3} SRC_DB=c1 TGT_DB=c1_run WORK=$BENCH_DIR/work/compare_data PGCOPYDB=${PGCOPYDB:-pgcopydb}
load_tool livemigrate
trap 'cluster_stop src; cluster_stop tgt' EXIT
cluster_start src; cluster_start tgt; preload src ""; preload tgt livemigrate
[ -s "$BENCH_DIR/meta/c1.digest" ] || "$BENCH_HOME/prepare.sh" copy
rm -rf "$WORK"; mkdir -p "$WORK"
drop_db tgt $TGT_DB; sql tgt postgres -c "create database $TGT_DB template template0"
lm "create extension livemigrate"

timed() { # timed NAME COMMAND...: its seconds, or that it failed
    local name=$1 t0; shift; t0=$(now)
    if "$@" >"$WORK/out" 2>"$WORK/err"; then echo "$name $(elapsed "$t0" "$(now)") s"
    else echo "$name failed: $(tail -n 1 "$WORK/err")"; fi
}

settle
lm "select rpad(item, 20) || estimate from livemigrate.migration_estimate('$(dsn src $SRC_DB)', table_jobs => 2, index_jobs => 2)
    where item ~ '^(stage|until|downtime|target_disk|target_wal|.*_rate)'"
before=$(sql tgt postgres -c "select pg_database_size('$TGT_DB')")
t0=$(now)
lm "select livemigrate.migration_start('$(dsn src $SRC_DB)', table_jobs => 2, index_jobs => 2, split_tables_larger_than => '200 MB', roles => false)"
lm_wait streaming
echo "until streaming it took $(elapsed "$t0" "$(now)") s, and $((($(sql tgt postgres -c "select pg_database_size('$TGT_DB')") - before) / 1000000)) MB"
t0=$(now); lm "select livemigrate.set_endpos()"; lm_wait done
echo "from set_endpos to done it took $(elapsed "$t0" "$(now)") s"
lm "select rpad('stage_' || (s->>'stage'), 20) || round((s->>'end')::numeric - (s->>'start')::numeric, 1) || ' s'
    from jsonb_array_elements(livemigrate.migration_report_json()->'stages') s"

read_all() { db_digest "$1" "$2" >"$WORK/rows.$1"; }
both_sides() { read_all src $SRC_DB & read_all tgt $TGT_DB; wait $!; cmp "$WORK/rows.src" "$WORK/rows.tgt"; }
compare_data() { [ "$(lm "select count(*) filter (where equal) = count(*) from livemigrate.compare_data()")" = t ]; }
by_pgcopydb() {
    rm -rf "$WORK/dir"
    "$PGCOPYDB" compare data --source "$(uri src $SRC_DB)" --target "$(uri tgt $TGT_DB)" --dir "$WORK/dir"
}
sql src postgres -c checkpoint; sql tgt postgres -c checkpoint
for rep in $(seq "$REPS"); do
    echo "round $rep"
    timed "  compare_data" compare_data
    timed "  psql on either side" both_sides
    command -v "$PGCOPYDB" >/dev/null && timed "  $("$PGCOPYDB" --version 2>/dev/null | head -n 1)" by_pgcopydb
done
tool_copy_cleanup; drop_db tgt $TGT_DB
