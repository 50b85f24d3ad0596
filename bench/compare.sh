#!/bin/bash
# bench/compare.sh copy|apply|lag [REPS] - livemigrate against native logical replication, and pgcopydb
# where it is installed, in one run; prints medians and ratios. Makes clusters and data when they
# are not there yet, and stops the clusters at the end.
set -euo pipefail
cd "$(dirname "$0")"
what=${1:?copy, apply or lag} reps=${2:-1}
export PGLOGICAL=${PGLOGICAL:-0} BENCH_DIR=${BENCH_DIR:-/tmp/bench}
tools=(livemigrate native)
pgcopydb=
if command -v pgcopydb >/dev/null; then
    version=$(pgcopydb --version 2>/dev/null | grep -oE '0\.[0-9]+' | head -1)
    pgcopydb=pgcopydb${version/./}
    [ -f "tools/$pgcopydb.sh" ] || pgcopydb=
    export PGCOPYDB018=pgcopydb PGCOPYDB017=pgcopydb PGCOPYDB010=pgcopydb
fi
case $what in
copy)
    tools+=(floor-pipe ${pgcopydb:+"$pgcopydb"})
    prepared=$BENCH_DIR/meta/c1.digest
    ;;
apply) # its slots are made before the backlog is, or not at all
    prepared=$BENCH_DIR/meta/wd.digest
    if [ -n "$pgcopydb" ] && { [ ! -s "$prepared" ] ||
        compgen -G "$BENCH_DIR/meta/pgc${version#0.}_*wd" >/dev/null; }; then
        export PREPARE_TOOLS=$pgcopydb
        tools+=("$pgcopydb")
    fi
    ;;
lag)
    tools+=(${pgcopydb:+"$pgcopydb"})
    prepared=$BENCH_DIR/meta/wl.prepared
    ;;
*)
    echo "usage: $0 copy|apply|lag [REPS]" >&2
    exit 2
    ;;
esac
trap './cluster.sh stop' EXIT
./cluster.sh start
[ -s "$prepared" ] || ./prepare.sh "$what"
run=$BENCH_DIR/results/$what.$(date +%Y%m%dT%H%M%S)
mkdir -p "$run"
RESULTS=$run ./run_all.sh "$what" "$reps" "${tools[@]}"
./report.py "$run/results.tsv"
