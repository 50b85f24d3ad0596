# Statements of a test go through psql sessions that stay open, instead of a new psql and a new
# backend for each, which cost more than most of what they are asked: half of the suite's processor
# time.
#
# With SHARED_SESSIONS=0 in the environment each has its own, which tells whether a failure is for that.
# Mind that such a session reports its statistics only after a while: a statement that begins with SET
# has a psql that ends.
#
# Loading this module changes psql() of PostgreSQL::Test::Cluster, and so safe_psql(). Whatever a
# session would remember, or would not know yet, has a psql of its own as before. And the time limit of
# background_psql() holds for each statement, not for as long as a test needs the session.
package LiveMigrate::Sessions;

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

our @EXPORT_OK = qw(close_sessions is_shared);

# For each server; a test may use many databases, and max_connections is small.
my $most_sessions = 3;

# Until a statement counts as hanging, unless the caller says.
my $most_seconds = 600;

# By the server's name: [{ key, postmaster, psql }, ...], the one used last at the end.
my %sessions;

# What psql() can be told without needing a psql of its own.
my %known_option = map { $_ => 1 } qw(stdout stderr on_error_die on_error_stop timeout);

# Leaves something behind in a session, looks at sessions, or is meant for new ones.
my $of_its_own = qr{
    ^\s*\\ | \\g
  | (?:^|;|\$\$)\s*(?:SET|RESET|LOAD|DISCARD|BEGIN|START|COMMIT|ROLLBACK|ABORT|SAVEPOINT|PREPARE|EXECUTE
      |DEALLOCATE|DECLARE|FETCH|LISTEN|UNLISTEN|LOCK|COPY)\b
  | \bset_config\b | \bTEMP(?:ORARY)?\b | \bpg_backend_pid\b | \bpg_(?:try_)?advisory
  | \b(?:curr|last|set)val\b | \bnextval\b | \bpg_stat | \bpg_locks\b | \bpg_terminate_backend\b
  | \bpg_cancel_backend\b | \bapplication_name\b | \bbackend_type\b | \bpg_export_snapshot\b
}mxi;

# Changes what sessions are like that begin afterwards, or wants them gone.
my $for_new_ones = qr{
    \b(?:CREATE|ALTER|DROP|REASSIGN)\s+(?:DATABASE|ROLE|USER|GROUP|SYSTEM|EXTENSION|TABLESPACE|OWNED)\b
  | \bpg_reload_conf\b
}xi;

my ($plain_psql, $plain_reload, $plain_background) =
  map { PostgreSQL::Test::Cluster->can($_) } qw(psql reload background_psql);

{
    no warnings 'redefine';
    *PostgreSQL::Test::Cluster::psql = sub {
        my ($node, $dbname, $sql, %option) = @_;
        my $answer = is_shared($node, $sql, \%option) && _ask($node, $dbname, $sql, $option{timeout});
        return $plain_psql->(@_) unless $answer;
        for my $stream (qw(stdout stderr)) {
            ${ $option{$stream} } = $answer->{$stream} if defined $option{$stream};
        }
        die "error running SQL: '$answer->{stderr}'\nwith sql '$sql'"
          if $answer->{rc} != 0 && $option{on_error_die};
        return wantarray ? @$answer{qw(rc stdout stderr)} : $answer->{rc};
    };
    *PostgreSQL::Test::Cluster::reload = sub {
        my ($node) = @_;
        close_sessions($node);
        return $plain_reload->(@_);
    };
    *PostgreSQL::Test::Cluster::background_psql = sub {
        my $session = $plain_background->(@_);
        $session->set_query_timer_restart;
        return $session;
    };
}

# Whether psql() has a session that stays open answer this.
sub is_shared {
    my ($node, $sql, $option) = @_;
    return 0 unless ($ENV{SHARED_SESSIONS} // 1) && defined $sql && defined $node->{_pid};
    if ($sql =~ $for_new_ones) {
        close_sessions($node);
        return 0;
    }
    return
         !(grep { !$known_option{$_} } keys %$option)
      && ($option->{on_error_stop} // 1)
      && !(grep { exists $ENV{$_} } qw(PGOPTIONS PGUSER PGPASSWORD))
      && $sql !~ $of_its_own;
}

# What psql would have given; nothing when the session was gone before it could ask.
sub _ask {
    my ($node, $dbname, $sql, $timeout) = @_;
    my $session = _session($node, $dbname) or return;
    my $end     = 'LiveMigrate::Sessions: answered ' . ++$session->{asked};
    my $psql    = $session->{psql};
    $psql->{$_} = '' for qw(stdout stderr);
    $psql->{timeout}->start($timeout // $most_seconds);
    $psql->{stdin} .= "$sql\n;\n\\echo '$end'\n\\warn '$end'\n";
    my $goes_on = eval {
        $psql->{run}->pump until 2 == grep { $_ =~ /\Q$end\E\n\z/ } map { substr($_, -100) } @$psql{qw(stdout stderr)};
        1;
    };
    my $error = $@;
    my %answer = (rc => 0, map { $_ => $psql->{$_} =~ s/\n?\Q$end\E\n\z//r } qw(stdout stderr));
    if (!$goes_on) {
        _drop($node, $session);
        die $error if $error =~ /timeout/;
        return if $answer{stderr} =~ /server closed the connection|connection to server was lost|FATAL:/;
        $answer{rc} = 3; # as ON_ERROR_STOP has it
    }
    chomp @answer{qw(stdout stderr)};
    return \%answer;
}

sub _session {
    my ($node, $dbname) = @_;
    my $list = $sessions{ $node->name } //= [];
    my ($found) = grep { $_->{dbname} eq $dbname } @$list;
    if ($found && $found->{postmaster} != $node->{_pid}) {
        _drop($node, $found);
        $found = undef;
    }
    if ($found) {
        @$list = ((grep { $_ != $found } @$list), $found);
        return $found;
    }
    _drop($node, $list->[0]) if @$list >= $most_sessions;
    my $psql = eval { $node->background_psql($dbname, on_error_stop => 1) } or return;
    push @$list, { dbname => $dbname, postmaster => $node->{_pid}, psql => $psql };
    return $list->[-1];
}

sub _drop {
    my ($node, $session) = @_;
    my $list = $sessions{ $node->name };
    @$list = grep { $_ != $session } @$list;
    eval { $session->{psql}->quit; 1 } or eval { $session->{psql}{run}->kill_kill(grace => 1) };
}

# Before something that sessions stand in the way of, or that only new ones see.
sub close_sessions {
    my ($node) = @_;
    my @open = @{ $sessions{ $node->name } // [] };
    _drop($node, $_) for @open;
}

END {
    my $exit_code = $?;
    for my $list (values %sessions) {
        eval { $_->{psql}{run}->kill_kill(grace => 1) } for @$list;
    }
    $? = $exit_code;
}

1;
