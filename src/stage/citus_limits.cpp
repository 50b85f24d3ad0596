#include "pg/prelude.hpp"

#include "stage/citus_limits.hpp"

#include "core/call_hint.hpp"
#include "core/sql_text.hpp"
#include "core/version.hpp"
#include "pg/sql_row.hpp"
#include "stage/key_problems.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace livemigrate::stage {

namespace {

using Kind = Distribution::Kind;
using TablesByOid = std::map<uint32_t, const PlacedTable *>;

std::string
NameOf(const PlacedTable &table) {
    return QualifiedName(table.schema, table.table);
}

TablesByOid
ByOid(const std::vector<PlacedTable> &tables) {
    TablesByOid by_oid;
    for (const PlacedTable &table : tables) {
        by_oid[table.source_oid] = &table;
    }
    return by_oid;
}

// One row for each pair of columns of each foreign key, with the tables' OIDs.
constexpr char kForeignKeysQuery[] =
    "SELECT f.conrelid, f.confrelid, f.conname, a.attname, b.attname, f.confupdtype, "
    "f.confdeltype, EXISTS (SELECT FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid "
    "AND d.adnum = a.attnum "
    "AND pg_catalog.pg_get_expr(d.adbin, d.adrelid) LIKE '%nextval(%') "
    "FROM pg_catalog.pg_constraint f "
    "CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(f.conkey), pg_catalog.unnest(f.confkey)) "
    "AS u(one, other) "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = u.one "
    "JOIN pg_catalog.pg_attribute b ON b.attrelid = f.confrelid AND b.attnum = u.other "
    "JOIN pg_catalog.pg_class c ON c.oid = f.conrelid "
    "WHERE f.contype = 'f' AND NOT c.relispartition ORDER BY f.oid";

struct ForeignKey {
    uint32_t from = 0;
    uint32_t to = 0;
    std::string name;
    char on_update = 'a'; // as pg_constraint has it: a, r, c, n, d
    char on_delete = 'a';
    bool from_sequence = false; // a column's default takes a number of a sequence
    std::vector<std::pair<std::string, std::string>> columns;
};

std::vector<ForeignKey>
ListForeignKeys(source::Connection &source) {
    std::vector<ForeignKey> keys;
    for (const pg::SqlRow &row : source.Query(kForeignKeysQuery).rows) {
        const auto from = pg::Number<uint32_t>(row, 0);
        if (keys.empty() || keys.back().from != from || keys.back().name != pg::Text(row, 2)) {
            ForeignKey &key = keys.emplace_back();
            key.from = from;
            key.to = pg::Number<uint32_t>(row, 1);
            key.name = pg::Text(row, 2);
            key.on_update = pg::Text(row, 5).at(0);
            key.on_delete = pg::Text(row, 6).at(0);
        }
        keys.back().columns.emplace_back(pg::Text(row, 3), pg::Text(row, 4));
        keys.back().from_sequence = keys.back().from_sequence || pg::Flag(row, 7);
    }
    return keys;
}

TableProblem
Drop(const ForeignKey &key, const PlacedTable &from) {
    return {"", "",
            "ALTER TABLE " + NameOf(from) + " DROP CONSTRAINT " + QuoteIdentifier(key.name) + ";",
            true};
}

bool
ShareShards(const Distribution &one, const Distribution &other) {
    if (!one.type.empty() && !other.type.empty() && one.type != other.type) {
        return false;
    }
    return one.group.empty() || other.group.empty() || one.is_planned != other.is_planned ||
           one.group == other.group;
}

// Makes a table a reference table.
TableProblem
MakeReference(const PlacedTable &table, bool is_planned) {
    return {"", "",
            is_planned ? "-- among the options: \"reference_tables\": [" +
                             OptionName(table.schema, table.table) + "]"
                       : "SELECT create_reference_table(" + QuoteLiteral(NameOf(table)) + ");",
            false};
}

// Lays a table's shards beside those of another.
TableProblem
Colocate(const PlacedTable &table, const std::string &column, const PlacedTable &other) {
    const Distribution &from = table.distribution;
    const Distribution &to = other.distribution;
    if (from.is_planned || (from.kind == Kind::kLocal && to.is_planned)) {
        return {"", "",
                "-- among the options: \"distributed_tables\": [{\"table\": " +
                    OptionName(table.schema, table.table) + ", \"column\": " + JsonString(column) +
                    ", \"colocate_with\": " + OptionName(other.schema, other.table) + "}]",
                false};
    }
    if (from.kind == Kind::kLocal) {
        return {"", "",
                "SELECT create_distributed_table(" + QuoteLiteral(NameOf(table)) + ", " +
                    QuoteLiteral(column) + ", colocate_with => " + QuoteLiteral(NameOf(other)) +
                    ");",
                false};
    }
    return {"", "",
            "SELECT update_distributed_table_colocation(" + QuoteLiteral(NameOf(table)) +
                ", colocate_with => " + QuoteLiteral(NameOf(other)) + ");",
            false};
}

// Without a fix if Citus takes the foreign key where the two tables are.
TableProblem
FindPlaceProblem(const ForeignKey &key, const PlacedTable &from, const PlacedTable &to) {
    const Distribution &one = from.distribution;
    const Distribution &other = to.distribution;
    if (other.kind != Kind::kDistributed) {
        return one.kind == Kind::kDistributed && other.kind == Kind::kLocal
                   ? MakeReference(to, one.is_planned)
                   : TableProblem{};
    }
    const auto pair =
        std::find_if(key.columns.begin(), key.columns.end(), [&](const auto &columns) {
            return columns.second == other.column &&
                   (one.kind != Kind::kDistributed || columns.first == one.column);
        });
    if (pair == key.columns.end() || one.kind == Kind::kReference) {
        return Drop(key, from);
    }
    if (one.kind == Kind::kLocal) {
        return Colocate(from, pair->first, to);
    }
    if (ShareShards(one, other)) {
        return {};
    }
    return one.type == other.type ? Colocate(from, pair->first, to) : Drop(key, from);
}

// Empty if Citus takes what the foreign key does when a row that it leads to changes.
std::string
RefusedAction(const ForeignKey &key, const PlacedTable &from) {
    if (from.distribution.kind == Kind::kLocal) {
        return "";
    }
    if (key.from_sequence && (key.on_update == 'd' || key.on_delete == 'd')) {
        return "sets a default that is a sequence's";
    }
    const bool on_placement =
        std::any_of(key.columns.begin(), key.columns.end(),
                    [&](const auto &columns) { return columns.first == from.distribution.column; });
    if (!on_placement) {
        return "";
    }
    if (key.on_delete == 'n' || key.on_delete == 'd') {
        return "has the distribution column and ON DELETE SET NULL or SET DEFAULT";
    }
    if (key.on_update == 'n' || key.on_update == 'd' || key.on_update == 'c') {
        return "has the distribution column and ON UPDATE CASCADE, SET NULL or SET DEFAULT";
    }
    return "";
}

class Limits {
  public:
    Limits(source::Connection &source, const std::vector<PlacedTable> &tables)
        : source_(source), by_oid_(ByOid(tables)) {}

