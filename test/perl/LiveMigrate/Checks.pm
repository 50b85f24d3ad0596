# What every row of migration_check keeps to, of all that a test file has seen: ok is without a fix,
# all else has one, and that can be pasted into psql, but for lines of a configuration file.
package LiveMigrate::Checks;

use strict;
use warnings;

use Exporter 'import';
our @EXPORT = qw(keep_rows assert_fixes);

use Test::More;

my %seen;

# Gives the rows back.
sub keep_rows {
    my (@rows) = @_;
    for my $row (@rows) {
        my $key = join ' ', $row->{check_id}, $row->{severity} eq 'ok' ? 'ok' : 'not ok', $row->{fix} // '';
        $seen{$key} = $row;
    }
    return @rows;
}

sub _is_configuration_line {
    my ($line) = @_;
    return $line =~ /^(?:local|host) (?:"[^"]*" ){2}\S/    # pg_hba.conf
      || $line =~ /^[a-z_]+(?:\.[a-z_]+)* = \S+$/          # a provider's settings
      || $line =~ /^[a-z_]+ = '[^']*'$/;
}

# plpgsql parses statements without running them. A row's fix is named by the check it is of.
sub assert_fixes {
    my ($pair, $label) = @_;
    my (@wrong, $script);
    my $number = 0;
    for my $key (sort keys %seen) {
        my $row = $seen{$key};
        my $fix = $row->{fix} // '';
        if (($row->{severity} eq 'ok') != ($fix eq '')) {
            push @wrong, "$row->{severity} $row->{check_id}: $row->{message}, with fix '$fix'";
            next;
        }
        my $sql = join "\n", grep { !_is_configuration_line($_) } split /\n/, $fix;
        $sql =~ s/^COMMIT PREPARED '(?:[^']|'')*';$//gm;    # COMMIT is plpgsql's own there
        $number++;
        $script .= "CREATE FUNCTION pg_temp.${\ $row->{check_id}}_$number() RETURNS void"
          . " LANGUAGE plpgsql AS \$fix\$ BEGIN\n$sql\nEND \$fix\$;\n";
    }
    my ($rc, $out, $err) = $pair->target->psql('postgres', $script // '', on_error_stop => 0);
    push @wrong, $err if $err =~ /ERROR/;
    ok(!@wrong, $label) or diag join "\n", @wrong;
    cmp_ok(scalar keys %seen, '>', 20, "$label: there are some");
    return;
}

1;
