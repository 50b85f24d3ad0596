# What the demo prints: headings, the SQL it sends, the answers; all within 100 columns.
# Sourced by run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # its variables are read by the other parts

BOLD='' DIM='' RED='' GREEN='' BLUE='' RESET=''
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' BLUE=$'\e[34m'
    RESET=$'\e[0m'
fi

now() { date +%s.%N; }

# seconds_between FROM TO
seconds_between() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.1f", to - from }'; }

# heading TITLE: opens a part of the demo, with the time since its start.
heading() {
    local clock
    clock=$(seconds_between "$DEMO_STARTED" "$(now)")
    printf '\n%s%s%s %s%*s%s\n' "$BOLD" "$1" "$RESET" "$DIM" $((92 - ${#1})) "$clock s" "$RESET"
    printf '%s%s%s\n' "$DIM" "$(printf '%.0s-' {1..95})" "$RESET"
}

say() { printf '  %s\n' "$*"; }
note() { printf '  %s%s%s\n' "$DIM" "$*" "$RESET"; }
good() { printf '  %s%s%s\n' "$GREEN" "$*" "$RESET"; }
bad() { printf '  %s%s%s\n' "$RED" "$*" "$RESET"; }
complain() { printf '%s\n' "$*" >&2; }

indent() { sed -u -e 's/[[:space:]]*$//' -e 's/^\(.\)/  \1/'; }

# show_sql SIDE SQL: the statement as it looks in psql.
show_sql() {
    local side=$1 line prompt="=#"
    while IFS= read -r line; do
        printf '  %s%s%s%s %s%s%s\n' "$BLUE" "$side" "$prompt" "$RESET" "$BOLD" "$line" "$RESET"
        prompt='-#'
    done <<<"$2"
}

# run_sql SIDE SQL [psql option...]: shows the statement, then what the server answers.
run_sql() {
    local side=$1 sql=$2
    shift 2
    show_sql "$side" "$sql"
    psql_at "$side" --pset=format=wrapped --pset=columns=96 --pset=null=- "$@" <<<"$sql" 2>&1 |
        indent
}

# query SIDE SQL [psql option...]: the bare answer, fields parted by a bar.
query() {
    local side=$1 sql=$2
    shift 2
    psql_at "$side" --quiet --tuples-only --no-align "$@" <<<"$sql"
}
