#include "pg/truncation.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/local_settings.hpp"
#include "pg/replica_role.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "pg/table_owner.hpp"

#include <algorithm>
#include <optional>
#include <set>

extern "C" {
#include "catalog/pg_inherits.h"
}

namespace livemigrate::pg {

namespace {

// An owner may have given up rights on his table; where no code of his runs, the session's do.
bool
May(Oid table, Oid role, const char *privilege) {
    return Query("SELECT pg_catalog.has_table_privilege($1::oid, $2::oid, $3)",
                 {std::to_string(role), std::to_string(table), std::string(privilege)})
               .Scalar() == "t";
}

// By another table, be it a partition of it.
bool
IsReferenced(Oid table) {
    return Query("WITH own AS (SELECT $1::oid AS relid UNION "
                 "SELECT relid FROM pg_catalog.pg_partition_tree($1::oid)) "
                 "SELECT EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE contype = 'f' "
                 "AND confrelid IN (SELECT relid FROM own) "
                 "AND conrelid NOT IN (SELECT relid FROM own))",
                 {std::to_string(table)})
               .Scalar() == "t";
}

std::string
OidArray(const std::vector<Oid> &tables) {
    std::vector<std::string> oids;
    for (const Oid table : tables) {
        oids.push_back(std::to_string(table));
    }
    return TextArrayLiteral(oids);
}

std::vector<Oid>
Oids(const SqlResult &found) {
    std::vector<Oid> oids;
    for (const SqlRow &row : found.rows) {
        oids.push_back(Number<Oid>(row, 0));
    }
    return oids;
}

struct Trigger {
    std::string name;
    std::string table; // qualified and quoted
};

// The first TRUNCATE trigger of the tables that is enabled in one of these ways.
std::optional<Trigger>
TruncateTrigger(const std::vector<Oid> &tables, const char *enabled) {
    const SqlResult triggers =
        Query("SELECT tgrelid, tgname FROM pg_catalog.pg_trigger "
              "WHERE tgrelid = ANY ($1::oid[]) AND NOT tgisinternal "
              "AND tgenabled = ANY ($2::\"char\"[]) AND tgtype & 32 <> 0 LIMIT 1",
              {OidArray(tables), enabled});
    if (triggers.rows.empty()) {
        return {};
    }
    const SqlRow &row = triggers.rows.front();
    const auto [schema, relation] = NameOf(Number<Oid>(row, 0));
    return Trigger{QuoteIdentifier(Text(row, 1)), QualifiedName(schema, relation)};
}

// In another role than replica they would fire.
void
CheckOrdinaryTriggers(const std::vector<Oid> &tables) {
    if (const auto trigger = TruncateTrigger(tables, "{O}")) {
        throw Error(sqlstate::kFeatureNotSupported,
                    "trigger " + trigger->name +
                        " would fire when distributed tables are truncated")
            .Hint("ALTER TABLE " + trigger->table + " DISABLE TRIGGER " + trigger->name +
                  "; SELECT livemigrate.migration_resume(); and enable it after the migration.");
    }
}

// What a TRUNCATE of the tables empties: those that are partitioned with all below them.
std::vector<Oid>
WithPartitions(const std::vector<Oid> &tables) {
    return Oids(Query("SELECT relid FROM pg_catalog.unnest($1::oid[]) AS t (relid) UNION "
                      "SELECT p.relid::oid FROM pg_catalog.unnest($1::oid[]) AS t (relid) "
                      "JOIN pg_catalog.pg_class c ON c.oid = t.relid AND c.relkind = 'p' "
                      "CROSS JOIN LATERAL pg_catalog.pg_partition_tree(t.relid::regclass) p",
                      {OidArray(tables)}));
}

// Whom to truncate the tables as. Foreign keys may not let each be truncated as its owner, and as
// ourselves their triggers must not run. An owner need not have rights on the schema, and only
// triggers run code of the table's.
Oid
RoleToTruncateAs(const std::vector<Oid> &tables) {
    const std::vector<Oid> all = WithPartitions(tables);
    std::set<Oid> owners;
    for (const Oid table : all) {
        // From here on nobody makes a trigger fire. It is TRUNCATE's lock.
        Call([table] { LockRelationOid(table, AccessExclusiveLock); });
        owners.insert(OwnerToWriteAs(table));
    }
    const auto trigger = TruncateTrigger(all, "{A,R}");
    if (trigger && owners.size() > 1) {
        throw Error(sqlstate::kFeatureNotSupported,
                    "cannot truncate tables of several owners at once: a trigger of theirs fires")
            .Detail("It is trigger " + trigger->name + " of " + trigger->table + ".")
            .Hint("Give the tables one owner on the target with ALTER TABLE ... OWNER TO, or: "
                  "ALTER TABLE " +
                  trigger->table + " DISABLE TRIGGER " + trigger->name +
                  "; SELECT livemigrate.migration_resume();");
    }
    const Oid role = owners.size() == 1 ? *owners.begin() : InvalidOid;
    const bool as_owner =
        OidIsValid(role) && (trigger || std::all_of(tables.begin(), tables.end(), [&](Oid table) {
                                 return MayUseSchemaOf(table, role) && May(table, role, "TRUNCATE");
                             }));
    return as_owner ? role : InvalidOid;
}

} // namespace

void
TruncateTables(const std::vector<Oid> &tables, bool restart_identity) {
    std::string names;
    bool distributed = false;
    for (const Oid table : tables) {
        const auto [schema, name] = NameOf(table);
        names += (names.empty() ? "" : ", ") + std::string(IsOneHeap(table) ? "ONLY " : "") +
                 QualifiedName(schema, name);
        distributed = distributed || ManagerOf(table) == TableManager::kCitus;
    }
    const std::string sql =
        "TRUNCATE TABLE " + names + (restart_identity ? " RESTART IDENTITY" : "");
    const Oid role = RoleToTruncateAs(tables);
    if (!distributed) {
        const AsOwner owner(role);
        Execute(sql);
        return;
    }
    // Shards are emptied by a trigger of Citus's.
    CheckOrdinaryTriggers(tables);
    const LocalSettings settings({{"session_replication_role", "origin"}});
    const AsOwner owner(role);
    Execute(sql);
}

// As heap_truncate_find_FKs() sees it: a foreign key to a partitioned table is one to each of its
// partitions, and the other way round. So the partitions of a table that goes along are looked at,
// too.
std::vector<Oid>
TruncatedAlong(const std::vector<Oid> &tables,
               const std::set<std::pair<std::string, std::string>> &not_streamed) {
    std::vector<Oid> all = tables;
    std::vector<Oid> along;
    for (;;) {
        const SqlResult found = Query(
            "WITH referenced AS (SELECT relid FROM pg_catalog.unnest($1::oid[]) AS t (relid) UNION "
            "SELECT a.relid::oid FROM pg_catalog.unnest($1::oid[]) AS t (relid) "
            "JOIN pg_catalog.pg_class c ON c.oid = t.relid AND c.relispartition "
            "CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(t.relid::regclass) a) "
            "SELECT DISTINCT c.oid, c.relkind = 'p', c.relpersistence = 'u', n.nspname, c.relname "
            "FROM pg_catalog.pg_constraint f JOIN referenced r ON r.relid = f.confrelid "
            "JOIN pg_catalog.pg_class c ON c.oid = f.conrelid "
            "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
            "WHERE f.contype = 'f' AND f.conrelid <> ALL ($1::oid[])",
            {OidArray(all)});
        if (found.rows.empty()) {
            return along;
        }
        for (const SqlRow &row : found.rows) {
            const bool goes =
                Flag(row, 1) ||
                (Flag(row, 2) && not_streamed.contains({Text(row, 3), Text(row, 4)})) ||
                Query("SELECT NOT EXISTS (SELECT FROM " +
                      QualifiedName(Text(row, 3), Text(row, 4)) + ")")
                        .Scalar() == "t";
            if (!goes) {
                return {};
            }
            along.push_back(Number<Oid>(row, 0));
            all.push_back(along.back());
        }
    }
}

bool
CanBeTruncatedAlone(Oid table) {
    return !IsReferenced(table) && !TruncateTrigger({table}, "{O,D,R,A}");
}

void
DeleteRows(Oid table, const std::string &condition) {
    const LocalSettings settings({{"session_replication_role", "replica"}});
    const auto [schema, name] = NameOf(table);
    const std::string sql = "DELETE FROM " + std::string(IsOneHeap(table) ? "ONLY " : "") +
                            QualifiedName(schema, name) +
                            (condition.empty() ? "" : " WHERE " + condition);
    const bool fires_itself = Call([&] {
        Relation relation = table_open(table, RowExclusiveLock);
        const bool found = FiresInReplicaRole(relation);
        if (relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE) {
            // From here on nobody makes a trigger of theirs fire. It is DELETE's lock.
            list_free(find_all_inheritors(table, RowExclusiveLock, nullptr));
        }
        table_close(relation, NoLock);
        return found;
    });
    const bool fires = fires_itself || PartitionsFireInReplicaRole(table);
    const Oid role = OwnerToWriteAs(table);
    const bool as_owner =
        OidIsValid(role) && (fires || (MayUseSchemaOf(table, role) && May(table, role, "SELECT") &&
                                       May(table, role, "DELETE")));
    const AsOwner owner(as_owner ? role : InvalidOid);
    Execute(sql);
}

void
EmptyTable(Oid table) {
    if (IsReferenced(table)) {
        DeleteRows(table, "");
        return;
    }
    const LocalSettings settings({{"session_replication_role", "replica"}});
    TruncateTables({table});
}

} // namespace livemigrate::pg