    // Calls `add` for each row of the query whose first column is the OID of a table of Citus's.
    template <typename Add>
    void
    Examine(const std::string &query, Add add) {
        for (const pg::SqlRow &row : source_.Query(query).rows) {
            const auto table = by_oid_.find(pg::Number<uint32_t>(row, 0));
            if (table != by_oid_.end() && table->second->distribution.kind != Kind::kLocal) {
                add(*table->second, row);
            }
        }
    }

    void
    Add(const PlacedTable &table, const std::string &what, const std::string &why,
        const std::string &fix, bool at_source) {
        problems_.push_back({NameOf(table), "Citus refuses " + what + " of " + NameOf(table) + why,
                             fix, at_source});
    }

    std::vector<TableProblem>
    Take() {
        return std::move(problems_);
    }

  private:
    source::Connection &source_;
    TablesByOid by_oid_;
    std::vector<TableProblem> problems_;
};

// What a session has that connects now: a role's setting for the database goes before its general
// one, and that before the database's (process_settings() of postinit.c).
bool
IsOn(const char *parameter) {
    return pg::Query("SELECT COALESCE((SELECT o.option_value FROM pg_catalog.pg_db_role_setting s, "
                     "LATERAL pg_catalog.pg_options_to_table(s.setconfig) o "
                     "WHERE o.option_name = $1 "
                     "AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database "
                     "WHERE datname = pg_catalog.current_database())) "
                     "AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles "
                     "WHERE rolname = current_user)) "
                     "ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1), "
                     "pg_catalog.current_setting($1, true))::pg_catalog.bool",
                     {parameter})
               .Scalar() == "t";
}

std::string
SetForDatabase(const std::string &setting) {
    return "ALTER DATABASE " +
           QuoteIdentifier(*pg::Query("SELECT pg_catalog.current_database()").Scalar()) + " SET " +
           setting + ";";
}

// A partition's are its root's, whose clones are internal before 13.
void
FindTriggers(Limits &limits) {
    if (IsOn("citus.enable_unsafe_triggers")) {
        return;
    }
    limits.Examine(
        "SELECT t.tgrelid, t.tgname FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal "
        "AND COALESCE(pg_catalog.to_jsonb(t)->>'tgparentid', '0') = '0' ORDER BY 1, 2",
        [&](const PlacedTable &table, const pg::SqlRow &row) {
            const std::string name = QuoteIdentifier(pg::Text(row, 1));
            limits.Add(table, "trigger " + name, " unless citus.enable_unsafe_triggers is on",
                       SetForDatabase("citus.enable_unsafe_triggers = on"), false);
        });
}

void
FindExclusions(Limits &limits) {
    limits.Examine(
        "SELECT c.conrelid, c.conname, a.attname, pg_catalog.pg_get_constraintdef(c.oid) "
        "FROM pg_catalog.pg_constraint c CROSS JOIN LATERAL "
        "ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.conexclop)) AS u(n, operator) "
        "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = u.n "
        "JOIN pg_catalog.pg_operator o ON o.oid = u.operator "
        "WHERE c.contype = 'x' AND o.oprname <> '=' ORDER BY 1, 2",
        [&](const PlacedTable &table, const pg::SqlRow &row) {
            const std::string name = pg::Text(row, 1);
            const std::string column = pg::Text(row, 2);
            if (column != table.distribution.column ||
                TargetHasKey(table.schema, table.table, name)) {
                return;
            }
            limits.Add(table, "exclusion constraint " + QuoteIdentifier(name),
                       ", which does not compare the distribution column with =",
                       Comment("create it on the target under its name, with " +
                               QuoteIdentifier(column) + " WITH =: " + pg::Text(row, 3)),
                       false);
        });
}

void
FindClusters(Limits &limits) {
    limits.Examine("SELECT i.indrelid, c.relname FROM pg_catalog.pg_index i "
                   "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
                   "WHERE i.indisclustered AND NOT c.relispartition ORDER BY 1, 2",
                   [&](const PlacedTable &table, const pg::SqlRow &row) {
                       limits.Add(table, "CLUSTER ON index " + QuoteIdentifier(pg::Text(row, 1)),
                                  "", "ALTER TABLE " + NameOf(table) + " SET WITHOUT CLUSTER;",
                                  true);
                   });
}

// From 13.2.2 and 14.0.1 on. The extension's version lacks the last number, the library's has it.
bool
TakesExpressions() {
    const auto version =
        pg::Query("SELECT pg_catalog.current_setting('citus.version', true)").Scalar();
    return version && CompareVersions(*version, "13.2.2") >= 0 &&
           (CompareVersions(*version, "14") < 0 || CompareVersions(*version, "14.0.1") >= 0);
}

void
FindStatistics(Limits &limits) {
    if (TakesExpressions()) {
        return;
    }
    limits.Examine("SELECT s.stxrelid, n.nspname, s.stxname FROM pg_catalog.pg_statistic_ext s "
                   "JOIN pg_catalog.pg_namespace n ON n.oid = s.stxnamespace "
                   "WHERE pg_catalog.to_jsonb(s)->>'stxexprs' IS NOT NULL ORDER BY 1, 2, 3",
                   [&](const PlacedTable &table, const pg::SqlRow &row) {
                       const std::string name = QualifiedName(pg::Text(row, 1), pg::Text(row, 2));
                       limits.Add(table, "statistics " + name, ", which are of expressions",
                                  "DROP STATISTICS " + name + ";", true);
                   });
}

void
FindPolicies(Limits &limits) {
    limits.Examine("SELECT p.polrelid, p.polname FROM pg_catalog.pg_policy p "
                   "WHERE pg_catalog.concat(p.polqual, p.polwithcheck) LIKE '%{SUBLINK %' "
                   "ORDER BY 1, 2",
                   [&](const PlacedTable &table, const pg::SqlRow &row) {
                       limits.Add(table, "policy " + QuoteIdentifier(pg::Text(row, 1)),
                                  ", which has a subquery",
                                  "-- write the policy without a subquery, in a function for "
                                  "example",
                                  true);
                   });
}

// The columns of the index by which a table's rows are found, one a row, with the table's kind.
constexpr char kIdentitiesQuery[] =
    "SELECT c.oid, a.attname, c.relkind FROM pg_catalog.pg_class c "
    "JOIN pg_catalog.pg_index i ON i.indrelid = c.oid AND CASE c.relreplident "
    "WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident ELSE false END "
    "CROSS JOIN LATERAL pg_catalog.unnest(i.indkey) WITH ORDINALITY AS u(attnum, n) "
    "JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum "
    "WHERE NOT c.relispartition AND u.n <= "
    "COALESCE((pg_catalog.to_jsonb(i)->>'indnkeyatts')::pg_catalog.int4, i.indnatts) "
    "ORDER BY c.oid, u.n";

struct Identity {
    std::vector<std::string> columns;
    bool is_partitioned = false;
};

std::string
IdentityFix(const PlacedTable &table, const Identity &identity) {
    const std::string column = QuoteIdentifier(table.distribution.column);
    if (identity.is_partitioned) {
        return Comment("give each partition of " + NameOf(table) + " a unique index with " +
                       column + " among its columns, and REPLICA IDENTITY USING INDEX");
    }
    std::string columns;
    for (const std::string &name : identity.columns) {
        columns += QuoteIdentifier(name) + ", ";
    }
    const std::string index = QuoteIdentifier(table.table + "_identity");
    const std::string alter = "ALTER TABLE " + NameOf(table) + " ";
    return "CREATE UNIQUE INDEX CONCURRENTLY " + index + " ON " + NameOf(table) + " (" + columns +
           column + ");\n" + alter + "ALTER COLUMN " + column + " SET NOT NULL;\n" + alter +
           "REPLICA IDENTITY USING INDEX " + index + ";";
}

} // namespace

