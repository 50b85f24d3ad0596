# A page in headless Chromium, measured through its DevTools protocol: over a pipe, so that no port is
# open, and without a script in the page, whose policy forbids any.
package LiveMigrate::Browser;

use strict;
use warnings;

use File::Temp ();
use IO::Select ();
use JSON::PP   ();
use POSIX      ();
use Time::HiRes qw(time);

my $patience = 180;

sub program {
    my ($found) = grep { -x } map { ("$_/chromium", "$_/chromium-browser", "$_/google-chrome") }
      split /:/, $ENV{PATH};
    return $found;
}

# undef, with the reason in $@, where it cannot be started.
sub new {
    my ($class) = @_;
    my $self = bless { directory => File::Temp->newdir, next_id => 1, events => [], buffer => '' }, $class;
    pipe my $its_input,  $self->{input};
    pipe $self->{output}, my $its_output;
    $self->{pid} = fork // die "fork: $!";
    if ($self->{pid} == 0) {
        # It reads commands from descriptor 3 and answers on 4.
        my @kept = map { POSIX::dup($_) } fileno($its_input), fileno($its_output);
        POSIX::dup2($kept[0], 13);
        POSIX::dup2($kept[1], 14);
        POSIX::dup2(13, 3);
        POSIX::dup2(14, 4);
        open STDIN,  '<', '/dev/null';
        open STDOUT, '>', "$self->{directory}/log";
        open STDERR, '>&', \*STDOUT;
        $ENV{HOME} = "$self->{directory}";
        no warnings 'exec';
        exec program(), qw(--headless --no-sandbox --disable-gpu --disable-quic --no-first-run
          --disable-background-networking --disable-component-update --disable-sync
          --disable-dev-shm-usage --remote-debugging-pipe),
          "--user-data-dir=$self->{directory}/profile", 'about:blank';
        POSIX::_exit(127);
    }
    close $its_input;
    close $its_output;
    $self->{input}->autoflush(1);
    return $self if eval { $self->command('Browser.getVersion'); 1 };
    return;
}

sub DESTROY {
    my ($self) = @_;
    local ($?, $@);
    kill KILL => $self->{pid} if $self->{pid};
    waitpid $self->{pid}, 0 if $self->{pid};
    return;
}

# The next message of the browser's, as it comes.
sub _receive {
    my ($self, $deadline) = @_;
    my $end;
    while (($end = index $self->{buffer}, "\0") < 0) {
        my $left = $deadline - time;
        die "the browser does not answer\n" if $left <= 0 || !IO::Select->new($self->{output})->can_read($left);
        sysread($self->{output}, $self->{buffer}, 1 << 20, length $self->{buffer})
          or die 'the browser has ended: ' . $self->log . "\n";
    }
    my $message = substr $self->{buffer}, 0, $end;
    substr($self->{buffer}, 0, $end + 1) = '';
    return JSON::PP::decode_json($message);
}

sub log {
    my ($self) = @_;
    open my $file, '<', "$self->{directory}/log" or return '';
    local $/;
    return scalar <$file>;
}

sub command {
    my ($self, $method, %parameters) = @_;
    my $id      = $self->{next_id}++;
    my $message = { id => $id, method => $method, params => \%parameters };
    $message->{sessionId} = $self->{session} if $self->{session};
    local $SIG{PIPE} = 'IGNORE';
    print { $self->{input} } JSON::PP::encode_json($message), "\0";
    my $deadline = time + $patience;
    while (1) {
        my $answer = $self->_receive($deadline);
        if (!defined $answer->{id}) {
            push @{ $self->{events} }, $answer;
        } elsif ($answer->{id} == $id) {
            die "$method: $answer->{error}{message}\n" if $answer->{error};
            return $answer->{result};
        }
    }
}

# A new page of that size. Options: mobile, scheme (light or dark), media (print).
sub open_page {
    my ($self, $url, $width, $height, %opt) = @_;
    delete $self->{session};
    my $target = $self->command('Target.createTarget', url => 'about:blank');
    $self->{session} = $self->command('Target.attachToTarget',
        targetId => $target->{targetId}, flatten => JSON::PP::true)->{sessionId};
    $self->{events} = [];
    $self->command($_) for qw(Page.enable Runtime.enable Log.enable);
    $self->command('Emulation.setDeviceMetricsOverride', width => $width, height => $height,
        deviceScaleFactor => 1, mobile => $opt{mobile} ? JSON::PP::true : JSON::PP::false);
    $self->command('Emulation.setEmulatedMedia', media => $opt{media} // 'screen',
        features => [ { name => 'prefers-color-scheme', value => $opt{scheme} // 'light' } ]);
    $self->command('Page.navigate', url => $url);
    my $deadline = time + $patience;
    until (grep { $_->{method} eq 'Page.loadEventFired' } @{ $self->{events} }) {
        push @{ $self->{events} }, $self->_receive($deadline);
    }
    return;
}

# The value of an expression in the page.
sub value {
    my ($self, $expression) = @_;
    my $result = $self->command('Runtime.evaluate', expression => $expression, returnByValue => JSON::PP::true);
    die "$result->{exceptionDetails}{exception}{description}\n" if $result->{exceptionDetails};
    return $result->{result}{value};
}

# What the page has complained of.
sub complaints {
    my ($self) = @_;
    $self->value('0');    # what came before is here now
    my @complaints;
    for my $event (@{ $self->{events} }) {
        my $what = $event->{params};
        push @complaints, $what->{entry}{text} if $event->{method} eq 'Log.entryAdded';
        push @complaints, $what->{exceptionDetails}{text} if $event->{method} eq 'Runtime.exceptionThrown';
        push @complaints, join ' ', map { $_->{value} // $_->{description} // '' } @{ $what->{args} }
          if $event->{method} eq 'Runtime.consoleAPICalled';
    }
    return @complaints;
}

1;
