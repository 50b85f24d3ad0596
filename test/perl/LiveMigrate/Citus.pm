# A source without extensions, and a target that is the coordinator of a Citus with worker nodes: run with
# 13.0.5 and 13.2.2 on PostgreSQL 15.
package LiveMigrate::Citus;

use strict;
use warnings;

use LiveMigrate::Test;
use PostgreSQL::Test::Cluster;
use Test::More;

use parent -norequire, 'LiveMigrate::Test';

my $conf = "citus.shard_count = 4\ncitus.node_conninfo = 'sslmode=prefer'\n"
  . "citus.recover_2pc_interval = 1s\nmax_prepared_transactions = 50\n";

# Ends the test file unless the server under test has Citus. Options: worker_nodes, how many; 0 lets
# the coordinator hold the shards. The others are those of LiveMigrate::Test.
sub new_or_skip {
    my ($class, %opt) = @_;
    my $pg_config = $ENV{PG_CONFIG} || 'pg_config';
    chomp(my $sharedir = `$pg_config --sharedir`);
    plan skip_all => 'Citus is not installed for the server under test'
      unless -e "$sharedir/extension/citus.control";

    my $self = $class->SUPER::new(
        %opt,
        target_conf => "shared_preload_libraries = 'citus, livemigrate'\n$conf"
          . ($opt{target_conf} // ''));
    $self->{worker_nodes} = [ map { _make_worker_node("worker_$_") } 1 .. $opt{worker_nodes} ];
    $self->_create_citus;
    return $self;
}

sub _make_worker_node {
    my ($name) = @_;
    my $node = PostgreSQL::Test::Cluster->new($name);
    $node->init(allows_streaming => 'replica', extra => [ '--encoding=UTF8', '--locale=C' ]);
    $node->append_conf('postgresql.conf',
        "shared_preload_libraries = 'citus'\nfsync = off\nmax_connections = 100\n$conf");
    $node->start;
    return $node;
}

sub worker_nodes { return @{ $_[0]{worker_nodes} } }

# Runs a statement in the database on each worker node.
sub on_worker_nodes {
    my ($self, $sql) = @_;
    $_->safe_psql($self->dbname, $sql) for $self->worker_nodes;
}

sub database {
    my ($self, @arg) = @_;
    my $other = $self->SUPER::database(@arg);
    $other->_create_citus;
    return $other;
}

sub _create_citus {
    my ($self) = @_;
    my $address = sub { "'" . $_[0]->host . "', " . $_[0]->port };
    $self->target_sql('CREATE EXTENSION citus');
    my $coordinator = $address->($self->target);
    $self->target_sql("SELECT citus_set_coordinator_host($coordinator)");
    $self->target_sql("SELECT citus_set_node_property($coordinator, 'shouldhaveshards', true)")
      unless $self->worker_nodes;
    for my $node ($self->worker_nodes) {
        $node->safe_psql('postgres',
            'CREATE DATABASE ' . LiveMigrate::Test::quote_identifier($self->dbname));
        $node->safe_psql($self->dbname, 'CREATE EXTENSION citus');
        $self->target_sql('SELECT citus_add_node(' . $address->($node) . ')');
    }
}

# Row by row, in one statement for each table.
sub assert_equal_rows {
    my ($self, $label, @tables) = @_;
    for my $table (@tables) {
        my $rows = "SELECT count(*), sum(('x' || substr(md5(t::text), 1, 8))::bit(32)::bigint) FROM $table t";
        is($self->target_sql($rows), $self->source_sql($rows), "$label: equal rows of $table");
    }
}

1;