std::vector<TableProblem>
FindWideIdentities(source::Connection &source, const std::vector<PlacedTable> &tables) {
    std::map<uint32_t, Identity> identities;
    Limits limits(source, tables);
    limits.Examine(kIdentitiesQuery, [&](const PlacedTable &table, const pg::SqlRow &row) {
        Identity &identity = identities[table.source_oid];
        identity.columns.push_back(pg::Text(row, 1));
        identity.is_partitioned = row[2] == "p";
    });
    std::vector<TableProblem> problems;
    for (const PlacedTable &table : tables) {
        const std::string &column = table.distribution.column;
        const auto found = identities.find(table.source_oid);
        if (column.empty() || found == identities.end() ||
            std::count(found->second.columns.begin(), found->second.columns.end(), column) > 0) {
            continue;
        }
        problems.push_back({NameOf(table),
                            "the replica identity of " + NameOf(table) + " lacks " +
                                QuoteIdentifier(column) +
                                ": each UPDATE and DELETE of a row goes to all shards, which is "
                                "slow",
                            IdentityFix(table, found->second), true});
    }
    return problems;
}

std::vector<TableProblem>
FindForeignKeyProblems(source::Connection &source, const std::vector<PlacedTable> &tables) {
    const TablesByOid by_oid = ByOid(tables);
    std::vector<TableProblem> problems;
    for (const ForeignKey &key : ListForeignKeys(source)) {
        const auto from = by_oid.find(key.from);
        const auto to = by_oid.find(key.to);
        if (from == by_oid.end() || to == by_oid.end()) {
            continue;
        }
        const std::string what = "foreign key " + QuoteIdentifier(key.name) + " of " +
                                 NameOf(*from->second) + " to " + NameOf(*to->second);
        TableProblem problem = FindPlaceProblem(key, *from->second, *to->second);
        problem.message = what + " leads to rows that Citus keeps elsewhere";
        if (problem.fix.empty()) {
            const std::string action = RefusedAction(key, *from->second);
            if (action.empty()) {
                continue;
            }
            problem = Drop(key, *from->second);
            problem.message = what + " " + action + ", which Citus does not take";
        }
        problem.table = NameOf(*from->second);
        problems.push_back(std::move(problem));
    }
    return problems;
}

