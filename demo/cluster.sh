# Two throw-away PostgreSQL clusters, "source" and "target". Sourced by run.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034  # its variables are read by the other parts

# The servers' user: initdb refuses to run as root.
if [[ $(id -u) == 0 ]]; then
    SERVER_USER=${DEMO_USER:-postgres}
else
    SERVER_USER=$(id -un)
fi

declare -A PORT=()

as_server_user() {
    if [[ $(id -u) == 0 ]]; then
        (cd "$WORK" && runuser -u "$SERVER_USER" -- "$@")
    else
        "$@"
    fi
}

# psql_at SIDE [psql option...]: SQL from standard input, as superuser through the Unix socket.
psql_at() {
    local side=$1
    shift
    "$BINDIR/psql" --no-psqlrc --set=ON_ERROR_STOP=1 --host="$WORK/socket" \
        --port="${PORT[$side]}" --username=postgres --dbname="$DATABASE" "$@"
}

# The directory is private (mode 0700), so the sockets in it may trust whoever can open them.
make_work_directory() {
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/livemigrate-demo.XXXXXX")
    mkdir "$WORK/socket" "$WORK/log"
    if [[ $(id -u) == 0 ]]; then
        chown -R "$SERVER_USER" "$WORK"
    fi
}

remove_work_directory() {
    [[ -n ${WORK:-} && -d $WORK ]] || return 0
    if [[ ${KEEP:-0} == 1 ]]; then
        say "KEEP=1: data directories and logs stay in $WORK"
    else
        rm -rf "$WORK"
    fi
}

port_is_free() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    for _ in {1..50}; do
        port=$((20000 + RANDOM % 12000))
        if port_is_free "$port"; then
            echo "$port"
            return
        fi
    done
    complain "no free TCP port found on 127.0.0.1"
    return 1
}

# server_knows SIDE SETTING
server_knows() {
    as_server_user "$BINDIR/postgres" -D "$WORK/$1" -C "$2" >/dev/null 2>&1
}

init_cluster() {
    local side=$1
    as_server_user "$BINDIR/initdb" --pgdata="$WORK/$side" --username=postgres --encoding=UTF8 \
        --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 --no-sync \
        >"$WORK/log/initdb.$side.log" 2>&1 || {
        complain "initdb failed:"
        tail -n 5 "$WORK/log/initdb.$side.log" >&2
        return 1
    }
    configure "$side" <<END
listen_addresses = '127.0.0.1'
unix_socket_directories = '$WORK/socket'
max_wal_size = '2GB'
END
}

# configure SIDE: appends standard input to the cluster's postgresql.conf.
configure() { as_server_user tee -a "$WORK/$1/postgresql.conf" >/dev/null; }

configure_source() {
    configure source <<<"wal_level = logical"
    # Recent minor releases load only the output plugins that are listed.
    if server_knows source output_plugin_libraries; then
        configure source <<<"output_plugin_libraries = 'pgoutput, test_decoding, wal2json'"
    fi
}

# Worker settings stay at their defaults: eight worker processes in all.
configure_target() { configure target <<<"shared_preload_libraries = 'livemigrate'"; }

# Another process may take the port between the look and the start, hence more than one try.
start_cluster() {
    local side=$1
    for _ in 1 2 3; do
        PORT[$side]=$(free_port)
        if as_server_user "$BINDIR/pg_ctl" --pgdata="$WORK/$side" --log="$WORK/log/$side.log" \
            --options="-p ${PORT[$side]}" --wait --timeout=60 start >/dev/null 2>&1; then
            return
        fi
    done
    complain "the $side server does not start:"
    tail -n 5 "$WORK/log/$side.log" >&2
    return 1
}

stop_cluster() {
    local side=$1 mode
    [[ -f ${WORK:-}/$side/postmaster.pid ]] || return 0
    for mode in fast immediate; do
        as_server_user "$BINDIR/pg_ctl" --pgdata="$WORK/$side" --mode="$mode" --timeout=30 stop \
            >/dev/null 2>&1 && return 0
    done
    complain "the $side server in $WORK/$side does not stop"
}

make_clusters() {
    make_work_directory
    init_cluster source &
    init_cluster target
    wait $!
    configure_source
    configure_target
    start_cluster source
    start_cluster target
    local side
    for side in source target; do
        DATABASE=postgres psql_at "$side" --quiet <<<"CREATE DATABASE $DATABASE"
    done
    say "source  $(server_line source)  wal_level = logical"
    say "target  $(server_line target)  shared_preload_libraries = livemigrate"
}

server_line() {
    query "$1" "SELECT format('127.0.0.1:%s  database %s  PostgreSQL %s', current_setting('port'),
                              current_database(), current_setting('server_version_num')::int / 10000
                              || '.' || current_setting('server_version_num')::int % 10000)"
}
