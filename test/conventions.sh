#!/bin/bash
# Checks the rules of CONTRIBUTING.md that need no compiler; prints each breach as file:line: rule.
set -uo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1

max_lines=600
floors="core pg source stage control api" # from the lowest up
stages="preflight roles schema copy index receive apply cutover"
breaches=$(mktemp)
trap 'rm -f "$breaches"' EXIT

# Passes what comes in as "file:line:text" on as a breach of the rule.
breach() {
    sed -E "s|^([^:]+:[0-9]+):.*|\1: $1|" >>"$breaches"
}

# The #include lines under the paths, as file:line:text.
includes() {
    grep -rHnE --include='*.?pp' '^[[:space:]]*#[[:space:]]*include\b' "$@" 2>/dev/null
}

check_server_headers() {
    local server='[<"](postgres(_fe|_ext)?\.h|libpq-fe\.h|fmgr\.h|(access|catalog|commands|executor|funcapi|libpq|nodes|parser|postmaster|replication|storage|utils)/[^"]*\.h)'
    includes src/core test/unit test/fuzz | grep -E "$server" |
        breach "core knows neither the server's headers nor libpq's"
    includes src/source src/stage src/control | grep -E '[<"]postgres\.h' |
        breach "postgres.h is included under src/pg and src/api only, by pg/prelude.hpp elsewhere"
    includes src | grep -vE '^src/(pg|source)/' | grep -E '[<"]libpq-fe\.h' |
        breach "libpq is used under src/source only"
    grep -rHnE --include='*.?pp' '\bPG_VERSION_NUM\b' src | grep -v '^src/pg/compat' |
        breach "differences between server versions stand in src/pg/compat.hpp"
    grep -rHnE --include='*.?pp' \
        'kBuiltForVersion *([<>]|[!=]=)|([<>]|[<>!=]=) *(pg::)?kBuiltForVersion' src |
        grep -v '^src/pg/compat' |
        breach "what kBuiltForVersion is compared for has a name in src/pg/compat.hpp"
}

check_floors() {
    local floor below=
    for floor in $floors; do
        includes "src/$floor" | grep -E "\"(${floors// /|})/" |
            grep -vE "\"($below$floor)/" |
            breach "the floor $floor includes only itself and those below: $floors"
        below+="$floor|"
    done
}

# The files of a stage begin with its word; what has another name is shared by the stages.
check_stages() {
    local line own header
    includes src/stage | while IFS= read -r line; do
        own=$(sed -E 's|^src/stage/([a-z]+).*|\1|' <<<"$line")
        header=$(sed -nE 's|.*"stage/([a-z]+).*|\1|p' <<<"$line")
        [[ " $stages " != *" ${header:-none} "* || $header == "$own" ]] || echo "$line"
    done | breach "stages do not include each other"
}

check_regress() {
    local name input output
    for input in sql/*.sql; do
        name=$(basename "$input" .sql)
        [[ $name == livemigrate--* || -f expected/$name.out ]] ||
            echo "$input:1:" | breach "expected/$name.out is missing"
    done
    for output in expected/*.out; do
        name=$(basename "$output" .out)
        [[ $name == '*' || -f sql/$name.sql || -f sql/${name%_[0-9]}.sql ]] ||
            echo "$output:1:" | breach "sql/$name.sql is missing"
    done
}

check_tests() {
    local number
    for number in $(printf '%s\n' test/t/*.pl | sed -nE 's|^test/t/([0-9]+)_.*|\1|p' | uniq -d); do
        echo "test/t/${number}_:1:" | breach "two tests have the number $number"
    done
}

check_sizes() {
    local file lines
    find src test demo bench tools \( -name '*.?pp' -o -name '*.p[lm]' -o -name '*.sh' \) \
        2>/dev/null |
        while IFS= read -r file; do
            lines=$(wc -l <"$file")
            [ "$lines" -le "$max_lines" ] ||
                echo "$file:$lines:" | breach "longer than $max_lines lines"
        done
}

# One version, wherever it stands.
check_version() {
    local version
    version=$(sed -nE "s/^default_version = '(.*)'/\1/p" livemigrate.control)
    grep -q "kVersion = \"$version\"" src/core/version.hpp ||
        echo "src/core/version.hpp:1:" | breach "kVersion is not $version"
    grep -q "\"version\": \"$version\"" META.json ||
        echo "META.json:1:" | breach "the version is not $version"
    [ -f "sql/livemigrate--$version.sql" ] ||
        echo "livemigrate.control:2:" | breach "sql/livemigrate--$version.sql is missing"
}

# Each check_id that the sources give out has its row in the reference, and the other way round.
check_check_ids() {
    local id
    comm -3 \
        <(cat src/stage/preflight*.cpp | tr '\n' ' ' |
            grep -oE '\brun_?\.(Ok|Notice|Warning|Fail)\( *"[a-z_]+"' |
            sed -E 's/.*"([a-z_]+)"/\1/' | sort -u) \
        <(sed -n '/^## Checks/,/^## SQLSTATEs/p' doc/reference.md |
            sed -nE 's/^\| `([a-z_]+)` \| .*/\1/p' | grep -vx check_id | sort -u) | tr -d '\t' |
        while IFS= read -r id; do
            echo "doc/reference.md:1:" | breach "check $id stands in the sources or in the reference only"
        done
}

check_server_headers
check_check_ids
check_floors
check_stages
check_regress
check_tests
check_sizes
check_version

if [ -s "$breaches" ]; then
    sort -u "$breaches"
    echo "conventions: $(sort -u "$breaches" | wc -l) breaches, see CONTRIBUTING.md"
    exit 1
fi
echo "conventions: kept"
