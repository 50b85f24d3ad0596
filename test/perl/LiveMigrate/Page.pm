# The pages of doc/ as something to be run: psql sessions with the output that they promise, marked
# blocks of SQL, and the calls in running text.
package LiveMigrate::Page;

use strict;
use warnings;

use FindBin ();
use PostgreSQL::Test::Utils qw(slurp_file);

# The page's text, with what stands there for the reader's servers replaced: pattern => replacement.
sub new {
    my ($class, $page, %replace) = @_;
    my $text = slurp_file(root() . "/$page");
    $text =~ s/$_/$replace{$_}/g for sort keys %replace;
    return bless { name => $page, text => $text }, $class;
}

sub root { return "$FindBin::RealBin/../.." }
sub name { return $_[0]{name} }
sub text { return $_[0]{text} }

# Fenced blocks in their order, as [language, text]; what is in HTML comments is none.
sub blocks {
    my ($self) = @_;
    my @blocks;
    push @blocks, [ $1, $2 ] while $self->{text} =~ /^ *```(\w*)[^\n]*\n(.*?)^ *```$/msg;
    return @blocks;
}

# Blocks under a mark, <!-- name -->, by that name; in a list they are indented.
sub marked {
    my ($self) = @_;
    my %marked;
    while ($self->{text} =~ /^( *)<!-- (\w+) -->\n+ *```\w*\n(.*?)^ *```$/msg) {
        my ($indent, $name, $block) = ($1, $2, $3);
        $marked{$name} = $block =~ s/^$indent//mgr;
    }
    return %marked;
}

# Of a psql session: [prompt, statement, output], ...
sub session {
    my ($block) = @_;
    my (@calls, $open);
    for my $line (split /\n/, $block) {
        if ($line =~ /^(\w+)[=(-]# ?(.*)/) {
            if ($open) {
                $calls[-1][1] .= "\n$2";
            } else {
                push @calls, [ $1, $2, '' ];
            }
            $open = $calls[-1][1] !~ /(?:;|\\\w+(?: \d+)?)\s*$/;
        } elsif (@calls && $line !~ /^--\s[A-Z]/) {
            $calls[-1][2] .= "$line\n";
        }
    }
    return @calls;
}

# Output without what differs from one run to the next: figures, positions, times, widths.
sub shape {
    my ($output) = @_;
    my @lines;
    for my $line (split /\n/, $output) {
        next if $line =~ /^\s*$|^\(\d+ rows?\)$|^-\[ RECORD/;
        $line =~ s{\b[0-9A-F]+/[0-9A-F]+\b}{LSN}g;
        $line =~ s{-?\d+(?:\.\d+)?\s?(?:ms|s|min|h|days?|bytes|kB|MB|GB)\b}{QUANTITY}g;
        $line =~ s{-?\b\d[\d:.]*}{NUMBER}g;
        $line =~ s{\s*\+?$}{};
        $line =~ s{-{2,}}{-}g;
        push @lines, $line =~ s{\s+}{ }gr =~ s{^ | $}{}gr;
    }
    return join "\n", @lines;
}

# Every statement that calls or reads livemigrate: of blocks of SQL, of sessions, of running text.
# What a page leaves to the reader as three dots is a name here.
sub statements {
    my ($self) = @_;
    my ($text, @found) = ($self->{text});
    for my $block ($self->blocks) {
        push @found, map { $_->[1] } session($block->[1]);
        push @found, split /(?<=;)\s*(?:--[^\n]*)?\n/, $block->[1] if $block->[0] eq 'sql';
    }
    $text =~ s/^ *```.*?^ *```$//msg;
    push @found, map { split /(?<=;)\s+(?=[A-Z])/ } $text =~ /`((?:SELECT|CALL)\s[^`]*)`/g;
    s/^(?:\s*--[^\n]*\n)+|\\(?:gx|watch.*)|;\s*(?:--.*)?$//g for @found;
    return grep {/^\s*(?:SELECT|CALL)\b.*livemigrate\./s} @found;
}

1;
