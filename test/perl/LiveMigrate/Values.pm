# Random values of every type that a column can have, as SQL expressions; by Perl's rand, so that a
# seed gives the same ones again.
package LiveMigrate::Values;

use strict;
use warnings;

use Exporter 'import';
use LiveMigrate::Test;

our @EXPORT_OK = qw(pick one_in types_without_values value_of);

sub pick   { return $_[ int rand @_ ] }
sub one_in { return !int rand $_[0] }

sub quote { return LiveMigrate::Test::quote_literal($_[0]) }
# In pieces: a call for each digit would take half of a test's time.
sub hex_digits { return substr join('', map { sprintf '%08x', rand 2**32 } 0 .. $_[0] / 8), 0, $_[0] }
sub digits     { return substr join('', map { sprintf '%08d', rand 1e8 } 0 .. $_[0] / 8), 0, $_[0] }

# Stored out of line, and not compressible to less.
sub long_text { return hex_digits(2500 + int rand 3000) }

my @odd_text = (
    '', ' ', 'a', 'null', 'NULL', '\\N', '\\.', '{}', '""', '"', "'", '\\', "a\tb\nc\rd", "\x01\x1f",
    "\xe2\x80\xa8", "\xf0\x9f\x98\x80", "\xc3\x84", '\\u0000', '{"a":1}', '$1 %s', 'a,b', '(a)', 'x  ');

# A JSON value; for jsonb without what only json takes.
sub json {
    my ($depth) = @_;
    return pick(
        'null', 'true', '1.00', '-0', '1e400', '12345678901234567890.1', '""', '"\\u00e4\\ud83d\\ude00"',
        '"a\\"b\\\\c\\n"', '"' . long_text() . '"', '[]', '{}')
      if $depth == 0 || one_in(3);
    return '[' . join(',', map { json($depth - 1) } 1 .. 1 + rand 3) . ']' if one_in(2);
    return '{' . join(', ', map {qq{"k$_ \\u2028": } . json($depth - 1)} 1 .. 1 + rand 3) . '}';
}

sub float {
    my (@more) = @_;
    return pick('NaN', 'Infinity', '-Infinity', '0', '-0', '0.1', '-1.5', @more,
        (int(rand 2000) - 1000) . '.' . digits(3));
}

