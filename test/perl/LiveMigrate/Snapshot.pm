# Transactions that a slot's snapshot sees nothing of, and that are in its stream.
package LiveMigrate::Snapshot;

use strict;
use warnings;

use Exporter 'import';
use Test::More;

our @EXPORT_OK = qw(open_before_snapshot);

# Keeps the making of a slot waiting (`begin` starts that) until `open` has been called. A transaction
# that begins in there is not waited for, since it does so in the last of the waits, and not seen by
# the snapshot. Needs a table w (id int PRIMARY KEY) on the source. Returns what `open` does.
sub open_before_snapshot {
    my ($one, $label, $begin, $open) = @_;
    my $first = $one->session($one->source, 'BEGIN; INSERT INTO w VALUES (1)');
    $begin->();
    my $waiting = sub {
        my ($pid) = @_;
        ok($one->poll(sub { $one->source_sql("SELECT count(*) FROM pg_stat_activity
                WHERE backend_type = 'walsender' AND $pid = ANY (pg_blocking_pids(pid))") > 0 }),
            "$label: the slot waits");
    };
    $waiting->($first->query('SELECT pg_backend_pid()'));
    my $second = $one->session($one->source, 'BEGIN; INSERT INTO w VALUES (2)');
    my $pid    = $second->query('SELECT pg_backend_pid()');
    $first->query_safe('COMMIT');
    $waiting->($pid);
    my $opened = $open->();
    $second->query_safe('COMMIT');
    $one->end_session($_) for $first, $second;
    return $opened;
}

1;
