#!/bin/bash
# Builds and tests livemigrate on PostgreSQL 17 in a Debian 13 tree: matrix.sh all|hypertables [prepare].
#
# debootstrap makes the tree once, from the mirror that this machine's apt uses, in MATRIX_CACHE
# (~/.cache/livemigrate). The sources are copied into it and everything runs there, in namespaces of
# its own: whatever happens, nothing stays mounted or running. Needs root, or sudo.
#
# `all` also migrates from source servers of other versions, which source_servers.sh fetches. `prepare`
# ends with the build, and says last that the tests can start. MATRIX_DEADLINE (seconds since 1970)
# ends whatever takes long; what is not done by then is skipped.
#
# What cannot be had is skipped, each with a line that says what and why; their number is the last
# line. Debian has only the Apache edition of TimescaleDB; with the community edition installed in the
# tree by hand, its tests run, too.
set -uo pipefail

mode=${1:-all}
only_prepare=${2:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
suite=trixie
major=17
cache=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}
tree=$cache/debian-$suite
inside=/srv/livemigrate-$mode
sources_inside=/srv/matrix/source_servers
pg_config=/usr/lib/postgresql/$major/bin/pg_config
room=3000000 # in kB

packages=(g++ make perl libipc-run-perl libsimdjson-dev liblz4-dev libpq-dev
    "postgresql-$major" "postgresql-client-$major" "postgresql-server-dev-$major")
server_dev=postgresql-server-dev-$major
quick=
optional=("postgresql-$major-wal2json" "postgresql-$major-timescaledb" iproute2 locales)
case $mode in
all) suites=(extension unit-test regress-test tap-test) packages+=(cmake libgtest-dev) ;;
hypertables) suites=(extension tap-test) quick=1 ;;
*) echo "matrix: no such mode: $mode" >&2 && exit 2 ;;
esac
[ "$only_prepare" != prepare ] || suites=(extension)

skips=0
skip() {
    echo "matrix: skipped: $*"
    skips=$((skips + 1))
}

# The last line of every run.
finish() {
    echo "matrix: $skips skipped"
    exit "$1"
}

skip_everything() {
    skip "everything: $*"
    finish 0
}

# Runs a command of ours as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

is_late() {
    [ -n "${MATRIX_DEADLINE:-}" ] && [ "$(date +%s)" -ge "$MATRIX_DEADLINE" ]
}

# Runs a command of ours as root, with its children until the deadline.
as_root_in_time() {
    if [ -z "${MATRIX_DEADLINE:-}" ]; then
        as_root "$@"
    elif ! is_late; then
        as_root timeout --signal=KILL $((MATRIX_DEADLINE - $(date +%s))) "$@"
    else
        return 1
    fi
}

# What they mount and start ends with them, whatever happens.
in_namespaces() {
    as_root_in_time unshare --mount --pid --fork --kill-child --mount-proc "$@"
}

# The Debian mirror that apt takes its packages from.
mirror() {
    apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Identifier: Packages' 2>/dev/null |
        sed -n 's/^Debian Debian //p' | head -n 1
}

# Runs a command line in the tree as its root directory, with /proc and /dev of its own, and with the
# source servers. In a mere chroot tests could not make namespaces of their own.
run_inside() {
    # shellcheck disable=SC2016
    in_namespaces bash -c '
        mount --bind "$1" "$1" && mount -t proc proc "$1/proc" &&
            mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs "$1/dev/shm" &&
            mkdir -p "$3" "$1$4" "$1/.host" && mount --bind "$3" "$1$4" &&
            cd "$1" && pivot_root . .host &&
            exec chroot . /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
                LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive bash -c "umount -l /.host && $2"' \
        matrix "$tree" "$1" "$cache/source_servers" "$sources_inside"
}

apt_inside() {
    run_inside "apt-get -qq --yes -o Acquire::Retries=3 $*"
}

# A new tree gets its name only when it is complete.
make_tree() {
    local from
    [ ! -x "$tree/usr/bin/apt-get" ] || return 0
    command -v debootstrap >/dev/null ||
        skip_everything "debootstrap is not installed (make deps-matrix installs it)"
    from=$(mirror)
    [ -n "$from" ] || skip_everything "apt's configuration names no Debian mirror"
    echo "matrix: making a Debian tree ($suite) in $tree"
    as_root mkdir -p "$cache"
    [ "$(df --output=avail "$cache" | tail -n 1)" -ge "$room" ] ||
        skip_everything "$cache has less than $((room / 1000000)) GB of room"
    as_root rm -rf "$tree.partial"
    if ! in_namespaces debootstrap --variant=minbase --include=ca-certificates "$suite" \
        "$tree.partial" "$from" >"$cache/debootstrap.log" 2>&1; then
        tail -n 5 "$cache/debootstrap.log"
        as_root rm -rf "$tree.partial"
        skip_everything "debootstrap could not make a tree$(is_late && echo ' in time') (see above)"
    fi
    # Nothing of it has to survive a power cut, no service is to start, no cluster to be made.
    as_root mkdir -p "$tree.partial/etc/postgresql-common/createcluster.d"
    echo 'force-unsafe-io' | as_root tee "$tree.partial/etc/dpkg/dpkg.cfg.d/matrix" >/dev/null
    printf '%s\n' 'path-exclude /usr/share/doc/*' 'path-exclude /usr/share/man/*' \
        'path-exclude /usr/share/locale/*' |
        as_root tee -a "$tree.partial/etc/dpkg/dpkg.cfg.d/matrix" >/dev/null
    echo 'create_main_cluster = false' |
        as_root tee "$tree.partial/etc/postgresql-common/createcluster.d/matrix.conf" >/dev/null
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$tree.partial/usr/sbin/policy-rc.d" >/dev/null
    as_root chmod +x "$tree.partial/usr/sbin/policy-rc.d"
    as_root mv "$tree.partial" "$tree"
}