std::vector<TableProblem>
FindCitusLimits(source::Connection &source, const std::vector<PlacedTable> &tables) {
    Limits limits(source, tables);
    FindTriggers(limits);
    FindExclusions(limits);
    FindClusters(limits);
    FindStatistics(limits);
    FindPolicies(limits);
    return limits.Take();
}

// Neither reference tables, which Citus replicates ('t'), nor local ones, which are in no group.
std::vector<TableProblem>
FindSingleShards(const std::vector<PlacedTable> &tables) {
    std::vector<TableProblem> problems;
    if (pg::Query("SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'").rows.empty()) {
        return problems;
    }
    std::set<std::pair<std::string, std::string>> found;
    for (const pg::SqlRow &row :
         pg::Query("SELECT n.nspname, c.relname FROM pg_catalog.pg_dist_partition d "
                   "JOIN pg_catalog.pg_class c ON c.oid = d.logicalrelid "
                   "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
                   "WHERE d.partkey IS NULL AND d.repmodel <> 't' AND d.colocationid <> 0")
             .rows) {
        found.emplace(pg::Text(row, 0), pg::Text(row, 1));
    }
    for (const PlacedTable &table : tables) {
        if (found.contains({table.schema, table.table})) {
            problems.push_back(
                {NameOf(table),
                 "table " + NameOf(table) +
                     " is a single-shard table of Citus's, which livemigrate does not support",
                 "SELECT undistribute_table(" + QuoteLiteral(NameOf(table)) + ");\n" +
                     Comment("or, of a distributed schema: SELECT citus_schema_undistribute(" +
                             QuoteLiteral(QuoteIdentifier(table.schema)) + ");"),
                 false});
        }
    }
    return problems;
}

