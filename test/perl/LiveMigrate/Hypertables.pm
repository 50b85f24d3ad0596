# A source without extensions, and a target with TimescaleDB: run with 2.19.3 on PostgreSQL 17, 2.26.0 and
# 2.28.3 on PostgreSQL 15.
package LiveMigrate::Hypertables;

use strict;
use warnings;

use LiveMigrate::Test;
use Test::More;

use parent -norequire, 'LiveMigrate::Test';

# Ends the test file unless the server under test has TimescaleDB; with an edition named, unless it
# has that: 'timescale' has compression, policies and continuous aggregates, 'apache' has not.
sub new_or_skip {
    my ($class, %opt) = @_;
    my $edition   = delete $opt{edition};
    my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
    chomp(my $sharedir = `$pg_config --sharedir`);
    plan skip_all => 'TimescaleDB is not installed for the server under test'
        unless -e "$sharedir/extension/timescaledb.control";
    plan skip_all => "this TimescaleDB is the Apache edition: no compression, policies,"
        . ' continuous aggregates'
        if ($edition // '') eq 'timescale' && !$class->has_community_edition;

    my $self = $class->SUPER::new(
        %opt,
        target_conf => "shared_preload_libraries = 'timescaledb,livemigrate'\n"
            . "timescaledb.telemetry_level = off\n"
            . "max_locks_per_transaction = 256\n"
            . ($opt{target_conf} // ''));
    $self->target_sql('DROP EXTENSION livemigrate') unless $opt{extensions} // 1;
    $self->create_timescaledb if $opt{extensions} // 1;
    return $self;
}

sub has_community_edition {
    my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
    chomp(my $libdir = `$pg_config --pkglibdir`);
    my @libraries = glob "$libdir/timescaledb-tsl-*.so";
    return @libraries > 0;
}

sub database {
    my ($self, @arg) = @_;
    my $other = $self->SUPER::database(@arg);
    $other->create_timescaledb;
    return $other;
}

# Loading the library into a session that had none before is not allowed.
sub create_timescaledb {
    my ($self) = @_;
    $self->target_sql('SET client_min_messages = warning; CREATE EXTENSION timescaledb');
}

# Rows of hypertables are read with their chunks.
sub fingerprint_statements {
    my ($self, @arg) = @_;
    return map {s/ FROM ONLY / FROM /r} $self->SUPER::fingerprint_statements(@arg);
}

# Every row lies in a chunk.
sub assert_in_chunks {
    my ($self, $label, @tables) = @_;
    for my $table (@tables) {
        is($self->target_sql("SELECT count(*) FROM ONLY $table"), '0', "$label: root of $table");
    }
}

1;