# Whether the tree has the package, set up.
has() {
    if [ "$1" = "$server_dev" ]; then
        [ -e "$tree/usr/include/postgresql/$major/server/postgres.h" ]
    else
        awk -v package="$1" '$1 == "Package:" { name = $2 }
            $1 == "Status:" && name == package { found = $NF == "installed" }
            END { exit !found }' "$tree/var/lib/dpkg/status"
    fi
}

# Without what it depends on: that is 0.6 GB of LLVM, for bitcode that is not made here.
unpack_server_dev() {
    run_inside "cd /tmp && rm -f $server_dev*.deb && apt-get -qq download $server_dev &&
        dpkg-deb --extract $server_dev*.deb / && rm $server_dev*.deb"
}

install_packages() {
    local package wanted=() with_apt=()
    for package in "${packages[@]}" "${optional[@]}"; do
        has "$package" || wanted+=("$package")
    done
    [ "${#wanted[@]}" -gt 0 ] || return 0
    echo "matrix: installing ${wanted[*]}"
    mapfile -t with_apt < <(printf '%s\n' "${wanted[@]}" | grep -vx "$server_dev")
    run_inside 'dpkg --configure -a' >/dev/null 2>&1
    apt_inside update >/dev/null 2>&1
    # All at once; one by one only to find which it is.
    if ! apt_inside install --no-install-recommends "${with_apt[*]}" >"$cache/apt.log" 2>&1; then
        for package in "${with_apt[@]}"; do
            apt_inside install --no-install-recommends "$package" >>"$cache/apt.log" 2>&1
        done
    fi
    has "$server_dev" || unpack_server_dev >>"$cache/apt.log" 2>&1
    run_inside 'apt-get clean'
    for package in "${packages[@]}"; do
        has "$package" || {
            grep '^E:' "$cache/apt.log" | tail -n 3
            skip_everything "$package cannot be installed in the tree$(is_late && echo ' in time')"
        }
    done
}

name_missing_packages() {
    for package in "${optional[@]}"; do
        has "$package" || skip "$package: $suite has no such package, or it could not be installed"
    done
}

# Once fetched they are found by the tests, which take part in tap-test with them.
fetch_source_servers() {
    local line
    while IFS= read -r line; do
        skip "${line#skipped: }"
    done < <(MATRIX_CACHE=$cache "$root/test/source_servers.sh" fetch)
}

# The files of the source tree, for a new build those that changed only.
copy_sources() {
    local target=$tree$inside file
    as_root mkdir -p "$target"
    as_root chown "$(id -u)" "$target"
    (cd "$root" && git ls-files --cached --others --exclude-standard 2>/dev/null ||
        find . -type f ! -path './.git/*' ! -name '*.o' ! -name '*.gch' | sed 's|^\./||') |
        sort >"$target/.files.new"
    if [ -e "$target/.files" ]; then
        comm -23 "$target/.files" "$target/.files.new" | while IFS= read -r file; do
            rm -f "${target:?}/$file"
        done
    fi
    while IFS= read -r file; do
        if [ -f "$root/$file" ] && ! cmp -s "$root/$file" "$target/$file"; then
            mkdir -p "$(dirname "$target/$file")"
            cp "$root/$file" "$target/$file"
        fi
    done <"$target/.files.new"
    mv "$target/.files.new" "$target/.files"
}

# From prove's output: whole files, source servers, and tests within files, a line for each reason.
skipped_tests() {
    [ -e "$1" ] || return 0
    sed -nE 's/^(\[[0-9:]+\] )?(test\/t\/[^ ]+) \.* skipped: (.*)$/\2: \3/p; s/^# skipped: //p' "$1"
    sed -nE 's/^ok [0-9]+ # skip //p' "$1" | sort | uniq -c | sed -E 's/^ *([0-9]+) (.*)/tests: \2 (\1)/'
}

run_suites() {
    local name failed= tests=()
    [ "$mode" != hypertables ] || mapfile -t tests < <(cd "$root" && grep -l LiveMigrate::Hypertables test/t/*.pl)
    for name in "${suites[@]}"; do
        echo "== PostgreSQL $major: $name"
        run_inside "cd $inside && make $name QUICK=$quick PG_CONFIG=$pg_config PROVE_JOBS=${PROVE_JOBS:-2} \
            MATRIX_CACHE=${sources_inside%/*} ${tests[*]:+PROVE_TESTS='${tests[*]}'}" 2>&1 | tee "$cache/$name.log" |
            grep --line-buffered -vE '^(g\+\+|gcc|/usr/bin/(install|mkdir)|\[ *[0-9]+%\])'
        if [ "${PIPESTATUS[0]}" != 0 ]; then
            failed+=" $name"
            [ "$name" != extension ] || break
        fi
    done
    while IFS= read -r name; do
        skip "$name"
    done < <(skipped_tests "$cache/tap-test.log")
    if [ -n "$failed" ] && is_late && ! grep -qE 'Dubious|Failed [0-9]+/' "$cache/$name.log"; then
        skip "what was not done in time:$failed"
        finish 0
    elif [ -n "$failed" ]; then
        echo "matrix: FAILED on PostgreSQL $major:$failed"
        finish 1
    fi
}

if [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; then
    skip_everything "making and entering a tree takes root"
fi
if ! as_root unshare --mount --pid --fork true 2>/dev/null; then
    skip_everything "this machine does not let root make namespaces"
fi
make_tree
install_packages
name_missing_packages
[ "$mode" != all ] || fetch_source_servers
copy_sources
rm -f "$cache/tap-test.log"
run_suites
[ "$only_prepare" != prepare ] || echo "matrix: prepared"
finish 0
