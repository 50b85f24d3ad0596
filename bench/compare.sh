#!/bin/bash
# bench/compare.sh copy|apply [REPS] - livemigrate against native logical replication, and pgcopydb
# where it is installed, in one run; prints medians and ratios. Makes clusters and data when they
# are not there yet, and stops the clusters at the end.
set -euo pipefail
cd "$(dirname "$0")"
what=${1:?copy or apply} reps=${2:-1}
export PGLOGICAL=${PGLOGICAL:-0} BENCH_DIR=${BENCH_DIR:-/tmp/bench}
tools=(livemigrate native)
case $what in
copy)
    tools+=(floor-pipe)
    ! command -v pgcopydb >/dev/null || tools+=(pgcopydb010)
    prepared=$BENCH_DIR/meta/c1.digest
    ;;
apply) prepared=$BENCH_DIR/meta/wd.digest ;;
*)
    echo "usage: $0 copy|apply [REPS]" >&2
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
