#!/bin/bash
# Installs with apt what building, testing and the demo need (Debian 12 and 13); `make deps`.
#
# Takes well under two seconds and no network when everything is there. Otherwise installs what is
# missing, without creating or starting a cluster. The server is brought to the version of its
# development package where they differ, since an extension is built for one minor release or
# newer. With argument `matrix`: only what making a Debian tree takes, for `make check-matrix`; with
# `demo`: without what only tests take.
#
# PG_CONFIG names the server to build for; one that was not installed by Debian's packages
# is left alone, and so are its wal2json and client programs.
set -euo pipefail

pg_config=${PG_CONFIG:-pg_config}
cluster_dropin=/etc/postgresql-common/createcluster.d/livemigrate.conf

say() { echo "deps: $*"; }

die() {
    say "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Sets `versions` to the versions of those of the packages that are installed. One call for all:
# this is what `make deps` costs when there is nothing to do.
declare -A versions
read_versions() {
    local status package version
    versions=()
    while read -r status package version; do
        if [ "$status" = installed ]; then
            versions[$package]=$version
        fi
    done < <(dpkg-query --show --showformat '${db:Status-Status} ${Package} ${Version}\n' "$@" 2>/dev/null)
}

# Whether all of the packages are installed, in one version.
are_alike() {
    local package first=${versions[$1]:-}
    for package in "$@"; do
        [[ -n $first && ${versions[$package]:-} = "$first" ]] || return 1
    done
}

# The PostgreSQL major version to build for: that of PG_CONFIG, else the distribution's own.
server_major() {
    local version
    version=$("$pg_config" --version 2>/dev/null || true)
    if [[ $version =~ ^PostgreSQL\ ([0-9]+) ]]; then
        echo "${BASH_REMATCH[1]}"
        return
    fi
    # shellcheck disable=SC1091
    . /etc/os-release
    case ${ID:-}:${VERSION_ID:-} in
    debian:12) echo 15 ;;
    debian:13) echo 17 ;;
    *) apt-cache show postgresql 2>/dev/null | sed -n 's/^Version: \([0-9]*\)+.*/\1/p' | head -n 1 ;;
    esac
}

# Whether PG_CONFIG belongs to a complete server that Debian's packages did not install.
has_own_server() {
    local pgxs
    pgxs=$("$pg_config" --pgxs 2>/dev/null) || return 1
    [[ -f $pgxs && $pgxs != /usr/lib/postgresql/* ]]
}

# Installs or upgrades the packages. Debian would create and start a cluster along with a server
# that was not there before; nobody asked for one.
install_packages() {
    local restore=false
    say "installing $*"
    if [ ! -e "$cluster_dropin" ]; then
        as_root mkdir -p "${cluster_dropin%/*}"
        echo 'create_main_cluster = false' | as_root tee "$cluster_dropin" >/dev/null
        restore=true
    fi
    as_root apt-get update -qq || say "apt-get update reported errors; trying what is known"
    local status=0
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends \
        -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@" || status=$?
    if $restore; then
        as_root rm -f "$cluster_dropin"
    fi
    [ "$status" = 0 ] || die "apt-get could not install $*"
}

# For tests that are skipped without them: definitions of locales, a browser for the report, and the
# programs that read the monitoring kit. These come out of their packages without being installed, since installed they would
# be services that start. What cannot be had is said, and is no failure.
monitoring_dir=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}/monitoring

install_for_tests() {
    read_versions chromium locales
    [ -n "${versions[locales]:-}" ] || (install_packages locales) ||
        say "no locales: amounts of money are not tested in others than C"
    [ -n "${versions[chromium]:-}" ] || (install_packages chromium) ||
        say "no chromium: the report is not tested in a browser"
    local missing=() program
    for program in promtool prometheus-postgres-exporter; do
        command -v "$program" >/dev/null || [ -x "$monitoring_dir/$program" ] || missing+=("$program")
    done
    [ "${#missing[@]}" = 0 ] || fetch_monitoring ||
        say "no ${missing[*]}: parts of the monitoring kit are not tested"
}

fetch_monitoring() {
    local scratch package status=0
    say "fetching promtool and prometheus-postgres-exporter"
    scratch=$(mktemp -d) && mkdir -p "$monitoring_dir" || return 1
    (
        cd "$scratch" &&
            apt-get download -qq -o APT::Sandbox::User=root prometheus prometheus-postgres-exporter &&
            for package in *.deb; do dpkg-deb --extract "$package" . || exit; done &&
            mv usr/bin/promtool usr/bin/prometheus-postgres-exporter "$monitoring_dir"
    ) || status=1
    rm -rf "$scratch"
    return $status
}

main() {
    if ! command -v apt-get dpkg-query >/dev/null; then
        say "not a Debian system; needed are PostgreSQL with its development files and wal2json," \
            "simdjson, LZ4, GoogleTest, CMake, a C++20 compiler, clang with libFuzzer, and Perl" \
            "with IPC::Run"
        return
    fi

    if [ "${1:-}" = matrix ]; then
        command -v debootstrap >/dev/null || install_packages debootstrap
        return
    fi

    local packages=(g++ make cmake perl libipc-run-perl libsimdjson-dev liblz4-dev libgtest-dev
        libpq-dev clang libclang-rt-dev)
    local server=() major needed=()
    if ! has_own_server; then
        major=$(server_major)
        [ -n "$major" ] || die "cannot tell the PostgreSQL version; set PG_CONFIG"
        server=("postgresql-$major" "postgresql-client-$major" "postgresql-server-dev-$major")
        packages+=("postgresql-$major-wal2json")
    fi

    read_versions "${packages[@]}" "${server[@]}"
    local package
    for package in "${packages[@]}"; do
        [ -n "${versions[$package]:-}" ] || needed+=("$package")
    done
    if [ "${#server[@]}" -gt 0 ] && ! are_alike "${server[@]}"; then
        needed+=("${server[@]}")
    fi
    if [ "${#needed[@]}" -gt 0 ]; then
        install_packages "${needed[@]}"
    fi
    [ "${1:-}" = demo ] || install_for_tests
}

main "$@"
