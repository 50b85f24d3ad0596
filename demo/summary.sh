# The last words, whether all went well or not. Sourced by run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # its variables are read by the other parts

summary_line() { printf '  %-18s %s\n' "$1" "$2"; }

summarize() {
    local bytes rows tables indexes transactions changes skipped written
    IFS='|' read -r bytes rows tables indexes transactions changes skipped <<<"$COPIED"
    written=$(($(acknowledged_transactions) - TRANSACTIONS_BEFORE))
    if everything_equal; then
        good "Source and target are equal: $COMPARED_TABLES tables with \
$(group_digits "$(one_kind data target table | sum_of)") rows, and all that belongs to them."
    else
        bad "Source and target are NOT equal, or something was left behind; see above."
    fi
    echo
    summary_line 'initial copy' "$tables tables, $(group_digits "$rows") rows, \
$(copy_speed "$bytes"); then $indexes indexes and constraints"
    summary_line 'written meanwhile' "$(group_digits "$written") transactions on the source"
    summary_line 'streamed' "$(group_digits "$transactions") transactions with \
$(group_digits "$changes") changes, $skipped skipped"
    summary_line 'seconds per stage' "$(stage_line 1 6)"
    summary_line '' "$(stage_line 7 10)"
    summary_line 'downtime' "$DOWNTIME s"
    summary_line 'whole demo' "$(seconds_between "$DEMO_STARTED" "$(now)") s"
}

# copy_speed BYTES: how much was copied and how fast, by the duration of the stage.
copy_speed() {
    awk -F'|' -v bytes="$1" '
        $1 == "data" && $2 > 0 { speed = sprintf(" at %.0f MB/s", bytes / 1e6 / $2) }
        END { printf "%.0f MB%s", bytes / 1e6, speed }' <<<"$STAGE_SECONDS"
}

everything_equal() {
    ((DIFFERENCES == 0 && UNEQUAL_TABLES == 0 && COMPARED_TABLES > 0 && LEFT_BEHIND == 0))
}

# stage_line FROM TO
stage_line() {
    awk -F'|' -v from="$1" -v to="$2" 'NR >= from && NR <= to { printf "%s %s   ", $1, $2 }' \
        <<<"$STAGE_SECONDS"
}

# explain_failure: all that helps to find out what went wrong.
explain_failure() {
    export PGCONNECT_TIMEOUT=5 PGOPTIONS='-c statement_timeout=10s'
    echo
    bad "The demo failed."
    if [[ -n ${PORT[target]:-} ]]; then
        show_migration_state 2>&1 || true
    fi
    local side
    for side in source target; do
        if [[ -f $WORK/log/$side.log ]]; then
            note "from the $side's log:"
            grep -E 'ERROR|FATAL|PANIC|WARNING|CONTEXT|signal|livemigrate:' \
                "$WORK/log/$side.log" | tail -n 12 | cut -c 1-400 | indent || true
        fi
    done
}

show_migration_state() {
    local installed
    installed=$(query target "SELECT count(*) FROM pg_extension WHERE extname = 'livemigrate'")
    [[ $installed == 1 ]] || return 0
    run_sql target "SELECT stage, state, attempts, message, hint, last_error
  FROM livemigrate.migration_status();" --expanded
    run_sql target "SELECT at::time(0), severity, stage, message, detail
  FROM (SELECT * FROM livemigrate.events ORDER BY id DESC LIMIT 12) AS last ORDER BY id;"
}
