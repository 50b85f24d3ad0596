#!/bin/bash
# Runs the tests that need servers: server_tests.sh regress|tap.
#
# They run on the installed extension, in a copy of the test files in a temporary directory, which
# is kept when something fails. initdb refuses root, so root runs them as TEST_USER (postgres).
# PROVE_TESTS and PROVE_JOBS choose the TAP tests and how many run at a time.
set -uo pipefail

suite=${1:?regress or tap}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
pg_config=$(command -v "${PG_CONFIG:-pg_config}") || {
    echo "pg_config not found; set PG_CONFIG or run make deps" >&2
    exit 1
}
pgxs_test=$(dirname "$("$pg_config" --pgxs)")/../test
bindir=$("$pg_config" --bindir)
test_user=${TEST_USER:-postgres}
log_lines=80

work=$(mktemp -d "${TMPDIR:-/tmp}/livemigrate-$suite.XXXXXX")
output=$work/output.txt
for item in Makefile project.mk sql expected test contrib doc livemigrate.control META.json README.md SECURITY.md; do
    cp -R "$root/$item" "$work/"
done
# Read by the test that holds the reference against the sources.
(cd "$root" && cp --parents src/*/*.cpp src/*/*.hpp "$work/")
if [ "$(id -u)" = 0 ]; then
    chown -R "$test_user" "$work"
fi

# Where the source servers of other versions are, if somebody has fetched them: see source_servers.sh.
# A cache in root's home is not for others to read.
find_source_servers() {
    SOURCE_SERVERS=$("$root/test/source_servers.sh" directory)
    if [ "$(id -u)" = 0 ] && [ -d "$SOURCE_SERVERS" ] &&
        ! runuser -u "$test_user" -- test -r "$SOURCE_SERVERS"; then
        cp -Rl "$SOURCE_SERVERS" "$work/source_servers" 2>/dev/null ||
            cp -R "$SOURCE_SERVERS" "$work/"
        SOURCE_SERVERS=$work/source_servers
    fi
    export SOURCE_SERVERS
}

# A downgrade whose schema is restored takes the newer server's own programs: those of the tree that
# matrix.sh has made, with the libraries that they were built for.
find_newer_clients() {
    local major=17 own tree bin libraries program to=$work/client_17
    own=$("$pg_config" --version | grep -oE '[0-9]+' | head -n 1)
    tree=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}/debian-trixie
    bin=$tree/usr/lib/postgresql/$major/bin
    [ -x "$bin/pg_dump" ] && [ "$own" -lt "$major" ] || return 0
    libraries=$tree/usr/lib/x86_64-linux-gnu
    mkdir -p "$to/lib"
    for program in pg_dump pg_restore psql; do
        cp "$bin/$program" "$to/$program.bin"
        "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" --list "$bin/$program" |
            sed -nE 's/.* => ([^ ]+) .*/\1/p' | xargs cp -Lt "$to/lib"
        printf '#!/bin/sh\nexec %s --library-path %s %s "$@"\n' "$to/lib/ld-linux-x86-64.so.2" "$to/lib" \
            "$to/$program.bin" >"$to/$program"
        chmod a+rx "$to/$program"
    done
    cp -L "$libraries/ld-linux-x86-64.so.2" "$to/lib/"
    chmod -R a+rX "$to"
    export LIVEMIGRATE_CLIENT_17=$to
}

# promtool and the exporter, which install_deps.sh has fetched.
find_monitoring() {
    local fetched=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}/monitoring
    [ ! -d "$fetched" ] || cp -Rl "$fetched" "$work/monitoring" 2>/dev/null || cp -R "$fetched" "$work/monitoring"
}

# Runs a command with small file systems for the tests of full disks, and a copy of the directory of
# extensions that tests may add theirs to, in a mount namespace of its own, with which they vanish;
# without them where mounting is not allowed.
with_mounts() {
    # shellcheck disable=SC2016
    local mount_all='owner=$1 work=$2 extensions=$3; shift 3
        small_disk() {
            mkdir -p "$work/$1" && mount -t tmpfs -o "size=$2,mode=0700,uid=$owner" tmpfs "$work/$1" &&
                echo "$work/$1"
        }
        : "${LIVEMIGRATE_SMALL_DISK:=$(small_disk small_disk 8m)}"
        : "${LIVEMIGRATE_TABLE_DISK:=$(small_disk table_disk 160m)}"
        cp -R "$extensions" "$work/extension" && chown "$owner" "$work/extension" &&
            mount --bind "$work/extension" "$extensions" && LIVEMIGRATE_EXTENSIONS=$extensions
        export LIVEMIGRATE_SMALL_DISK LIVEMIGRATE_TABLE_DISK LIVEMIGRATE_EXTENSIONS
        exec "$@"'
    if unshare --mount true 2>/dev/null; then
        unshare --mount bash -c "$mount_all" mounts "$(id -u "$test_user")" "$work" \
            "$("$pg_config" --sharedir)/extension" "$@"
    else
        "$@"
    fi
}

