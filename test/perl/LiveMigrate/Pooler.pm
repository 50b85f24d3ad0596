# Stands in for a connection pooler: passes everything on, but for the process number and cancel key
# that it tells its client. With change => [what, by], texts of equal length, the client's startup
# options reach the server otherwise than they were given. With tamper => code it is a bad network
# instead: nothing but what the server sends is changed, by the code, in $_ and to the same length.
package LiveMigrate::Pooler;

use strict;
use warnings;

use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;

sub start {
    my ($class, $node, %opt) = @_;
    my $port   = PostgreSQL::Test::Cluster::get_free_port();
    my $listen = IO::Socket::INET->new(
        LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 20, ReuseAddr => 1)
      or die "cannot listen: $!";
    my $pid = fork // die "cannot fork: $!";
    if (!$pid) {
        $SIG{CHLD} = 'IGNORE';
        $SIG{TERM} = sub { require POSIX; POSIX::_exit(0) };
        while (my $client = $listen->accept) {
            if (fork) {
                close $client;
                next;
            }
            _pass_on($client, $node, %opt);
            require POSIX;
            POSIX::_exit(0);
        }
    }
    close $listen;
    return bless { pid => $pid, port => $port, owner => $$ }, $class;
}

sub conninfo {
    my ($self, $dbname) = @_;
    my $user = getpwuid $>;
    return "host=127.0.0.1 port=$self->{port} dbname=$dbname user=$user sslmode=disable"
      . ' gssencmode=disable';
}

sub stop {
    my ($self) = @_;
    my $pid = delete $self->{pid} // return;
    kill 'TERM', $pid;
    waitpid $pid, 0;
    return;
}

# It has the test's output open: prove would wait for it after a test that dies.
sub DESTROY {
    my ($self) = @_;
    local ($?, $!);
    $self->stop if $self->{owner} == $$;
    return;
}

sub _server {
    my ($node) = @_;
    my ($host, $port) = ($node->host, $node->port);
    return IO::Socket::UNIX->new(Peer => "$host/.s.PGSQL.$port") if $host =~ m{^/};
    return IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port);
}

sub _pass_on {
    my ($client, $node, %opt) = @_;
    my ($what, $by) = @{ $opt{change} // [] };
    my $server = _server($node) or return;
    my $select = IO::Select->new($client, $server);
    while (1) {
        for my $from ($select->can_read) {
            my $read = sysread $from, my $data, 65536;
            return unless $read;
            if ($from == $server && $opt{tamper}) {
                $opt{tamper}->() for $data;
            } elsif ($from == $server) {
                $data =~ s/K\0\0\0\x0c..../K\0\0\0\x0c\0\0\0\x01/s;
            }
            $data =~ s/\Q$what\E/$by/g if defined $what && $from == $client;
            my $to = $from == $server ? $client : $server;
            my $sent = 0;
            while ($sent < length $data) {
                $sent += syswrite($to, $data, length($data) - $sent, $sent) // return;
            }
        }
    }
}

1;
