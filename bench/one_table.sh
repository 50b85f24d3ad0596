#!/bin/bash
# bench/one_table.sh [MB] - one large table copied in parts by 2 and by 4 workers: wall time of stage data, without indexes
. "$(dirname "$0")/lib.sh"
MB=${1:-1024} SRC_DB=one_table_$MB
for c in src tgt; do cluster_init $c; cluster_start $c; done
if [ -z "$(sql src postgres -c "select datname from pg_database where datname = '$SRC_DB'")" ]; then
    sql src postgres -c "create database $SRC_DB template template0"
    # 128 bytes a row
    sql src $SRC_DB -c "create table big (id bigint, a int, b int, at timestamptz, v text)" \
        -c "insert into big select g, g % 1000, g % 77, now(), md5(g::text) || md5((g * 3)::text) from generate_series(1, $MB * 8192::bigint) g" \
        -c 'alter table big replica identity full' -c 'vacuum analyze big'
fi
load_tool livemigrate
for round in 1 2; do
    for jobs in 2 4; do
        TGT_DB=one_table_run; drop_db tgt $TGT_DB; sql tgt postgres -c "create database $TGT_DB template template0"
        settle
        lm "create extension livemigrate"
        lm "select livemigrate.migration_start('$(dsn src $SRC_DB)', table_jobs => $jobs, split_tables_larger_than => '128 MB', roles => false, pause_after => '{schema}')"
        lm_wait schema
        t0=$(now)
        lm "select livemigrate.migration_resume(pause_after => '{data}')"; lm_wait data
        echo "round $round, $jobs jobs: $(elapsed "$t0" "$(now)") s, $(lm "select tables_done || ' table, ' || rows_done || ' rows' from livemigrate.migration_status()")"
        tool_copy_cleanup
    done
done
drop_db tgt $TGT_DB