# Runs a command in the copy, never as root, with an environment that names no other server and a
# locale that every machine has.
run_in_copy() {
    local run=(env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGDATA -u LC_ALL
        -u MAKEFLAGS -u MAKELEVEL -u MFLAGS LANG=C.UTF-8 HOME="$work" "$@")
    if [ "$(id -u)" = 0 ]; then
        run=(with_mounts runuser -u "$test_user" -- "${run[@]}")
    fi
    (cd "$work" && "${run[@]}") 2>&1 | tee "$output"
}

run_regress() {
    run_in_copy make --no-print-directory installcheck TAP_TESTS= PG_CONFIG="$pg_config"
}

# What LiveMigrate::Test takes copies of.
make_clusters() {
    local name
    for name in source target; do
        run_in_copy PATH="$bindir:$PATH" initdb -D "$work/clusters/$name" -A trust -N \
            --encoding=UTF8 --locale=C >/dev/null
    done
    export LIVEMIGRATE_CLUSTERS=$work/clusters
}

# Those that take long first, so that none of them is left alone at the end.
all_tests() {
    (cd "$root" && grep -l '^# Takes long' test/t/*.pl && grep -L '^# Takes long' test/t/*.pl)
}

# shellcheck disable=SC2046,SC2086
run_tap() {
    find_source_servers
    find_newer_clients
    find_monitoring
    make_clusters
    run_in_copy PATH="$bindir:$PATH:$work/monitoring" PERL5LIB="$pgxs_test/perl:$work/test/perl" \
        PG_REGRESS="$pgxs_test/regress/pg_regress" PG_TEST_PORT_DIR="$work/portlock" \
        TESTDIR="$work" TESTDATADIR="$work/tmp_check" TESTLOGDIR="$work/tmp_check/log" \
        prove --jobs "${PROVE_JOBS:-4}" --timer --directives ${PROVE_TESTS:-$(all_tests)}
}

# The end of each log, with its name above it.
show_logs() {
    local log
    for log in "$@"; do
        [ -s "$log" ] || continue
        echo "---- ${log#"$work"/}, last $log_lines lines"
        tail -n "$log_lines" "$log"
    done
}

show_regress_logs() {
    [ -f "$work/regression.diffs" ] && cat "$work/regression.diffs"
    show_logs "$work"/log/postmaster.log
}

# Which files failed, and what each failed test said, behind their logs and short: for whoever sees
# only the end.
show_tap_logs() {
    local test
    sed -n 's/^test\/t\/\([^ ]*\)\.pl *(Wstat.*/\1/p' "$output" | while read -r test; do
        show_logs "$work"/tmp_check/log/"$test"_*.log "$work"/tmp_check/log/regress_log_"$test"
    done
    echo "---- failed:"
    sed -n '/^Test Summary Report/,$p' "$output" | grep -vE '^-+$|Non-zero exit|^Test Summary'
    failed_tests "$output" | tail -n 30
}

# A failed test's name and place, with the first lines of what it said below.
failed_tests() {
    awk '/^ *#  +Failed test/ { wanted = 6 }
        /^# (Tests were run but|Looks like you planned)/ { print }
        wanted > 0 && /^ *#/ { print substr($0, 1, 160); wanted-- }' "$1"
}

case $suite in
regress) run_regress ;;
tap) run_tap ;;
*) echo "no such suite: $suite" >&2 && false ;;
esac
status=$?
if [ "$status" = 0 ]; then
    rm -rf "$work"
else
    case $suite in
    regress) show_regress_logs ;;
    tap) show_tap_logs ;;
    esac
    echo "$suite tests failed; their files are in $work"
fi
exit "$status"
