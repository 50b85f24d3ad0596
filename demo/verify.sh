# The demo's own comparison, which uses nothing of the extension. Sourced by run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # its variables are read by the other parts

DIFFERENCES=0

# fingerprint SIDE: hashes of all data, and all definitions, sorted.
fingerprint() {
    local side=$1 part
    for part in data schema; do
        psql_at "$side" --quiet --tuples-only --no-align --field-separator=$'\t' \
            --file="$DEMO/fingerprint_$part.sql" | LC_ALL=C sort >"$WORK/$part.$side"
    done
}

fingerprint_both() {
    fingerprint source &
    fingerprint target
    wait $!
}

# one_kind PART SIDE KIND: the lines of one kind of object.
one_kind() { awk -F'\t' -v kind="$3" '$1 == kind' "$WORK/$1.$2"; }

count_lines() { wc -l | tr -d ' '; }

# The third field of the data's lines: rows, or the bytes of a large object.
sum_of() { awk -F'\t' '{ sum += $3 } END { printf "%.0f", sum }'; }

# group_digits NUMBER: 1234567 becomes 1 234 567.
group_digits() { sed -e ':a' -e 's/^\([0-9]\{1,\}\)\([0-9]\{3\}\)/\1 \2/' -e 'ta' <<<"$1"; }

# describe PART SIDE KIND UNIT: how much there is of it.
describe() {
    local lines
    lines=$(one_kind "$1" "$2" "$3")
    if [[ -z $lines ]]; then
        echo 0
    elif [[ -z $4 ]]; then
        count_lines <<<"$lines"
    else
        printf '%s, %s %s' "$(count_lines <<<"$lines")" \
            "$(group_digits "$(sum_of <<<"$lines")")" "$4"
    fi
}

# compare_kind TITLE PART KIND [UNIT]
compare_kind() {
    local title=$1 part=$2 kind=$3 unit=${4:-} verdict="${GREEN}equal$RESET"
    if ! cmp -s <(one_kind "$part" source "$kind") <(one_kind "$part" target "$kind"); then
        verdict="${RED}DIFFERENT$RESET"
        DIFFERENCES=$((DIFFERENCES + 1))
    fi
    printf '  %-28s %24s %24s   %s\n' "$title" "$(describe "$part" source "$kind" "$unit")" \
        "$(describe "$part" target "$kind" "$unit")" "$verdict"
}

show_differences() {
    local part
    for part in data schema; do
        diff "$WORK/$part.source" "$WORK/$part.target" | grep '^[<>]' | head -n 20 |
            sed -e 's/^</source/' -e 's/^>/target/' | tr '\t' ' ' | cut -c 1-96 | indent || true
    done
}

compare_fingerprints() {
    printf '  %s%-28s %24s %24s%s\n' "$DIM" '' source target "$RESET"
    compare_kind 'tables, leaf by leaf' data table rows
    compare_kind 'materialized views' data 'materialized view' rows
    compare_kind 'large objects' data 'large object' bytes
    compare_kind 'sequences, their positions' data sequence
    compare_kind 'columns' schema column
    compare_kind 'tables and partition bounds' schema table
    compare_kind 'keys and checks' schema constraint
    compare_kind 'foreign keys' schema 'foreign key'
    compare_kind 'indexes, valid' schema index
    compare_kind 'triggers' schema trigger
    compare_kind 'views' schema view
    compare_kind 'functions' schema function
    compare_kind 'types' schema type
    compare_kind 'sequences, definitions' schema sequence
    compare_kind 'extended statistics' schema statistics
    compare_kind 'comments' schema comment
    compare_kind 'roles' schema role
}

# The sum of all wallets never changes, and the ledger explains the balance of each.
check_books() {
    local books
    books=$(query target "SELECT sum(balance) || ' in ' || count(*) || ' wallets, '
                                 || count(*) FILTER (WHERE balance <> explained) || ' unexplained'
                            FROM shop.books")
    if [[ $books == '2000000.00 in 2000 wallets, 0 unexplained' ]]; then
        say "the ledger balances on the target: $books"
    else
        bad "the ledger does not balance on the target: $books"
        DIFFERENCES=$((DIFFERENCES + 1))
    fi
}

# What the application was told is committed has to be on the target, no more and no less.
check_acknowledged() {
    local acknowledged found
    acknowledged=$(acknowledged_transactions)
    found=$(count_transactions target)
    if [[ $acknowledged == "$found" ]]; then
        say "transactions acknowledged to the application: $(group_digits "$acknowledged")," \
            "all found on the target"
    else
        bad "transactions acknowledged to the application: $acknowledged, on the target: $found"
        DIFFERENCES=$((DIFFERENCES + 1))
    fi
}

# The target's materialized views were refreshed at cutover, after the last write; so must the
# source's be before they can be compared.
verify() {
    local started
    started=$(now)
    psql_at source --quiet <<<"REFRESH MATERIALIZED VIEW shop.takings"
    fingerprint_both
    compare_fingerprints
    check_books
    check_acknowledged
    note "compared in $(seconds_between "$started" "$(now)") s"
    if ((DIFFERENCES > 0)); then
        show_differences
    fi
}
