#!/usr/bin/env bash
# Shows a live migration from beginning to end: makes two throw-away PostgreSQL clusters on this
# machine, fills the source, keeps writing to it, migrates it with SQL calls on the target, cuts
# over and compares everything. Leaves nothing behind; exit code 0 only if all is equal.
#
#   PG_CONFIG      which PostgreSQL installation to use (default: pg_config)
#   LOAD_RATE      transactions a second that the application writes (default: 400)
#   PGBENCH_SCALE  size of pgbench's tables (default: 20, about 500 MB in all)
#   PATIENCE       seconds after which a single call counts as hung (default: 300)
#   KEEP=1         keep data directories and logs
#   NO_COLOR=1     no colours on a terminal
# shellcheck disable=SC2034  # its variables are read by the other parts
set -euo pipefail

DEMO=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PG_CONFIG=${PG_CONFIG:-pg_config}
DATABASE=shop
WORK=
unset PGHOST PGPORT PGUSER PGDATABASE PGPASSWORD PGPASSFILE PGSERVICE PGOPTIONS
export LC_ALL=C.UTF-8
export PGOPTIONS="-c statement_timeout=${PATIENCE:-300}s"

# shellcheck source-path=SCRIPTDIR
source "$DEMO/output.sh"
source "$DEMO/cluster.sh"
source "$DEMO/source.sh"
source "$DEMO/migrate.sh"
source "$DEMO/verify.sh"
source "$DEMO/summary.sh"

require() {
    if ! "${@:2}" >/dev/null 2>&1; then
        complain "$1"
        exit 1
    fi
}

check_installation() {
    require "$PG_CONFIG not found: install PostgreSQL (make deps) or set PG_CONFIG" \
        command -v "$PG_CONFIG"
    BINDIR=$("$PG_CONFIG" --bindir)
    local program
    for program in initdb pg_ctl postgres psql pgbench pg_dump; do
        require "$BINDIR/$program not found: install this PostgreSQL's server package" \
            test -x "$BINDIR/$program"
    done
    require "livemigrate is not installed in this PostgreSQL: run make install" \
        test -f "$("$PG_CONFIG" --sharedir)/extension/livemigrate.control"
    require "servers do not run as root and there is no user $SERVER_USER: set DEMO_USER" \
        id "$SERVER_USER"
}

stop_all() {
    kill_load
    if [[ -n $WAIT_PID ]]; then
        kill "$WAIT_PID" 2>/dev/null || true
    fi
    stop_cluster target
    stop_cluster source
    remove_work_directory
}

on_exit() {
    local status=$?
    trap - EXIT
    set +e
    if ((status != 0 && status <= 128)); then
        status=1
        [[ -z $WORK ]] || explain_failure
    fi
    stop_all
    exit "$status"
}

main() {
    DEMO_STARTED=$(now)
    trap on_exit EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    check_installation

    heading "1. Two throw-away clusters"
    make_clusters
    heading "2. A source with data, and an application that writes to it"
    fill_source
    start_load
    heading "3. Is the source ready?"
    run_sql target "CREATE EXTENSION livemigrate;"
    check_source
    heading "4. Start: slot, snapshot, roles and schema"
    MIGRATION_STARTED=$(now)
    migrate_schema
    heading "5. Go on: copy the data, build indexes, catch up"
    copy_and_catch_up
    heading "6. Streaming"
    watch_streaming
    heading "7. Cutover"
    cut_over
    show_sequences
    remember_figures
    heading "8. Comparison by livemigrate"
    compare_by_extension
    heading "9. Cleanup"
    clean_up_migration
    heading "10. Comparison by the demo itself"
    verify
    heading "Summary"
    summarize
    everything_equal
}

main "$@"
