# Two servers, a source and a target, and the calls of livemigrate between them.
#
# A LiveMigrate::Test object is one database on both servers and (by default) one migration between
# them; database() gives another such object on the same two servers.  Everything waits by polling
# or by CALL livemigrate.migration_wait(), never by sleeping for a guessed time.
#
# SQL and results are byte strings in UTF-8, so test files need no "use utf8".
package LiveMigrate::Test;

use strict;
use warnings;

BEGIN {
    # prove under PGXS passes all this; filling it in lets a file run by itself as well.
    my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
    chomp(my $pgxs   = `$pg_config --pgxs`);
    chomp(my $bindir = `$pg_config --bindir`);
    my ($makefiles) = $pgxs =~ m{^(.*)/[^/]+$};
    push @INC, "$makefiles/../../src/test/perl";
    $ENV{PATH} = "$bindir:$ENV{PATH}" unless ":$ENV{PATH}:" =~ /:\Q$bindir\E:/;
    $ENV{PG_REGRESS} ||= "$makefiles/../test/regress/pg_regress";

    # The port reservation directory must be writable; top_builddir of an installed PGXS is not.
    delete $ENV{top_builddir};

    $ENV{PG_TEST_TIMEOUT_DEFAULT} ||= 180;
    $ENV{PGCTLTIMEOUT}            ||= 180;
}

use parent qw(LiveMigrate::Compare LiveMigrate::Ledger);

use FindBin  ();
use IPC::Run ();
use JSON::PP ();
use List::Util qw(min);
use LiveMigrate::Sessions qw(close_sessions is_shared);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

# Until a statement counts as hanging, in seconds; a busy machine is no reason.
my $most_seconds = 300;

# What runs in the background: psql sessions and pgbench, ended at the end whatever happens.
my @background;

# The sessions of the poll that goes on, by server and database, from its second look on.
our $looking_again;

END {
    my $exit_code = $?;
    eval { $_->kill_kill(grace => 1) } for map { $_->{run} } @background;
    $? = $exit_code;
}

