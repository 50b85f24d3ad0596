# T group, as a property: columns of every base, array, range, multirange, enum, domain and composite
# type, random values with the extremes of each, random changes; source and target end up with the
# same binary images.  SEED=n repeats a run.
use strict;
use warnings;

use FindBin;
use lib "$FindBin::RealBin/../perl";
use LiveMigrate::Batch;
use LiveMigrate::Values qw(pick one_in types_without_values value_of);
use List::Util qw(shuffle);
use Test::More;

my $seed = $ENV{SEED} // 20260728;
srand $seed;
diag "SEED=$seed";

my $pair = LiveMigrate::Batch->new(dbname => 'unused');

my $types = <<'SQL';
CREATE SCHEMA ty; CREATE EXTENSION hstore SCHEMA ty; CREATE EXTENSION citext SCHEMA ty;
CREATE TYPE ty.mood AS ENUM ('sad', 'so so', '"', '''', '{}', 'a,b',
    'a label as long as can be, which is sixty-three bytes, no more.');
CREATE TYPE ty.pair AS (a int, b text, c numeric, m ty.mood);
CREATE TYPE ty.nest AS (p ty.pair, list ty.pair[], t timestamptz, h ty.hstore);
CREATE TYPE ty.textrange AS RANGE (subtype = text, collation = "C");
CREATE TYPE ty.floatrange AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE DOMAIN ty.count AS int CHECK (VALUE IS NULL OR VALUE IS NOT NULL);
CREATE DOMAIN ty.short AS varchar(4000);
CREATE DOMAIN ty.bytes AS bytea; CREATE DOMAIN ty.amount AS numeric; CREATE DOMAIN ty.ratio AS float8;
CREATE DOMAIN ty.list AS int[] CHECK (cardinality(VALUE) < 100);
CREATE DOMAIN ty.some_pair AS ty.pair; CREATE DOMAIN ty.inner_domain AS ty.bytes;
CREATE DOMAIN ty.some_range AS tstzrange;
SQL

# A line a type: oid, declaration, kind, name, oid of what it is made of, its fields' oids or labels.
my $catalog = <<'SQL';
SELECT concat_ws('|', t.oid, format_type(t.oid, NULL),
    CASE WHEN t.typinput = 'array_in'::regproc THEN 'a' ELSE t.typtype END,
    t.typname,
    coalesce(nullif(t.typelem, 0), nullif(t.typbasetype, 0), r.rngsubtype, m.rngtypid, 0),
    coalesce((SELECT string_agg(a.atttypid || ' ' || a.attname, ';' ORDER BY attnum) FROM pg_attribute a
        WHERE a.attrelid = t.typrelid AND t.typrelid <> 0), (SELECT string_agg(enumlabel, ';')
        FROM pg_enum WHERE enumtypid = t.oid), ''),
    t.typsend::oid::regproc,
    EXISTS (SELECT FROM pg_opclass o JOIN pg_am am ON am.oid = o.opcmethod AND amname = 'btree'
        WHERE o.opcintype = t.oid AND o.opcdefault))
FROM pg_type t LEFT JOIN pg_range r ON r.rngtypid = t.oid LEFT JOIN pg_range m ON m.rngmultitypid =
    t.oid LEFT JOIN pg_class c ON c.oid = t.typrelid LEFT JOIN pg_type e ON e.oid = t.typelem
LEFT JOIN pg_class ec ON ec.oid = e.typrelid
WHERE t.typtype IN ('b', 'd', 'e', 'r', 'm', 'c') AND coalesce(c.relkind, 'c') = 'c'
    AND coalesce(ec.relkind, 'c') = 'c' AND coalesce(e.typtype, 'b') <> 'p'
    AND t.typnamespace IN ('pg_catalog'::regnamespace, 'ty'::regnamespace)
ORDER BY t.oid
SQL

# With a modifier: declaration, and the type that it modifies.
my @modified = (
    [ 'varchar(6000)', 'varchar' ], [ 'char(6000)', 'bpchar' ], [ 'numeric(1000,500)', 'int8' ],
    [ 'numeric(3,-4)', 'int2' ], [ 'bit(7)', 'varbit' ], [ 'varbit(300)', 'varbit' ],
    [ 'timestamp(6)', 'timestamp' ], [ 'timestamptz(6)', 'timestamptz' ], [ 'time(1)', 'time' ],
    [ 'interval day to second(2)', 'interval' ], [ 'char(6000)[]', '_bpchar' ],
    [ 'time(2)[]', '_time' ]);

sub read_types {
    my ($one) = @_;
    my (%by_oid, %by_name, @usable);
    for my $line (split /\n/, $one->source_sql($catalog)) {
        my ($oid, $decl, $kind, $name, $element, $parts, $send, $sorts) = split /\|/, $line;
        $by_oid{$oid} = {
            oid   => $oid,
            decl  => $decl,
            kind  => $kind,
            name  => $name,
            parts => [ split /;/, $parts ],
            of    => $element,
            send  => $send,
            sorts => $sorts eq 't' };
    }
    for my $type (values %by_oid) {
        $by_name{ $type->{name} } = $type;
        $type->{element} = $by_oid{ $type->{of} };
        $type->{labels}  = $type->{parts};
        next unless $type->{kind} eq 'c';
        $type->{fields} = [ map { $by_oid{ (split / /)[0] } } @{ $type->{parts} } ];
        $type->{names}  = [ map { (split / /, $_, 2)[1] } @{ $type->{parts} } ];
    }
    my @unknown = types_without_values(map { $_->{name} } grep { $_->{kind} eq 'b' } values %by_oid);
    is("@unknown", '', 'every base type has values');
    my $has_values;
    $has_values = sub {
        my ($type) = @_;
        return 0 unless defined $type;
        return LiveMigrate::Values::has_text($type->{name}) if $type->{kind} eq 'b';
        return 1                                            if $type->{kind} eq 'e';
        return !grep { !$has_values->($_) } @{ $type->{fields} } if $type->{kind} eq 'c';
        return $has_values->($type->{element});
    };
    @usable = grep { $has_values->($_) } map { $by_oid{$_} } sort { $a <=> $b } keys %by_oid;
    for my $more (@modified) {
        my $of   = $by_name{ $more->[1] };
        my $send = $more->[0] =~ /^numeric/ ? 'numeric_send' : $of->{send};
        push @usable, { %$of, decl => $more->[0], send => $send, sorts => 0 };
    }
    return @usable;
}

# Tables of ten random columns and one of the kinds of identity.
my @identities = qw(id id_and_key full index);

sub make_tables {
    my (@types) = @_;
    my @sortable = grep { $_->{sorts} && $_->{kind} ne 'a' && $_->{name} ne 'record' } @types;
    my @tables;
    while (my @columns = splice @types, 0, 10) {
        push @tables,
            {
            name     => 'r' . @tables,
            identity => $identities[ @tables % @identities ],
            key      => pick(@sortable),
            columns  => \@columns,
            ids      => [ 1 .. 6 ],
            next     => 7 };
    }
    return @tables;
}

sub create_sql {
    my ($table) = @_;
    my $columns = join ', ',
        map {"c$_ $table->{columns}[$_]{decl}"} 0 .. $#{ $table->{columns} };
    my %rest = (
        id         => '; ALTER TABLE %1$s ADD PRIMARY KEY (id)',
        id_and_key => '; ALTER TABLE %1$s ADD PRIMARY KEY (k, id)',
        full       => '; ALTER TABLE %1$s REPLICA IDENTITY FULL',
        index      => '; CREATE UNIQUE INDEX %1$s_key ON %1$s (id, k);'
            . ' ALTER TABLE %1$s REPLICA IDENTITY USING INDEX %1$s_key');
    return "CREATE TABLE $table->{name} (id int NOT NULL, k $table->{key}{decl} NOT NULL, $columns)"
        . sprintf($rest{ $table->{identity} }, $table->{name}) . ";\n";
}

# Values of a key must fit an index page.
sub key_value {
    my ($table) = @_;
    for (1 .. 1000) {
        my $value = value_of($table->{key});
        return $value if length $value < 300 && $value !~ /NULL|e131071|16383|e-1000/;
    }
    die "no key of type $table->{key}{decl}";
}

sub insert_sql {
    my ($table, $id) = @_;
    return "INSERT INTO $table->{name} VALUES ($id, "
        . join(', ', key_value($table), map { value_of($_) } @{ $table->{columns} }) . ");\n";
}

sub update_sql {
    my ($table, $id) = @_;
    my @set;
    for my $i (0 .. $#{ $table->{columns} }) {
        push @set, "c$i = " . value_of($table->{columns}[$i]) if one_in(4);
    }
    push @set, 'k = ' . key_value($table) if one_in(5);
    push @set, 'id = id' unless @set;
    return "UPDATE $table->{name} SET " . join(', ', @set) . " WHERE id = $id;\n";
}

# One random change; changes the list of the table's rows along with it.
sub change_sql {
    my ($table) = @_;
    my $ids     = $table->{ids};
    my $what    = int rand 10;
    if (!@$ids || $what < 2) {
        push @$ids, $table->{next}++;
        return insert_sql($table, $ids->[-1]);
    }
    my $id = pick(@$ids);
    return update_sql($table, $id) if $what < 8;
    @$ids = grep { $_ != $id } @$ids;
    return "DELETE FROM $table->{name} WHERE id = $id;\n" if $what == 8;
    push @$ids, $table->{next}++;
    return "UPDATE $table->{name} SET id = $ids->[-1] WHERE id = $id;\n";
}

# A transaction of a few changes, or as many as given, parts of them rolled back.
sub transaction_sql {
    my ($changes, @tables) = @_;
    my $sql = "BEGIN;\n";
    for (1 .. $changes // 1 + rand 8) {
        my $table = pick(@tables);
        if (one_in(6)) {
            my ($ids, $next) = ([ @{ $table->{ids} } ], $table->{next});
            $sql .= "SAVEPOINT s;\n" . change_sql($table) . change_sql($table) . "ROLLBACK TO s;\n";
            @$table{qw(ids next)} = ($ids, $next);
        } else {
            $sql .= change_sql($table);
        }
    }
    return $sql . "COMMIT;\n";
}

# A binary image without the type numbers of this database: of composites that of each field, of
# arrays without their head's; text only where these are in each element, or no image is sent.
sub image_of {
    my ($value, $type) = @_;
    my $is_own = $type->{oid} >= 16384;
    return image_of($value, $type->{element}) if $type->{kind} eq 'd';
    if ($type->{kind} eq 'c' && $is_own) {
        my @fields = map { image_of("($value).$type->{names}[$_]", $type->{fields}[$_]) } 0 .. $#{ $type->{names} };
        return "concat_ws('|', $value\::text, " . join(', ', @fields) . ')';
    }
    my $element = $type->{kind} eq 'a' ? $type->{element} : { kind => 'b' };
    $element = $element->{element} while $element->{kind} eq 'd';
    my $image =
        $type->{send} eq '-' || $type->{name} =~ /^_?(?:ref|reg|aclitem)/ || $element->{kind} eq 'c'
      ? "$value\::text"
      : "encode($type->{send}($value), 'hex')";
    $image = "overlay($image placing '' from 17 for 8)" if $type->{kind} eq 'a' && $is_own && $image !~ /text$/;
    return "coalesce($image, 'NULL')";
}

sub image_sql {
    my ($table) = @_;
    my @columns = ([ 'k', $table->{key} ],
        map { [ "c$_", $table->{columns}[$_] ] } 0 .. $#{ $table->{columns} });
    my @images = map { image_of(@$_) } @columns;
    return "SELECT '$table->{name}', id, md5(concat_ws('|', " . join(', ', @images)
        . ")) FROM $table->{name} ORDER BY 2, 3;\n";
}

sub images {
    my ($one, $side, @tables) = @_;
    my $pinned = join '', map {"SET $_;\n"} "DateStyle = 'ISO'", "extra_float_digits = 3",
        "search_path = public, ty", "TimeZone = 'UTC'", "xmloption = content";
    return $one->$side->safe_psql($one->dbname, $pinned . join('', map { image_sql($_) } @tables),
        timeout => 300);
}

# Those that have the same binary form on every server.
my %portable = map { $_ => 1 } qw(bool bytea char name int8 int2 int4 text oid json jsonb point lseg
    path box polygon line circle float4 float8 macaddr macaddr8 inet cidr bpchar varchar date time timetz
    timestamp timestamptz interval bit varbit numeric uuid int4range int8range numrange tsrange tstzrange
    daterange);

sub is_portable {
    my ($type) = @_;
    return $type->{kind} eq 'e' if $type->{kind} =~ /[ec]/;
    return is_portable($type->{element}) if $type->{kind} eq 'd';
    return $portable{ $type->{kind} eq 'a' ? $type->{element}{name} : $type->{name} };
}

my $sends_binary = $pair->source_sql('SHOW server_version_num') >= 140000;
my $form         = <<'SQL';
SELECT query ~ '"binary" ''true''' FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'walsender' AND query ~ '^START_REPLICATION'
SQL

# Until all apply workers have what the source has written.
sub wait_for_all {
    my ($one) = @_;
    my $written = $one->source_sql('SELECT pg_current_wal_flush_lsn()');
    $one->knock;
    $one->wait_applied;
    $one->poll(sub { $one->target_sql("SELECT applied_lsn >= '$written' FROM livemigrate.migration_status()") eq 't' })
      or $one->diagnose('not all is applied');
}

my %start = (binary => {}, streamed => {}, workers => { options => '{"apply_jobs": 3}' });
for my $how (qw(pgoutput binary wal2json streamed workers)) {
    next if $how eq 'streamed' && !$sends_binary; # nor does it stream
    my $plugin = $start{$how} ? 'pgoutput' : $how;
    my $one    = $pair->database("random_$how");
    $one->source_sql("ALTER DATABASE random_streamed SET logical_decoding_work_mem = '64kB'") if $how eq 'streamed';
    $one->create_gate;
    $one->source_sql($types);
    my @types  = read_types($one);
    my $number = @types;
    cmp_ok($number, '>', 170, "$how: $number types");
    if ($plugin eq 'wal2json' && !$one->wal2json_is_lossless) {
        @types = grep { $_->{decl} !~ /^(?:real|double precision|numeric.*)$/ || $_->{kind} eq 'a' }
            @types;
    }
    @types = grep { is_portable($_) } @types if $how eq 'binary';
    my @tables = make_tables(shuffle @types);
    $one->source_sql(
        "SET xmloption = content;\n" . join '',
        map {
            my $table = $_;
            (create_sql($table), map { insert_sql($table, $_) } @{ $table->{ids} })
        } @tables);
    $one->start(plugin => $plugin, %{ $start{$how} // {} });
    $one->wait_stage('streaming');
    $one->poll(sub { $one->source_sql($form) ne '' });
    is($one->source_sql($form), $how eq 'binary' && $sends_binary ? 't' : 'f', "$how: form of values");

    my $transactions = sub {
        my ($count, $changes) = @_;
        "SET xmloption = content;\n" . join '', map { transaction_sql($changes, @tables) } 1 .. $count;
    };
    $one->in_one_batch($how eq 'streamed' ? $transactions->(3, 200) : $transactions->(150));
    wait_for_all($one);
    is(images($one, 'target', @tables), images($one, 'source', @tables), "$how: one batch");
    # Transaction by transaction, as they come; few rows are changed often.
    $one->source_sql($how eq 'streamed' ? $transactions->(4, 100) : $transactions->(40));
    $one->source_sql(transaction_sql(undef, $tables[0])) for 1 .. 10;
    wait_for_all($one);
    is(images($one, 'target', @tables), images($one, 'source', @tables), "$how: as they come");
    is($one->poll(sub { $one->source_sql("SELECT stream_txns > 2 FROM pg_stat_replication_slots WHERE slot_name ~ 'random_streamed'") eq 't' }),
        1, 'streamed: transactions came in progress') if $how eq 'streamed';
    $one->finish("$how: random types");
}

done_testing();
