#!/bin/bash
# Compiles src with the server headers of other major versions: headers.sh [DIRECTORY...], -Werror.
#
# A directory is what `pg_config --includedir-server` names, or src/include of a PostgreSQL source tree
# after `./configure --without-icu && make -C src/backend generated-headers`. Without one: those under
# /usr/include/postgresql, and those of the tree of check-matrix. Nothing is linked: what is proven is
# that src/pg/compat.hpp covers the version. Headers of a distribution with a newer libc may count on its
# strlcpy(): set HAVE_DECL_STRLCPY and HAVE_DECL_STRLCAT to 0 in a copy of them. FILES takes fewer files,
# JOBS says how many at a time.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

cache=${MATRIX_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/livemigrate}
pg_config=${PG_CONFIG:-pg_config}
files=${FILES:-$(printf '%s\n' src/*.cpp src/*/*.cpp)}
[ "$#" -gt 0 ] || set -- /usr/include/postgresql/*/server "$cache"/debian-*/usr/include/postgresql/*/server

export flags="-std=c++20 -fsyntax-only -fvisibility=hidden -Wall -Wextra -Wshadow -Werror -Wno-register
    -Wno-restrict -Wno-array-bounds -Wno-stringop-overflow -Isrc -DPGDLLEXPORT= -D_GNU_SOURCE"
libpq=$("$pg_config" --includedir)
export libpq

compile() {
    # shellcheck disable=SC2086
    ${CXX:-g++} $flags -isystem "$1" -isystem "$libpq" "$2"
}
export -f compile

checked=0 failed=
for headers in "$@"; do
    [ -e "$headers/pg_config.h" ] || continue
    version=$(sed -n 's/^#define PG_VERSION "\(.*\)"/\1/p' "$headers/pg_config.h")
    echo "== headers of PostgreSQL $version"
    # shellcheck disable=SC2016
    xargs -P "${JOBS:-$(nproc)}" -I {} bash -c 'compile "$0" "$1"' "$headers" {} <<<"$files" ||
        failed+=" $version"
    checked=$((checked + 1))
done
[ "$checked" -gt 0 ] || { echo "headers: no directory with server headers" && exit 1; }
[ -z "$failed" ] || { echo "headers: FAILED:$failed" && exit 1; }
echo "headers: $checked versions compiled without warnings"
