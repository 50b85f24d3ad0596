# The judge of the tests: compares source and target without using any of livemigrate's own code.
package LiveMigrate::Compare;

use strict;
use warnings;

use File::Find ();
use JSON::PP   ();
use Test::More;

# Text images must not depend on the database's or the role's settings.
my $pinned = join ' ',
    map {"SET $_;"} (
    "client_encoding = 'UTF8'",
    "DateStyle = 'ISO, YMD'",
    "IntervalStyle = 'postgres'",
    "TimeZone = 'UTC'",
    "bytea_output = 'hex'",
    "search_path = ''",
    "lc_monetary = 'C'",
    "xmloption = 'content'",
    "row_security = off",
    "statement_timeout = 0",
    "default_transaction_read_only = off",
    "standard_conforming_strings = on");

# Before version 12 a float has other digits when all are asked for; fewer are the same everywhere.
our $float_digits = 'SET extra_float_digits = 3;';

# User relations: everything outside the system's schemas, our own, and extensions.
my $user_relation = <<'SQL';
    n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'livemigrate')
    AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND
            d.deptype = 'e')
SQL

# One statement for each relation that holds something; each gives one JSON line with the name, the
# row count and an order-independent hash of the rows' text.  Columns go by name, as on the source.
# The hash of hash partitioning costs a tenth of md5, but is of the bytes in the server's encoding.
my $cheap_hash = 'hashtextextended(r, 0)::numeric';
my $row_hash = q{('x' || substr(md5(convert_to(r, 'UTF8')), 1, 16))::bit(64)::bigint::numeric};
my $of_table = "SELECT json_build_object('name', %1\$L, 'rows', count(*)::text, 'hash',"
  . " coalesce(sum(%4\$s), 0)::text) FROM (SELECT ROW(%3\$s)::text AS r FROM ONLY %2\$s) t";
my $of_sequence = "SELECT json_build_object('name', %1\$L, 'rows', last_value::text, 'hash',"
  . ' is_called::text) FROM %2$s';
my $of_large_object = "SELECT json_build_object('name', %1\$L, 'rows', '1', 'hash',"
  . ' md5(lo_get(%2$s)))';
my $fingerprints = <<"SQL";
SELECT format(CASE c.relkind WHEN 'S' THEN \$f\$$of_sequence\$f\$ ELSE \$f\$$of_table\$f\$ END,
    n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname),
    (SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY a.attnum)
     FROM pg_catalog.pg_attribute a
     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    CASE WHEN current_setting('server_encoding') = 'UTF8'
             AND current_setting('server_version_num')::int >= 110000
         THEN \$h\$$cheap_hash\$h\$ ELSE \$h\$$row_hash\$h\$ END)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind IN ('r', 'S') OR c.relkind = 'm' AND c.relispopulated) AND $user_relation
UNION ALL
SELECT format(\$f\$$of_large_object\$f\$, 'large object ' || oid, oid)
FROM pg_catalog.pg_largeobject_metadata
SQL

my $relations = <<"SQL";
SELECT json_build_object('name', n.nspname || '.' || c.relname,
    'kind', concat(c.relkind, c.relpersistence))
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'i', 'I', 'c') AND $user_relation
SQL

sub _lines {
    my ($node, $dbname, $sql) = @_;
    my $out = $node->safe_psql($dbname, "$pinned\n$float_digits\n$sql");
    return map { decode_row($_) } split /\n/, $out;
}

# JSON as the server prints it, to a hash of byte strings.
sub decode_row {
    my ($json) = @_;
    my $row = JSON::PP->new->decode($json);
    utf8::downgrade($_) for grep { defined && !ref } values %$row;
    return $row;
}

# Statements as text would break at a newline inside a name, so they travel as JSON strings.
sub fingerprint_statements {
    my ($self, $skip) = @_;
    my @rows = _lines($self->source, $self->dbname,
        "SELECT json_build_object('sql', q.format) FROM ($fingerprints) q");
    return grep { !$skip || $_ !~ $skip } map { $_->{sql} } @rows;
}

# name => "rows hash", for each table, sequence, materialized view and large object of the source.
sub fingerprint {
    my ($self, $node, @statements) = @_;
    return { map { $_->{name} => "$_->{rows} $_->{hash}" }
            _lines($node, $self->dbname, join(";\n", @statements)) };
}