// Citus leaves schema public as it is, whoever creates it.
std::string
SchemaShardingFix(const std::set<std::string> &schemas) {
    constexpr char kParameter[] = "citus.enable_schema_based_sharding";
    const bool makes_one =
        pg::Query("SELECT EXISTS (SELECT FROM pg_catalog.unnest($1::text[]) AS w "
                  "WHERE w <> 'public' AND NOT EXISTS (SELECT FROM "
                  "pg_catalog.pg_namespace n WHERE n.nspname = w::name))",
                  {TextArrayLiteral({schemas.begin(), schemas.end()})})
            .Scalar() == "t";
    return makes_one && IsOn(kParameter) ? SetForDatabase(std::string(kParameter) + " = off") : "";
}

std::vector<std::string>
DistributedSchemas(const std::set<std::string> &schemas) {
    std::vector<std::string> found;
    if (pg::Query("SELECT pg_catalog.to_regclass('pg_catalog.pg_dist_schema') IS NULL").Scalar() ==
        "t") {
        return found; // before Citus 12
    }
    for (const pg::SqlRow &row :
         pg::Query(
             "SELECT n.nspname FROM pg_catalog.pg_dist_schema d JOIN pg_catalog.pg_namespace n "
             "ON n.oid = d.schemaid WHERE n.nspname::text = ANY ($1::text[]) ORDER BY 1",
             {TextArrayLiteral({schemas.begin(), schemas.end()})})
             .rows) {
        found.push_back(pg::Text(row, 0));
    }
    return found;
}

} // namespace livemigrate::stage