# Options: preload (default 1), dbname, migration, encoding, source_conf, target_conf,
# max_worker_processes (of the target; undef leaves PostgreSQL's default), source_install (another
# version, see LiveMigrate::SourceServer).
sub new {
    my ($class, %opt) = @_;
    my $self = bless {
        dbname    => $opt{dbname}    // 'app',
        migration => $opt{migration} // 'main', }, $class;

    my $common = "max_connections = 60\nshared_buffers = 32MB\nrestart_after_crash = on\n"
        . "fsync = off\nlog_min_messages = info\n";
    $self->{source_conf} = $common . ($opt{source_conf} // '');
    $self->{source} = _make_node('source', 'logical', $self->{source_conf}, $opt{source_install});

    my $workers = exists $opt{max_worker_processes} ? $opt{max_worker_processes} : 24;
    $common .= "max_worker_processes = $workers\n"          if defined $workers;
    # Small segments, so that the spool rotates and is pruned in small tests too.
    $common .= "shared_preload_libraries = 'livemigrate'\nlivemigrate.spool_segment_size = 1MB\n"
      . "livemigrate.status_interval = 100ms\n"
      if $opt{preload} // 1;
    $self->{target} = _make_node('target', 'replica', $common . ($opt{target_conf} // ''));

    _allow_wal2json($self->{source});
    $self->_create_database(%opt);
    return $self;
}

sub _make_node {
    my ($name, $streaming, $conf, $install) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name, $install ? (install_path => $install) : ());
    _init($node, $install ? '' : $name, $streaming);
    $node->append_conf('postgresql.conf', $conf);
    $node->start;
    return $node;
}

# A copy of the cluster that server_tests.sh has made for all test files, where it takes one of that
# name: initdb is a good part of a short test's time. The second of a name in a file is a cluster of
# its own, with another system identifier.
my %copied;

sub _init {
    my ($node, $name, $streaming) = @_;
    my @how      = (allows_streaming => $streaming, extra => [ '--encoding=UTF8', '--locale=C' ]);
    my $template = ($ENV{LIVEMIGRATE_CLUSTERS} // '') . "/$name";
    return $node->init(@how) if !length $name || !-d $template || $copied{$name}++;

    my $run = \&PostgreSQL::Test::Utils::system_or_bail;
    no warnings 'redefine';
    local *PostgreSQL::Test::Utils::system_or_bail = sub {
        $run->($_[0] eq 'initdb' ? ('cp', '-R', $template, $node->data_dir) : @_);
    };
    return $node->init(@how);
}

# Minor releases of 2026 load only the output plugins that are listed; older ones lack the setting.
sub _allow_wal2json {
    my ($node) = @_;
    my $known = "SELECT count(*) FROM pg_settings WHERE name = 'output_plugin_libraries'";
    return unless $node->safe_psql('postgres', $known);
    $node->append_conf('postgresql.conf',
        "output_plugin_libraries = 'pgoutput, test_decoding, wal2json'");
    $node->reload;
    $node->poll_query_until('postgres',
        "SELECT current_setting('output_plugin_libraries') ~ 'wal2json'") or
        die "the source did not take output_plugin_libraries";
}

# Another database on the same servers; the migration is named like it.
sub database {
    my ($self, $dbname, %opt) = @_;
    my $other = bless { %$self, dbname => $dbname, migration => $opt{migration} // $dbname },
        ref $self;
    $other->_create_database(%opt);
    return $other;
}

# A database like that of database(), on a new source server of another version.
sub other_source {
    my ($self, $install, $dbname, %opt) = @_;
    my $node = _make_node("source_$dbname", 'logical', $self->{source_conf}, $install);
    _allow_wal2json($node);
    return (bless { %$self, source => $node }, ref $self)->database($dbname, %opt);
}

sub _create_database {
    my ($self, %opt) = @_;
    my $name     = quote_identifier($self->{dbname});
    my %encoding = (
        source => $opt{encoding}        // 'UTF8',
        target => $opt{target_encoding} // 'UTF8');
    my %ctype = (source => 'C', target => $opt{target_ctype} // 'C');
    for my $side (qw(source target)) {
        $self->{$side}->safe_psql('postgres',
                  "CREATE DATABASE $name TEMPLATE template0 ENCODING '$encoding{$side}'"
                . " LC_COLLATE '" . ($opt{collate} // 'C') . "' LC_CTYPE '$ctype{$side}'");
    }
    $self->target_sql('CREATE EXTENSION livemigrate');
}

# Makes locales in UTF-8 for the servers that are started from now on. Returns the name of one of which
# this machine has no definition.
sub make_locales {
    my $directory = PostgreSQL::Test::Utils::tempdir();
    for my $locale (@_) {
        my @make = (qw(localedef --quiet --no-archive -f UTF-8 -i), $locale, "$directory/$locale.UTF-8");
        return $locale if system(@make) != 0;
        symlink "$locale.UTF-8", "$directory/$locale.utf8"; # as the system's own are called
    }
    $ENV{LOCPATH} = "$directory:/usr/lib/locale";
    return;
}

sub source { return $_[0]{source} }
sub target { return $_[0]{target} }
sub dbname { return $_[0]{dbname} }
sub name   { return $_[0]{migration} }

sub quote_identifier {
    my ($name) = @_;
    return '"' . ($name =~ s/"/""/gr) . '"';
}

sub quote_literal {
    my ($value) = @_;
    my $quoted  = $value =~ s/'/''/gr;
    return $value =~ /\\/ ? "E'" . ($quoted =~ s/\\/\\\\/gr) . "'" : "'$quoted'";
}

# A libpq connection string to the source; every value quoted, so odd characters are safe.
sub conninfo {
    my ($self, %override) = @_;
    my %part = (
        host   => $self->source->host,
        port   => $self->source->port,
        dbname => $self->dbname,
        user   => scalar getpwuid($<),
        %override);
    return join ' ', map { "$_='" . ($part{$_} =~ s/([\\'])/\\$1/gr) . "'" }
        grep { defined $part{$_} } sort keys %part;
}

# A statement that hangs ends the test, not the patience of whoever waits for it.
sub source_sql {
    my ($self, $sql) = @_;
    return $self->_sql($self->source, $self->dbname, $sql);
}

sub target_sql {
    my ($self, $sql) = @_;
    return $self->_sql($self->target, $self->dbname, $sql);
}

# What poll() asks again, and what LiveMigrate::Sessions does not share, goes through one session,
# which lasts as long as the poll. What fails there is asked as usual.
sub _sql {
    my ($self, $node, $dbname, $sql) = @_;
    if ($looking_again && !is_shared($node, $sql, {})) {
        my $session = \$looking_again->{ $node->name . "/$dbname" };
        my $answer  = eval {
            $$session //= $self->session($node, undef, $dbname);
            $$session->query_safe($sql);
        };
        return $answer if defined $answer;
        $self->end_session($$session) if $$session;
        $$session = undef;
    }
    return $node->safe_psql($dbname, $sql, timeout => $most_seconds);
}

# Runs a statement on the target that should fail; gives sqlstate, message, detail, hint, or an
# empty hash if it succeeded.
sub target_error {
    my ($self, $sql) = @_;
    my ($rc, $out, $err)
        = $self->target->psql($self->dbname, $sql,
        timeout      => $most_seconds,
        extra_params => [ '-v', 'VERBOSITY=verbose', '-v', 'SHOW_CONTEXT=never' ]);
    return {} if $rc == 0;
    my $end   = qr/(?=\n(?:DETAIL|HINT|CONTEXT|QUERY|LOCATION|LINE \d+):|\z)/;
    my %error = (all => $err, sqlstate => '', message => $err, detail => '', hint => '');
    @error{qw(sqlstate message)} = ($1, $2) if $err =~ /(?:ERROR|FATAL):  (\w{5}): (.*?)$end/s;
    $error{detail}               = $1       if $err =~ /\nDETAIL:  (.*?)$end/s;
    $error{hint}                 = $1       if $err =~ /\nHINT:  (.*?)$end/s;
    return \%error;
}

# The SQL blocks of a page of doc/ by the name in the comment above each: <!-- name -->.
sub page_commands {
    my ($page) = @_;
    return slurp_file("$FindBin::RealBin/../../doc/$page") =~ /^<!-- (\w+) -->\n+```sql\n(.*?)^```/msg;
}

# A good error: the expected SQLSTATE, and a detail and a hint for the person who meets it.
# Options: sqlstate (pattern), message (pattern), plain => 1 when detail or hint may be missing.
sub assert_error {
    my ($self, $sql, $label, %want) = @_;
    my $error = $self->target_error($sql);
    my @wrong;
    if (%$error) {
        my $sqlstate = $want{sqlstate} // qr/^(?!XX)/;
        push @wrong, "SQLSTATE is $error->{sqlstate}" if $error->{sqlstate} !~ $sqlstate;
        push @wrong, 'message does not match' if $error->{message} !~ ($want{message} // qr/\S/);
        push @wrong, grep { !$want{plain} && $error->{$_} !~ /\S/ } qw(detail hint);
    } else {
        push @wrong, 'it succeeded';
    }
    ok(!@wrong, $label) or
        diag 'missing or wrong: ', join(', ', @wrong), "\n", $error->{all} // '', "\nof: $sql";
    return $error;
}

# SQL of migration_start for named arguments: array references become text[], hash references jsonb,
# references to a string go in as they are.
sub start_sql {
    my ($self, %arg) = @_;
    return 'SELECT ' . $self->_call_sql('migration_start', %arg);
}

# The rows of migration_check with named arguments of the same kinds, as hashes. `set` is SQL that
# comes before it in the session.
sub check_rows {
    my ($self, %arg) = @_;
    my $set = delete $arg{set} // '';
    return @{ JSON::PP->new->decode($self->target_sql("$set SELECT coalesce(json_agg(c), '[]') FROM "
                . $self->_call_sql('migration_check', %arg) . ' c')) };
}

sub _call_sql {
    my ($self, $function, %arg) = @_;
    %arg = (source => $self->conninfo, migration => $self->name, %arg);
    my @given;
    for my $key (sort keys %arg) {
        my $value = $arg{$key};
        my $kind  = ref $value;
        my $text
            = $kind eq 'ARRAY'
            ? 'ARRAY[' . join(', ', map { quote_literal($_) } @$value) . ']::text[]'
            : $kind eq 'HASH' ? quote_literal(JSON::PP->new->canonical->encode($value)) . '::jsonb'
            : $kind eq 'SCALAR' ? $$value
            :                     quote_literal($value);
        push @given, "$key => $text";
    }
    return "livemigrate.$function(" . join(', ', @given) . ')';
}

sub start {
    my ($self, %arg) = @_;
    return $self->target_sql($self->start_sql(%arg));
}

sub _named { my ($self) = @_; return quote_literal($self->name) }

sub wait_sql {
    my ($self, $stage, $seconds) = @_;
    return
        sprintf "CALL livemigrate.migration_wait(stage => '%s', timeout => '%s s', "
        . "migration => %s)", $stage, $seconds // $ENV{PG_TEST_TIMEOUT_DEFAULT}, $self->_named;
}

# Waits for a stage, or ends the test with what the migration says about itself.
sub wait_stage {
    my ($self, $stage, $seconds) = @_;
    my ($rc,   $out, $err) = $self->target->psql($self->dbname, $self->wait_sql($stage, $seconds));
    return 1 if $rc == 0;
    $self->diagnose("waiting for stage $stage: $err");
    die "stage $stage was not reached\n";
}

# Polls until the callback returns true; undef when the time is over. Less and less often, for what
# waits long.
sub poll {
    my ($self, $callback, $seconds) = @_;
    my $deadline = time + ($seconds // $ENV{PG_TEST_TIMEOUT_DEFAULT});
    my $pause    = 50_000;
    my ($result, %sessions);
    local $looking_again;
    my $lived = eval {
        until ($result = $callback->()) {
            last if time >= $deadline;
            usleep($pause);
            $pause         = min($pause * 1.5, 400_000);
            $looking_again = \%sessions;
        }
        1;
    };
    my $error = $@;
    $self->end_session($_) for grep { $_ } values %sessions;
    die $error unless $lived;
    return $result || undef;
}

# Waits until the migration is in one of the given states; another final state ends the test.
sub wait_state {
    my ($self, $states, $seconds) = @_;
    my $wanted = qr/^(?:$states)$/;
    my $last   = '';
    my $found  = $self->poll(
        sub {
            $last = eval {
                $self->target_sql(
                    'SELECT state FROM livemigrate.migration_status(' . $self->_named . ')');
            } // $@;
            return 1 if $last =~ $wanted;
            return $last =~ /^(?:failed|done|aborted)$/ ? -1 : 0;
        },
        $seconds);
    return $last if defined $found && $found == 1;
    $self->diagnose("waiting for state $states, last was $last");
    die "state $states was not reached\n";
}

sub status_row {
    my ($self) = @_;
    my $row = $self->target_sql(
        'SELECT row_to_json(s) FROM livemigrate.migration_status(' . $self->_named . ') s');
    return length $row ? LiveMigrate::Compare::decode_row($row) : undef;
}

# What a person would look at first, for the test's log.
sub diagnose {
    my ($self, $what) = @_;
    diag $what;
    for my $sql (
        'SELECT stage, state, message, hint, attempts, last_error
            FROM livemigrate.migration_status()',
        'SELECT kind, pid, what FROM livemigrate.workers',
        'SELECT severity, stage, message, detail FROM livemigrate.events ORDER BY at DESC LIMIT 8'
    ) {
        my ($rc, $out, $err) = $self->target->psql($self->dbname, $sql, timeout => 60);
        diag $rc == 0 ? $out : $err;
    }
}

sub call {
    my ($self, $function, @more) = @_;
    return $self->target_sql(
        "SELECT livemigrate.$function(" . join(', ', $self->_named, @more) . ')');
}

sub pause   { my ($self) = @_; return $self->call('migration_pause') }
sub abort   { my ($self) = @_; return $self->call('migration_abort') }
sub cleanup { my ($self) = @_; return $self->call('migration_cleanup') }

sub resume {
    my ($self, $pause_after) = @_;
    return $self->call('migration_resume') unless $pause_after;
    return $self->call('migration_resume', "pause_after => '{" . join(',', @$pause_after) . "}'");
}

# NULL asks the source for its current position.
sub set_endpos {
    my ($self, $lsn) = @_;
    my $value = defined $lsn ? "'$lsn'" : 'NULL';
    return $self->target_sql(
        "SELECT livemigrate.set_endpos(endpos => $value, migration => " . $self->_named . ')');
}

# From streaming to the end: endpos, done, equal rows, cleanup, nothing left.  Options: endpos => 0
# when it is set already, left_for => seconds that what is left may need to go; the others go to
# assert_equal_tables.
sub finish {
    my ($self, $label, %opt) = @_;
    $self->set_endpos if $opt{endpos} // 1;
    $self->wait_stage('done');
    $self->assert_equal_tables("$label: equal tables", %opt);
    $self->cleanup;
    $self->assert_nothing_left("$label: nothing left", $opt{left_for});
}

# A whole migration.  Options: start (arguments of migration_start), stream (SQL for the source, or
# a callback, once changes are streaming).
sub migrate {
    my ($self, $label, %opt) = @_;
    $self->start(%{ $opt{start} // {} });
    $self->wait_stage('streaming');
    if (ref $opt{stream}) {
        $opt{stream}->($self);
    } elsif (defined $opt{stream}) {
        $self->source_sql($opt{stream});
    }
    $self->finish($label);
}

# The rows of migration_check at severity error, as "check_id object".
sub check_errors {
    my ($self, %opt) = @_;
    my $source = quote_literal($opt{source} // $self->conninfo);
    my $plugin = $opt{plugin} // 'auto';
    return split /\n/,
        $self->target_sql(
        "SELECT concat_ws(' ', check_id, object)
            FROM livemigrate.migration_check($source, '$plugin')"
            . " WHERE severity = 'error'");
}

# wal2json before 2.6 sends NaN and infinities as null, so tables with floats are refused there.
sub wal2json_is_lossless {
    my ($self) = @_;
    my ($rc)   = $self->source->psql('postgres',
              "SELECT pg_create_logical_replication_slot('probe', 'wal2json', true);"
            . " SELECT count(*) FROM pg_logical_slot_get_changes('probe', NULL, NULL,"
            . " 'numeric-data-types-as-string', 'true')");
    return $rc == 0;
}

# The process id of one worker of a kind (receiver, apply, copy, index, coordinator, launcher).
sub worker_pid {
    my ($self, $kind, $seconds) = @_;
    my $pid = $self->poll(
        sub {
            my ($rc, $out) = $self->target->psql($self->dbname,
                "SELECT coalesce((SELECT min(pid) FROM livemigrate.workers WHERE kind ~ '^$kind'),"
                    . " (SELECT min(pid) FROM pg_stat_activity
                        WHERE backend_type ~ 'livemigrate.*$kind'))"
            );
            return $rc == 0 ? $out : '';
        },
        $seconds);
    return $pid if $pid;
    $self->diagnose("no worker of kind $kind");
    die "no worker of kind $kind\n";
}

sub kill_worker {
    my ($self, $kind, $signal) = @_;
    my $pid  = $self->worker_pid($kind);
    my @ends = $pid;
    # Its server ends all others a moment later, until which they answer as if nothing had happened.
    push @ends, $self->target->safe_psql('postgres',
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
      if ($signal //= 'KILL') eq 'KILL';
    kill $signal, $pid;
    $self->poll(sub { !grep { kill 0, $_ } @ends }) or die "worker $kind, pid $pid, outlived its signal\n";
    return $pid;
}

# A crash restart closes every connection for a moment.
sub wait_for_connections {
    my ($self, $node) = @_;
    $self->poll(sub { $node->psql($self->dbname, 'SELECT 1') == 0 }) or
        die $node->name . " does not take connections\n";
}

# kill -9 of a postmaster, and a new start.  Its orphans hold shared memory until they notice, and a
# start is refused until then.
sub crash_and_start {
    my ($self, $node) = @_;
    my $pid = $node->{_pid};
    $node->kill9;
    $self->poll(sub { !kill 0, $pid }) or die "postmaster $pid outlived kill -9\n";
    $self->poll(sub { $node->{_pid} = undef; $node->start(fail_ok => 1) })
      or die $node->name . " did not start again\n";
}

# ALTER SYSTEM SET. A reload arrives some time later.
sub set_and_wait {
    my ($self, $node, $name, $value) = @_;
    $node->safe_psql($self->dbname, "ALTER SYSTEM SET $name = $value");
    my $loaded = $node->safe_psql($self->dbname, 'SELECT pg_conf_load_time()');
    $node->reload;
    $node->poll_query_until($self->dbname, "SELECT pg_conf_load_time() > '$loaded'");
}

# A session that holds a lock (or any open transaction) until end_session.
sub session {
    my ($self, $node, $sql, $dbname) = @_;
    my $session = $node->background_psql($dbname // $self->dbname, on_error_stop => 0);
    push @background, $session;
    $session->query_safe($sql) if defined $sql;
    return $session;
}

sub lock_table {
    my ($self, $node, $table, $mode) = @_;
    $mode //= 'ACCESS EXCLUSIVE';
    return $self->session($node, "BEGIN; LOCK TABLE $table IN $mode MODE");
}

# The server may be gone already, or restarted.
sub end_session {
    my ($self, $session) = @_;
    @background = grep { $_ != $session } @background;
    eval { $session->quit; 1 } or eval { $session->{run}->kill_kill(grace => 1) };
}

# Waits until a livemigrate session of the node is blocked by another one's lock.
sub wait_blocked {
    my ($self, $node) = @_;
    my $sql = "SELECT count(*) FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
        . " AND (backend_type ~ 'livemigrate' OR application_name ~ 'livemigrate|pg_dump')";
    $self->poll(sub {
        my $out = eval { $self->_sql($node, 'postgres', $sql) };
        return defined $out && $out > 0;
    }) and return 1;
    $self->diagnose('nothing is blocked on ' . $node->name);
    die "nothing is blocked\n";
}

# Every process of the target answers a ProcSignalBarrier, on which DROP DATABASE and DROP TABLESPACE
# wait. Of a tablespace that was in use only that can tell whether all files are closed.
sub assert_answers_barrier {
    my ($self, $label) = @_;
    my ($rc, $out, $err) = $self->target->psql('postgres', <<'SQL', timeout => $most_seconds);
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE barrier LOCATION '';
CREATE TABLE barrier () TABLESPACE barrier; DROP TABLE barrier;
SET statement_timeout = '120s'; SET client_min_messages = debug1;
DROP TABLESPACE barrier;
SQL
    ok($rc == 0 && $err =~ /waiting for all backends to process ProcSignalBarrier/,
        "a ProcSignalBarrier is answered: $label")
      or diag $err, $self->target_sql('SELECT pid, backend_type, wait_event FROM pg_stat_activity');
}

# Starts a command that goes on until stop_background.
sub start_background {
    my ($self, @command) = @_;
    my $process = { stdin => '', output => '' };
    $process->{run}
        = IPC::Run::start(\@command, '<', \$process->{stdin}, '>&', \$process->{output});
    push @background, $process;
    return $process;
}

sub stop_background {
    my ($self, $process) = @_;
    @background = grep { $_ != $process } @background;
    eval { $process->{run}->kill_kill(grace => 2) };
}

1;
