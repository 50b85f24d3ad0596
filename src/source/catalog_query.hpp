// What we ask of the source's catalogs, as plain structs. Works on every source from 10 to 18; each
// function is one round trip, and cheap with ten thousand tables.
//
// Nothing here waits for a lock of the source's users: a table that somebody holds (or wants)
// exclusively is not opened, its size is then the catalog's estimate.
#pragma once

#include "source/connection.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace livemigrate::source {

// The server and database a connection leads to, and what its role may do there.
struct SourceInfo {
    int version_num = 0;  // server_version_num: 150020
    std::string version;  // server_version: "15.20 (Debian ...)"
    std::string encoding; // of the database: UTF8
    std::string database;
    std::string collate;
    std::string ctype;
    std::string system_identifier;
    uint32_t timeline = 0;
    bool in_recovery = false;
    std::string recovery_mark; // see kRecoveryMark

    std::string role;
    bool is_superuser = false;
    bool can_replicate = false;          // the attribute, superuser, or a cloud's replication role
    bool can_create_in_database = false; // needed for CREATE PUBLICATION
    std::string client_address;          // ours as the source sees it; empty for a local socket

    std::string wal_level;
    int max_replication_slots = 0;
    int used_replication_slots = 0;
    int max_wal_senders = 0;
    int used_wal_senders = 0;
    int free_connections = 0;    // for a role that is no superuser
    int64_t lock_table_size = 0; // locks that the shared lock table surely holds
    int max_locks_per_transaction = 0;
    std::string max_slot_wal_keep_size;        // "-1": no limit; empty before 13
    std::string idle_replication_slot_timeout; // "0": never; empty before 18
    std::string old_snapshot_threshold;        // "-1": off; empty from 17 on

    int
    major() const {
        return version_num / 10000;
    }
};

SourceInfo DescribeSource(Connection &connection);

// A plain or partitioned user table. Tables of extensions are left out, except those that the
// extension has declared as its configuration, whose rows pg_dump would dump too.
struct SourceTable {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
    char relkind = 'r';        // r, p
    char persistence = 'p';    // p, u
    uint64_t pages = 0;        // of the main fork
    uint64_t bytes = 0;        // with TOAST
    int64_t rows_estimate = 0; // -1: never analyzed
    uint32_t filenode = 0;
    char replica_identity = 'd';  // pg_class.relreplident
    bool identity_usable = false; // UPDATE and DELETE can be replicated
    bool has_primary_key = false;
    bool primary_key_usable = false; // valid and not deferrable: REPLICA IDENTITY DEFAULT would do
    bool deferrable_key = false;     // a primary key, unique or exclusion constraint is deferrable
    bool unsent_key = false;         // not usable because of a generated column, see pgoutput
    bool full_usable = false;        // REPLICA IDENTITY FULL would do
    std::string candidate_index;     // could be the identity, where that is not usable; else empty
    bool is_partition = false;
    uint32_t parent_oid = 0;   // of a partition
    bool row_security = false; // policies would filter what our role reads
    std::string owner;
    bool is_owner = false; // our role has the owner's rights
    bool can_select = false;
    bool has_lossy_column = false; // float4, float8, numeric: see wal2json in doc/limitations
    bool is_extension_config = false;
    uint64_t rows_changed = 0;       // UPDATE and DELETE, as the source's statistics count them
    std::string extension_condition; // "WHERE ...", the rows that are the user's; may be empty
};

// From this version on a partitioned table can be in a publication, and stands for its partitions.
constexpr int kPublishesRootsVersion = 130000;

// From this version on (TID range scans) reading a part of a table costs only its own pages, so
// that large ones are copied in parts.
constexpr int kTidRangeScanVersion = 140000;

// From this version on a publication can send stored generated columns, and must if they are part
// of a replica identity.
constexpr int kSendsGeneratedVersion = 180000;

// pages and bytes of the tables: of their files, which opens each of them; as the last VACUUM or
// ANALYZE counted them; or so where they were counted, and measured where not, and where UPDATE and
// DELETE cannot be replicated, of which one that is empty is no trouble.
enum class TableSizes { kMeasured, kAsCounted, kWhereCounted };

// By schema and name.
std::vector<SourceTable> ListTables(Connection &connection,
                                    TableSizes sizes = TableSizes::kMeasured);

// The files of all tables by their OIDs, as the session's snapshot sees them: TRUNCATE, and
// whatever else rewrites a table, gives it another one.
using Filenodes = std::map<uint32_t, uint32_t>;
Filenodes ListFilenodes(Connection &connection);

// Throws Error 55000 unless the server's system identifier is `expected`: a name that leads
// elsewhere meanwhile, to the target already, say. `call`: what the hint tells to run then.
inline constexpr char kResumeCall[] = "SELECT livemigrate.migration_resume();";
void CheckSystemIdentifier(const std::string &found, const std::string &expected,
                           const std::string &call = kResumeCall);
void CheckSameServer(Connection &connection, const std::string &expected,
                     const std::string &call = kResumeCall);

struct SourceRelation {
    uint32_t oid = 0;
    std::string schema;
    std::string name;
    char relkind = 'f';
};

// Foreign tables and materialized views: nothing of them is copied or replicated.
std::vector<SourceRelation> ListOtherRelations(Connection &connection);

} // namespace livemigrate::source
