# doc/reference.md and the catalog say the same: every function, argument, view, column, setting,
# check, option and sample has its place in the document, and no heading is of something gone.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Test;
use PostgreSQL::Test::Utils qw(slurp_file);
use Test::More;

my $reference = slurp_file("$FindBin::RealBin/../../doc/reference.md");
my $pair      = LiveMigrate::Test->new;
$pair->source_sql('CREATE TABLE t (id int PRIMARY KEY)');

sub rows { return split /\n/, $pair->target_sql($_[0]) }

# The text of the sections whose heading, of any level, has the word.
sub section {
    my ($word) = @_;
    my $text = '';
    while ($reference =~ /^#{2,3} ([^\n]*\b\Q$word\E\b[^\n]*)\n(.*?)(?=^#{2,3} |\z)/gms) {
        $text .= "$1\n$2";
    }
    return $text;
}

sub missing {
    my ($text, @names) = @_;
    return [ grep { $text !~ /\b\Q$_\E\b/ } @names ];
}

# --- functions, with their arguments
my $schema    = "'livemigrate'::regnamespace";
my @functions = rows("SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = $schema");
my %internal  =
    map { $_ => 1 } qw(live_workers live_rates origin_progress migration_name guard_row);
for my $function (@functions) {
    if ($internal{$function}) {
        like($reference, qr/`$function`/, "$function is mentioned");
        next;
    }
    my @arguments = rows("SELECT DISTINCT unnest(proargnames) FROM pg_proc
        WHERE proname = '$function' AND pronamespace = $schema");
    my $text = section($function);
    is_deeply(missing($text, $function, @arguments), [], "$function: arguments and columns");
}

# --- views, with their columns
for my $view (rows("SELECT relname FROM pg_class WHERE relnamespace = $schema AND relkind = 'v'")) {
    my @columns = rows("SELECT attname FROM pg_attribute
        WHERE attrelid = 'livemigrate.$view'::regclass AND attnum > 0");
    is_deeply(missing(section($view), @columns), [], "$view: columns");
}

# --- settings
is_deeply(missing(section('Settings'), rows("SELECT name FROM pg_settings WHERE name ~ '^livemigrate\\.'")),
    [], 'settings');

# Their defaults, ranges and contexts; quantities in bytes or milliseconds.
{
    my %factor = (
        '' => 1, B => 1, kB => 1 << 10, MB => 1 << 20, GB => 1 << 30, ms => 1, s => 1000, min => 60_000, d => 86_400_000);
    my $quantity = sub { return $_[0] =~ /^(-?\d+) ?(\w*)$/ && exists $factor{$2} ? $1 * $factor{$2} : $_[0] };
    my %said;
    my $table = section('Settings');
    while ($table =~ /^\| `(livemigrate\.\w+)` \| (.*?) ?\| (.*?) ?\| (.*?) ?\|/mg) {
        my ($name, $default, $range, $by) = ($1, $2, $3, $4);
        my ($least, $most) = $range =~ /^(.*) …(.*)$/ ? map { s/^ //r } $1, $2 : ('', '');
        $said{$name} = join ' ', ($default eq 'empty' ? '' : $quantity->($default)), map({ length $_ ? $quantity->($_) : $_ } $least, $most), $by;
    }
    my %is;
    for (rows("SELECT name, boot_val, coalesce(unit, ''), coalesce(min_val, ''), coalesce(max_val, ''), context
            FROM pg_settings WHERE name ~ '^livemigrate\\.'")) {
        my ($name, $default, $unit, $least, $most, $context) = split /\|/;
        # An upper bound that is only that of the type is not told.
        $most = '' if length $most && $most >= 2_097_151 && $most != 86_400_000;
        $is{$name} = join ' ', map({ /^-?\d+$/ ? $_ * $factor{$unit} : $_ } $default, $least, $most),
          { sighup => 'configuration', user => 'session', superuser => 'superuser' }->{$context} // $context;
    }
    is_deeply(\%said, \%is, 'defaults, ranges and contexts of settings');
}

my $source = LiveMigrate::Test::quote_literal($pair->conninfo);

# --- checks: a row for each that the sources name and that this pair of servers makes, with the
# severities that the sources give it
my @severities = qw(notice warning error);

# Of tables with the severities in their third column: by check.
sub rows_of_checks {
    my ($text) = @_;
    my %cell = $text =~ /^\| `(\w+)` \| [^|]* \| ([^|]*) \|/mg;
    delete $cell{check_id};    # the heading
    return { map { $_ => $cell{$_} =~ /^\w/ ? $cell{$_} : '' } keys %cell };
}

sub listed {
    my ($given) = @_;
    return join ', ', grep { $given->{$_} } @severities;
}
{
    my %severity_of = (Ok => 'ok', Notice => 'notice', Warning => 'warning', Fail => 'error');
    my %given;
    for my $text (map { slurp_file($_) } glob "$FindBin::RealBin/../../src/stage/preflight*.cpp") {
        $given{$2}{ $severity_of{$1} } = 1 while $text =~ /\b(Ok|Notice|Warning|Fail)\(\s*"(\w+)"/g;
        $given{$1}{$2} = 1 while $text =~ /rows\.push_back\(\{"(\w+)", "(\w+)"/g;
    }
    cmp_ok(scalar keys %given, '>', 60, 'there are checks');
    $given{$_} //= {} for rows("SELECT DISTINCT check_id FROM livemigrate.migration_check($source)");
    is_deeply(rows_of_checks(section('Checks')), { map { $_ => listed($given{$_}) } keys %given }, 'checks');
}
{
    my %given;
    for my $file (glob("$FindBin::RealBin/../../src/stage/cutover_check*.cpp"),
        "$FindBin::RealBin/../../src/control/cutover_readiness.cpp") {
        my (undef, @parts) = split /constexpr char kId\[\] = "(\w+)";/, slurp_file($file);
        while (my ($check, $code) = splice @parts, 0, 2) {
            $given{$check}{$_} = 1 for $code =~ /"(notice|warning|error)"/g;
        }
    }
    cmp_ok(scalar keys %given, '>', 14, 'there are checks at cutover');
    # Above the first of them in their file, in Judge().
    $given{$_}{notice} = $given{$_}{warning} = 1 for qw(deferrable_duplicates foreign_key_orphans);
    is_deeply(rows_of_checks(section('cutover_check')), { map { $_ => listed($given{$_}) } keys %given },
        'checks at cutover');
}

# --- options: the error for an unknown one lists the known
my $error = $pair->target_error($pair->start_sql(options => { nonsense => 1 }));
my @options = grep { $_ ne 'nonsense' } "$error->{detail} $error->{hint}" =~ /\b([a-z]+_[a-z_]+|unlogged|publication|hypertables)\b/g;
cmp_ok(scalar @options, '>', 4, 'there are options');
is_deeply(missing(section('Options'), @options), [], 'options');

# --- SQLSTATEs: those that the sources name, and whether the retry policy takes them for transient
{
    my $top    = "$FindBin::RealBin/../..";
    my $errors = slurp_file("$top/src/core/error.hpp");
    my %known  = $errors =~ /std::string_view (k\w+) = "(\w{5})"/g;
    my $include = `pg_config --includedir-server`;
    chomp $include;
    my %macro;
    my $header = slurp_file("$include/utils/errcodes.h");
    while ($header =~ /#define (ERRCODE_\w+) MAKE_SQLSTATE\(([^)]*)\)/g) {
        my ($name, $characters) = ($1, $2);
        $macro{$name} = join '', $characters =~ /\w/g;
    }
    my %used = map { $_ => 1 } values %known;
    for my $file (glob "$top/src/*/*.cpp $top/src/*/*.hpp") {
        my $text = slurp_file($file);
        $used{ $macro{$_} } = 1 for $text =~ /errcode\((ERRCODE_\w+)\)/g;
        $used{$_} = 1 for $text =~ /\bError\("(\w{5})"/g;
    }
    my %again  = section('SQLSTATEs') =~ /^\| `(\w{5})` \|.*\| (yes|no) \|$/mg;
    is_deeply([ sort keys %again ], [ sort keys %used ], 'SQLSTATEs');
    my $policy = slurp_file("$top/src/core/retry_policy.cpp");
    my ($classes, $not, $states) = map { $policy =~ /$_.*?\(\{(.*?)\}\)/s ? $1 : die "no $_" }
      qw(kTransientClasses kPermanentInTransientClass kTransientStates);
    my %said = map {
        my ($code, $class) = ($_, substr $_, 0, 2);
        $code => ($states =~ /"$code"/ || $classes =~ /"$class"/ && $not !~ /"$code"/ ? 'yes' : 'no')
    } keys %again;
    is_deeply(\%again, \%said, 'which SQLSTATEs are retried');
}

# --- estimate and metrics
my @items = rows("SELECT item FROM livemigrate.migration_estimate($source, sample_seconds => 0)");
is_deeply(missing(section('migration_estimate'), @items), [], 'items of the estimate');
$pair->start;
$pair->wait_stage('streaming');
is_deeply(missing(section('metrics'), rows('SELECT DISTINCT name FROM livemigrate.metrics')),
    [], 'samples of metrics');

# --- nothing in the headings that is gone
my %known = map { $_ => 1 } @functions,
    rows("SELECT relname FROM pg_class WHERE relnamespace = $schema AND relkind = 'v'");
my @headings = map { split /, / } $reference =~ /^### ([a-z_, ]+)$/mg;
is_deeply([ grep { !$known{$_} } @headings ], [], 'no heading without its object');

# --- links between the documents lead somewhere
for my $file (map { glob "$FindBin::RealBin/../../$_" } 'doc/*.md', 'contrib/*/README.md') {
    my ($folder) = $file =~ m{^(.*)/};
    my @broken = grep { !/^https?:/ && !-e "$folder/$_" }
        slurp_file($file) =~ /\]\(([^)#]+)(?:#[^)]*)?\)/g;
    is_deeply(\@broken, [], "links of $file");
}

# --- the page for users of pgcopydb has every command and option that version 0.18 has
{
    my $page     = slurp_file("$FindBin::RealBin/../../doc/pgcopydb.md");
    my %commands = map { /^(.*?): (.*)/ ? ($1 => $2) : () } split /\n/, <<'END';
: clone fork follow snapshot ping help version
compare: schema data
copy: db roles extensions schema data table-data blobs sequences indexes constraints
dump: schema roles
restore: schema pre-data post-data roles parse-list
list: databases extensions collations tables table-parts sequences indexes depends schema progress
stream: setup cleanup prune prefetch catchup replay receive apply
stream sentinel: setup get
stream sentinel set: startpos endpos apply prefetch
END
    my @commands = map { my $group = $_; map { "$group $_" =~ s/^ //r } split / /, $commands{$group} } sort keys %commands;
    is(scalar @commands, 50, 'commands of pgcopydb');
    is_deeply([ grep { $page !~ /`\Q$_\E[` ]/ } @commands ], [], 'each is on the page');
    my @options = split ' ', <<'END';
all-databases apply available-versions create-slot current dir drop-if-exists dry-run endpos
estimate-table-sizes fail-fast filter filters flush-lsn follow force host index-jobs json
large-objects-jobs list-skipped max-replaydb-size no-acl no-comments no-owner no-role-passwords
no-tablespaces not-consistent origin plugin port replay-lsn replay-no-op-updates requirements
restart restore-jobs resume roles schema-name skip-analyze skip-collations skip-db-properties
skip-ext-comments skip-extensions skip-large-objects skip-split-by-ctid skip-vacuum slot-name
snapshot source split-max-parts split-tables-larger-than startpos summary table-jobs table-name
target to-stdout transform-lsn use-copy-binary wal2json-numeric-as-string without-pkey write-lsn
END
    is_deeply([ grep { $page !~ /`--\Q$_\E`|`[^`]* --\Q$_\E[` ]/ } @options ], [], 'and each option');
}

$pair->finish('documented');
done_testing();