# Rows, sequences and large objects are equal, and both sides have the same relations.
# Options: skip (pattern on the comparing statement), relations => 0 to compare the contents only,
# rows_only => 1 before cutover: no sequences and no list of relations.
sub assert_equal_tables {
    my ($self, $label, %opt) = @_;
    my @statements = $self->fingerprint_statements($opt{skip});
    @statements = grep { !/ last_value::text/ } @statements if $opt{rows_only};
    my @different;

    my %kind;
    for my $side ($opt{rows_only} || !($opt{relations} // 1) ? () : qw(source target)) {
        $kind{$side}
            = { map { $_->{name} => $_->{kind} } _lines($self->$side, $self->dbname, $relations) };
    }
    for my $name (sort keys %{ { map {%$_} values %kind } }) {
        my ($want, $got) = map { $_->{$name} // 'nothing' } @kind{qw(source target)};
        push @different, "relation $name: $want on the source, $got on the target" if $want ne $got;
    }

    my $want = $self->fingerprint($self->source, @statements);
    my $got  = eval { $self->fingerprint($self->target, @statements) };
    push @different, "reading the target: " . substr $@, 0, 300 if $@;
    for my $name ($got ? sort keys %$want : ()) {
        next if ($got->{$name} // '') eq $want->{$name};
        push @different, "$name: $want->{$name} on the source, " . ($got->{$name} // 'nothing');
        push @different, $self->first_differences(grep { index($_, $name) >= 0 } @statements);
    }
    ok(!@different, $label) or diag join "\n", splice @different, 0, 30;
    return !@different;
}

# A few rows that are on one side only, for the log.
sub first_differences {
    my ($self, $statement) = @_;
    my ($rows) = ($statement // '') =~ /FROM \((SELECT ROW.*)\) t$/s or return;
    my %count;
    for my $side ([ source => 1 ], [ target => -1 ]) {
        my ($node, $sign) = @$side;
        $count{ substr $_->{r}, 0, 300 } += $sign
            for _lines($self->$node, $self->dbname,
            "SELECT json_build_object('r', t.r) FROM ($rows LIMIT 50000) t");
    }
    my @only = sort grep { $count{$_} } keys %count;
    return map {"  $count{$_}: $_"} splice @only, 0, 6;
}

# The schema as pg_dump prints it, without what belongs to a server or to us.
sub schema_dump {
    my ($self, $side, @flags) = @_;
    my ($out, $err) = ('', '');
    IPC::Run::run(
        [   'pg_dump',                      '--schema-only',
            '--no-publications',            '--no-subscriptions',
            '--exclude-schema=livemigrate', '--no-tablespaces',
            @flags,                         '-d',
            $self->$side->connstr($self->dbname) ],
        '>',
        \$out,
        '2>',
        \$err) or
        die "pg_dump of the $side: $err";
    return join "\n", grep { !/^(?:--|\\(?:un)?restrict|$)|EXTENSION .*livemigrate/ } split /\n/,
        $out;
}

sub assert_same_schema {
    my ($self, $label, @flags) = @_;
    my %line;
    for my $side ([ source => 1 ], [ target => -1 ]) {
        $line{$_} += $side->[1] for split /\n/, $self->schema_dump($side->[0], @flags);
    }
    my @only = map { ($line{$_} > 0 ? 'source only: ' : 'target only: ') . $_ }
        sort grep { $line{$_} } keys %line;
    ok(!@only, $label) or diag join "\n", splice @only, 0, 30;
}

# Names of what a migration made on either side and should have removed.
sub leftovers {
    my ($self) = @_;
    my @left;
    push @left, map {"source: $_"} split /\n/, $self->source->safe_psql($self->dbname, <<'SQL');
SELECT 'slot ' || slot_name FROM pg_replication_slots WHERE slot_name ~ 'livemigrate'
UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname ~ 'livemigrate'
UNION ALL SELECT 'session ' || pid || ' ' || query FROM pg_stat_activity
    WHERE application_name ~ 'livemigrate'
SQL
    push @left, map {"target: $_"} split /\n/, $self->target->safe_psql($self->dbname, <<'SQL');
SELECT 'origin ' || roname FROM pg_replication_origin WHERE roname ~ 'livemigrate'
UNION ALL SELECT 'worker ' || backend_type || ' ' || pid FROM pg_stat_activity
    WHERE backend_type ~ 'livemigrate' AND backend_type !~ 'launcher'
SQL
    push @left, map {"target: file $_"} $self->spool_files;
    return @left;
}

sub spool_files {
    my ($self) = @_;
    my $directory = $self->target->data_dir . '/livemigrate';
    my @files;
    File::Find::find(sub { push @files, $File::Find::name if -f }, $directory) if -d $directory;
    return @files;
}

# Sessions and workers need a moment to go, so this polls; longer than usual if it is told so.
sub assert_nothing_left {
    my ($self, $label, $seconds) = @_;
    my @left;
    my $clean = $self->poll(sub { @left = $self->leftovers; !@left }, $seconds);
    ok($clean, $label) or diag join "\n", @left;
}

1;
