#!/bin/bash
# What CI runs: make check, and of make check-matrix the hypertable part, if that fits the time.
#
# CI ends after CI_SECONDS (20 minutes). While make check runs, its idle moments go to making the
# Debian 13 tree and building there; the tests in it start if CI_TESTS_SECONDS are left then, short
# of CI_RESERVE_SECONDS. Whatever does not fit or cannot be had is skipped, with a line that says why:
# only a test or a build that fails makes CI fail.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

tests=${CI_TESTS_SECONDS:-90}
end=$(($(date +%s) + ${CI_SECONDS:-1200} - ${CI_RESERVE_SECONDS:-120}))
read -ra idle <<<"${CI_IDLE-chrt --idle 0 ionice --class idle}"
log=$(mktemp)
preparation=

# In a session of its own, with what it started there.
end_preparation() {
    [ -z "$preparation" ] || pkill -KILL --session "$preparation" 2>/dev/null
    rm -f "$log"
}
trap end_preparation EXIT

skip() {
    echo "ci: skipped: check-hypertables: $*"
    exit 0
}

# By itself first: two at a time cannot install packages.
make deps || exit 1
MATRIX_DEADLINE=$((end - tests)) setsid "${idle[@]}" make prepare-hypertables >"$log" 2>&1 &
preparation=$!

make check || exit 1
echo "ci: make check took $((SECONDS / 60)) minutes, of the time $((end - $(date +%s))) s are left"
wait "$preparation"
status=$?
preparation=
if grep -q '^matrix: FAILED' "$log"; then
    cat "$log"
    exit 1
elif ! grep -qx 'matrix: prepared' "$log"; then
    cat "$log"
    reason=$(sed -nE 's/^matrix: skipped: (everything: )?//p' "$log" | tail -n 1)
    skip "${reason:-$(tail -n 1 "$log") (status $status)}"
elif [ $((end - $(date +%s))) -lt "$tests" ]; then
    skip "the tests take up to $tests s, more than is left"
fi
MATRIX_DEADLINE=$end make check-hypertables
