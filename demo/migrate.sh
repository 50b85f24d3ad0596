# The documented workflow: nothing but SQL calls on the target. Sourced by run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # its variables are read by the other parts

WAIT_PID=
LEFT_BEHIND=0
UNEQUAL_TABLES=0

# run_workflow_sql SQL [psql option...]: as run_sql on the target; :'source' stands for the source's
# conninfo.
run_workflow_sql() { run_sql target "$@" --set=source="$SOURCE_CONNINFO"; }

# query_errors COLUMN: what the check says about errors.
query_errors() {
    query target "SELECT $1 FROM livemigrate.migration_check(:'source')
                   WHERE severity = 'error'" --set=source="$SOURCE_CONNINFO"
}

check_source() {
    local fixes
    say "The source as the target reaches it; the password is in the passfile and nowhere else:"
    note "\\set source '${SOURCE_CONNINFO%% passfile*}"
    note "             ${SOURCE_CONNINFO#*migrator }'"
    run_workflow_sql "SELECT severity, check_id, object, message, fix
  FROM livemigrate.migration_check(:'source') WHERE severity <> 'ok';" --expanded
    fixes=$(query_errors fix | grep -v '^--' || true)
    if [[ -n $fixes ]]; then
        say "The column \"fix\" has the SQL that mends it:"
        run_sql source "$fixes"
        run_workflow_sql "SELECT severity, count(*)
  FROM livemigrate.migration_check(:'source') GROUP BY severity;"
        require_no_errors
    fi
}

require_no_errors() {
    local errors
    errors=$(query_errors 'count(*)')
    [[ $errors == 0 ]] && return
    complain "the check still finds $errors errors"
    return 1
}

migrate_schema() {
    TRANSACTIONS_BEFORE=$(count_transactions source)
    run_workflow_sql "SELECT livemigrate.migration_start(:'source', pause_after => '{schema}');"
    run_sql target "CALL livemigrate.migration_wait('schema');"
    run_sql target "SELECT stage, state, plugin, slot_name, snapshot_lsn, message
  FROM livemigrate.migration_status();" --expanded
    say "The tables are there and empty; this is the place for create_hypertable and the like:"
    run_sql target "SELECT count(*) FILTER (WHERE relkind = 'p') AS \"partitioned tables\",
       count(*) FILTER (WHERE relkind = 'r') AS tables,
       count(*) FILTER (WHERE relkind = 'S') AS sequences,
       count(*) FILTER (WHERE relkind IN ('v', 'm')) AS views,
       count(*) FILTER (WHERE relkind = 'i') AS indexes
  FROM pg_class WHERE relnamespace IN ('public'::regnamespace, 'shop'::regnamespace);"
}

status_header() {
    printf '  %s%7s %-9s %-8s %5s %11s  %-13s  %s%s\n' "$DIM" time stage state 'done' speed \
        lag message "$RESET"
}

status_line() {
    local clock
    clock=$(seconds_between "$MIGRATION_STARTED" "$(now)")
    psql_at target --quiet --tuples-only --no-align --set=clock="$clock s" \
        --file="$DEMO/status_line.sql" | indent
}

# wait_with_status SQL INTERVAL: a call of migration_wait, with the status while it waits.
wait_with_status() {
    local sql=$1 interval=$2 status=0
    show_sql target "$sql"
    status_header
    {
        psql_at target <<<"$sql" >"$WORK/log/wait.log" 2>&1
        now >"$WORK/log/wait.ended"
    } &
    WAIT_PID=$!
    while kill -0 "$WAIT_PID" 2>/dev/null; do
        status_line
        sleep "$interval"
    done
    wait "$WAIT_PID" || status=$?
    WAIT_PID=
    indent <"$WORK/log/wait.log"
    return "$status"
}

copy_and_catch_up() {
    run_sql target "SELECT livemigrate.migration_resume();"
    wait_with_status "CALL livemigrate.migration_wait('streaming');" 1
    check_load
}

watch_streaming() {
    say "The target now follows the source:"
    status_header
    for _ in {1..5}; do
        sleep 1
        status_line
    done
    say "The source sees it like this:"
    run_sql source "SELECT application_name, state, pg_current_wal_lsn(), replay_lsn, replay_lag
  FROM pg_stat_replication
 WHERE application_name = 'livemigrate' AND state = 'streaming';"
    check_load
}

cut_over() {
    DOWNTIME_STARTED=$(now)
    stop_load
    say "The application has stopped writing, after $(acknowledged_transactions) transactions."
    run_sql target "SELECT livemigrate.set_endpos();"
    wait_with_status "CALL livemigrate.migration_wait();" 0.5
    DOWNTIME=$(seconds_between "$DOWNTIME_STARTED" "$(<"$WORK/log/wait.ended")")
    say "Downtime, from the stop of the writes until the target is ready: $DOWNTIME s"
}

compare_by_extension() {
    run_sql target "SELECT relation, source_rows, target_rows,
       left(target_checksum, 16) AS checksum, equal
  FROM livemigrate.compare_data() ORDER BY relation;" | tee "$WORK/log/compare_data.log"
    UNEQUAL_TABLES=$(awk -F'|' 'NF == 5 && $5 ~ /^ *f? *$/' "$WORK/log/compare_data.log" | wc -l)
    COMPARED_TABLES=$(awk -F'|' 'NF == 5 && $5 ~ /^ *t *$/' "$WORK/log/compare_data.log" | wc -l)
}

show_sequences() {
    say "Sequences, set at cutover:"
    local sql="SELECT schemaname || '.' || sequencename, coalesce(last_value::text, 'unused')
                 FROM pg_sequences WHERE schemaname <> 'livemigrate' ORDER BY 1"
    printf '  %s%-32s %14s %14s%s\n' "$DIM" '' source target "$RESET"
    join -t '|' -a 1 -a 2 -e missing -o 0,1.2,2.2 \
        <(query source "$sql" | LC_ALL=C sort) <(query target "$sql" | LC_ALL=C sort) |
        awk -F'|' '{ printf "  %-32s %14s %14s\n", $1, $2, $3 }'
}

# remember_figures: what the summary needs from the extension, before the migration is cleaned up.
remember_figures() {
    COPIED=$(query target "SELECT bytes_done, rows_done, tables_done, indexes_done,
                                  transactions_applied, changes_applied, changes_skipped
                             FROM livemigrate.migration_status()")
    STAGE_SECONDS=$(query target "$(<"$DEMO/stage_seconds.sql")")
}

LEFT_ON_SOURCE_SQL="SELECT (SELECT count(*) FROM pg_replication_slots) AS slots,
       (SELECT count(*) FROM pg_publication) AS publications,
       (SELECT count(*) FROM pg_stat_activity
         WHERE application_name = 'livemigrate') AS connections;"

LEFT_ON_TARGET_SQL="SELECT (SELECT count(*) FROM pg_replication_origin) AS origins,
       (SELECT count(*) FROM pg_publication) AS publications,
       (SELECT count(*) FROM livemigrate.workers) AS workers,
       (SELECT count(*) FROM pg_ls_dir('.') AS name WHERE name = 'livemigrate') AS spools;"

clean_up_migration() {
    run_sql target "SELECT livemigrate.migration_cleanup();"
    run_sql source "$LEFT_ON_SOURCE_SQL"
    run_sql target "$LEFT_ON_TARGET_SQL"
    LEFT_BEHIND=$({
        query source "$LEFT_ON_SOURCE_SQL"
        query target "$LEFT_ON_TARGET_SQL"
    } | tr '|' '\n' | awk '{ sum += $1 } END { print sum + 0 }')
}
