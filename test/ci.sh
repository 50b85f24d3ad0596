#!/bin/bash
# What CI runs: make check, and of make check-matrix the hypertable part, if that fits the time.
#
# CI ends after CI_SECONDS (20 minutes). Making the Debian 13 tree takes some five minutes of a
# processor, and building there another. They go to the idle moments of make check where there is a
# third processor, or the tree has its packages already. On two they would make it late, even so, by
# minutes; there they come after it, if CI_PREPARE_SECONDS are left. The tests start if
# CI_TESTS_SECONDS are left then. All is reckoned short of CI_RESERVE_SECONDS. Whatever does not fit or
# cannot be had is skipped, with a line that says why: only a test or a build that fails makes CI fail.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

tests=${CI_TESTS_SECONDS:-90}
end=$(($(date +%s) + ${CI_SECONDS:-1200} - ${CI_RESERVE_SECONDS:-120}))
prepare=${CI_PREPARE_SECONDS:-360}
tree=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}/debian-trixie
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

left() {
    echo $((end - $(date +%s)))
}

start_preparation() {
    MATRIX_DEADLINE=$((end - tests)) setsid "$@" make prepare-hypertables >"$log" 2>&1 &
    preparation=$!
}

# By itself first: two at a time cannot install packages.
make deps || exit 1
if [ "${CI_PROCESSORS:-$(nproc)}" -gt 2 ] || [ -e "$tree/usr/include/postgresql/17/server/postgres.h" ]; then
    start_preparation "${idle[@]}"
fi

make check || exit 1
echo "ci: make check took $((SECONDS / 60)) minutes, of the time $(left) s are left"
if [ -z "$preparation" ]; then
    [ "$(left)" -ge $((prepare + tests)) ] ||
        skip "a Debian tree and the tests in it take up to $((prepare + tests)) s, more than is left"
    start_preparation
fi
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
elif [ "$(left)" -lt "$tests" ]; then
    skip "the tests take up to $tests s, more than is left"
fi
MATRIX_DEADLINE=$end make check-hypertables