# "12:34:56.789"; $last_hour 24 gives 24:00 at times.
sub time_of_day {
    return pick('00:00', '24:00', '23:59:59.999999',
        sprintf('%02d:%02d:%02d.%s', rand 24, rand 60, rand 60, digits(6)));
}
sub day { return sprintf '%04d-%02d-%02d', 1 + rand($_[0] // 9998), 1 + rand 12, 1 + rand 28 }

sub small_interval {
    return pick('0', '1 mon -1 day +00:00:00.000001', '-178000000 years', '178000000 years', '1 year -3 hours',
        '-1 mon 2 days -3 hours', int(rand 99) . ' mons -' . int(rand 99) . ' days ' . time_of_day());
}

sub ipv4 { return join '.', map { int rand 256 } 1 .. 4 }
sub pair { return '(' . float('1e-300') . ',' . float('1e300') . ')' }
sub xy   { return '(' . digits(3) . '.5,-' . digits(2) . ')' }

sub odd_point { return '(' . pick('NaN', 'Infinity', '-0') . ',' . pick('-Infinity', 'NaN', '1e-300') . ')' }

sub snapshot {
    my $from = 1 + int rand 100_000;
    my $to   = $from + 3 + int rand 100;
    return pick("$from:$from:", "$from:$to:", "$from:$to:" . ($from + 1) . ',' . ($from + 2),
        '9223372036854775806:9223372036854775807:9223372036854775806');
}

# Text images of base types.
my %text = (
    bool     => sub { pick(qw(t f)) },
    # Above 7 bits from version 16 on, which writes these so; before, that is a backslash.
    char     => sub { pick('a', '', '\\', '"', ',', '\\200', '\\377') },
    name     => sub { pick(@odd_text[ 0 .. 14 ], 'n' x 63, hex_digits(10)) },
    int2     => sub { pick(-32768, 32767, 0, int rand 1000) },
    int4     => sub { pick(-2147483648, 2147483647, 0, int rand 1e9) },
    int8     => sub { pick('-9223372036854775808', '9223372036854775807', 0, '1' . digits(17)) },
    oid      => sub { pick(0, 4294967295, int rand 1e9) },
    tid      => sub { pick('(4294967295,65535)', '(' . int(rand 1e9) . ',' . int(rand 65536) . ')') },
    xid      => sub { pick(0, 4294967295, int rand 1e9) },
    cid      => sub { pick(0, 4294967295, int rand 1e9) },
    xid8     => sub { pick('0', '18446744073709551615', '1' . digits(18)) },
    text     => sub { one_in(4) ? long_text() : pick(@odd_text, hex_digits(20)) },
    citext   => sub { one_in(4) ? long_text() : pick(@odd_text, 'AbC', 'aBc') },
    varchar  => sub { one_in(4) ? long_text() : pick(@odd_text) },
    bpchar   => sub { one_in(4) ? long_text() : pick(@odd_text) },
    refcursor => sub { pick(@odd_text) },
    bytea => sub { '\\x' . (one_in(4) ? hex_digits(8000) : pick('', '00', '5c78', hex_digits(40))) },
    json  => sub { pick('', ' ', "\n") . pick(json(2), '{"a":1, "a" : 2 }', '"\\u0000\\ud800"') },
    jsonb => sub { json(3) },
    jsonpath => sub { pick('$.a[*] ? (@ > 1)', 'strict $."b c"', 'lax $') },
    xml      => sub {
        pick('', 'text', '<a b="c">&lt;</a>', '<a/><b/>', '<?xml version="1.0"?><a/>',
            '<a>' . long_text() . '</a>');
    },
    float4 => sub { float('3.4028235e38', '1e-45', '1.1754944e-38') },
    float8 => sub { float('1.7976931348623157e308', '5e-324', '0.30000000000000004') },
    money  => sub { pick('0', '-92233720368547758.08', '92233720368547758.07', digits(4) . '.' . digits(2)) },
    numeric => sub {
        pick('NaN', 'Infinity', '-Infinity', '0', '0.00', '1.0', '1.00', '1e-1000', '-1e-16383', '1e1000',
            '0.' . digits(16382) . '1', '1' . digits(3000), '-' . digits(40) . '.' . digits(40),
            one_in(5) ? '1e131071' : '1e-16383');
    },
    date => sub {
        pick('infinity', '-infinity', '4714-11-24 BC', '5874897-12-31', day(), day(4700) . ' BC');
    },
    time => sub { time_of_day() },
    timetz    => sub { time_of_day() . pick('+00', '-15:59:59', '+15:59:59', '+02', '-04:30') },
    timestamp => sub {
        pick('infinity', '-infinity', '4714-11-24 00:00:00 BC', '294276-12-31 23:59:59.999999',
            day() . ' ' . time_of_day(), day(4700) . ' 00:00:00.000001 BC');
    },
    timestamptz => sub {
        pick('infinity', '-infinity', '4714-11-24 00:00:00+00 BC', '294276-12-31 23:59:59.999999+00',
            day() . ' ' . time_of_day() . pick('+00', '-15:59', '+05:45'));
    },
    # No version reads the least number of microseconds that it writes.
    interval => sub {
        one_in(2)
            ? small_interval()
            : pick('2147483647 mons 2147483647 days 2562047788:00:54.775807',
            '-2147483647 mons -2147483647 days -2562047788:00:54.775807', '-2147483648 days');
    },
    'interval day to second(2)' => sub { small_interval() },
    uuid     => sub { pick('0' x 32, 'f' x 32, hex_digits(32)) },
    inet     => sub {
        pick(ipv4(), ipv4() . '/8', '0.0.0.0/0', '::/0', 'ffff' . ':ffff' x 7 . '/128', '::1',
            '::ffff:1.2.3.4', 'fe80::1/64');
    },
    cidr     => sub { pick('10.0.0.0/8', '0.0.0.0/0', '::/0', '1.2.3.4/32', '2001:db8::/32') },
    macaddr  => sub { pick('0' x 12, 'f' x 12, hex_digits(12)) },
    macaddr8 => sub { pick('0' x 16, 'f' x 16, hex_digits(16)) },
    bit      => sub { pick(0, 1) },
    varbit   => sub { join '', map { int rand 2 } 1 .. rand(one_in(4) ? 3000 : 300) },
    point    => sub { pair() },
    line     => sub { pick('{1,-1,0}', '{0,-1,1e-300}', '{-1,0,5.5}') },
    lseg     => sub { '[' . xy() . ',' . pair() . ']' },
    box      => sub { xy() . ',' . xy() },
    path     => sub {
        pick('[' . xy() . ',' . pair() . ']', '(' . xy() . ',' . xy() . ')', '[' . odd_point() . ']');
    },
    polygon => sub {
        my @points = map { xy() } 1 .. 1 + rand(one_in(5) ? 900 : 5);
        return '(' . join(',', one_in(4) ? odd_point() : (), @points) . ')';
    },
    circle =>
      sub { '<' . pick(xy(), odd_point()) . ',' . pick(digits(2) . '.25', 'Infinity', 'NaN') . '>' },
    tsvector => sub {
        pick('', "a:1A,2B 'b c':3", 'a:16383A b:16383',
            join ' ', map { hex_digits(3) . ":$_" } 1 .. rand 400);
    },
    tsquery  => sub { pick('', 'a & !b', "a | 'c d':*A", 'a <2> b', '!!(a & b)') },
    pg_lsn   => sub { pick('0/0', 'FFFFFFFF/FFFFFFFF', '16/B374D848') },
    pg_snapshot   => sub { snapshot() },
    txid_snapshot => sub { snapshot() },
    int2vector    => sub { pick('', '1 2 3', '-32768 0') },
    oidvector     => sub { pick('', '1 2 4294967295') },
    regproc       => sub { pick('-', 'pg_catalog.now', 'sin') },
    regprocedure  => sub { pick('-', 'pg_catalog.abs(int)') },
    regoper       => sub { pick('0', 'pg_catalog.||/') },
    regoperator   => sub { pick('0', '+(int,int)') },
    regclass      => sub { pick('-', 'pg_class', 'pg_catalog.pg_type') },
    regcollation  => sub { pick('-', '"C"', '"POSIX"') },
    regtype       => sub { pick('-', 'int4', 'timestamp with time zone', 'pg_class') },
    regrole       => sub { pick('-', 'pg_monitor') },
    regnamespace  => sub { pick('-', 'pg_catalog', 'information_schema') },
    regconfig     => sub { pick('-', 'english', 'simple') },
    regdictionary => sub { pick('-', 'english_stem') },
    aclitem       => sub { pick('pg_monitor=r/pg_monitor', '=X/pg_monitor', 'pg_monitor=a*w/pg_monitor') },
    hstore        => sub { pick('', 'a=>NULL', '"b c"=>"d\\"e", a=>"' . long_text() . '"') },);

# No value of these can be made by a client.
my %without = map { $_ => 1 } qw(pg_node_tree pg_ndistinct pg_dependencies pg_mcv_list
  pg_brin_bloom_summary pg_brin_minmax_multi_summary gtsvector ghstore);

# Names of base types that nothing above knows.
sub types_without_values {
    return grep { !$text{$_} && !$without{$_} } @_;
}

sub has_text { return exists $text{ $_[0] } }

# An SQL expression for a value of a type: a hash with decl (how to write it), kind (pg_type.typtype,
# or 'a' for arrays), name, and the types it is made of: element, fields, labels.
sub value_of {
    my ($type) = @_;
    return "NULL::$type->{decl}" if one_in(12);
    return 'CAST(' . expression($type) . " AS $type->{decl})";
}

sub expression {
    my ($type) = @_;
    my $kind = $type->{kind};
    return quote(pick(@{ $type->{labels} })) if $kind eq 'e';
    return value_of($type->{element})        if $kind eq 'd';
    return 'ROW(' . join(', ', map { value_of($_) } @{ $type->{fields} }) . ')' if $kind eq 'c';
    return range($type)                                                         if $kind eq 'r';
    return "$type->{decl}(" . join(', ', map { range($type->{element}) } 0 .. rand 3) . ')'
      if $kind eq 'm';
    return $kind eq 'a' ? array($type) : quote(($text{ $type->{decl} } // $text{ $type->{name} })->());
}

# Canonical ranges of whole numbers cannot end at the largest one.
sub range {
    my ($type) = @_;
    return "CAST('empty' AS $type->{decl})" if one_in(6);
    my ($low, $high) = map { value_of($type->{element}) } 1, 2;
    my $bounds = $type->{name} =~ /int|date/ ? '[)' : pick('[)', '()', '[]', '(]');
    return "(SELECT CASE WHEN l > h THEN $type->{decl}(h, l, '$bounds')"
        . " ELSE $type->{decl}(l, h, '$bounds') END FROM (SELECT $low, $high) t (l, h))";
}

sub array {
    my ($type)   = @_;
    my $decl     = $type->{decl};
    my $count    = 1 + int rand 4;
    my $elements = sub {
        'ARRAY[' . join(', ', map { value_of($type->{element}) } 1 .. $count) . ']';
    };
    return "CAST('{}' AS $decl)" if one_in(6);
    return 'ARRAY[' . join(', ', map { $elements->() } 0 .. rand 3) . ']' if one_in(4);
    return 'ARRAY[' x 5 . $elements->() . ']' x 5 if one_in(6);
    my $low = pick(-2147483648, 2147483647 - $count, int(rand 9) - 4);
    my $end = $low + $count - 1;
    return "concat('[$low:$end]=', CAST(" . $elements->() . " AS $decl))" if one_in(3);
    return $elements->();
}

1;
