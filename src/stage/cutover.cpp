#include "stage/cutover.hpp"

#include "core/error.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"
#include "pg/subtransaction.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace livemigrate::stage {

namespace {

constexpr char kPopulatedViewsQuery[] = R"(
SELECT n.nspname, c.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                    AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY n.nspname, c.relname
)";

// Views and materialized views of the target.
constexpr char kViewsQuery[] = R"(
SELECT c.oid, c.relkind, n.nspname, c.relname
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('v', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
)";

// Which view reads which.
constexpr char kViewReadsQuery[] = R"(
SELECT DISTINCT r.ev_class, c.oid
FROM pg_catalog.pg_rewrite r
JOIN pg_catalog.pg_depend d
  ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
ORDER BY 1, 2
)";

// What ANALYZE is to be run for: a partitioned table's root in the place of its partitions, since
// nobody else ever analyzes that, and it reads them all anyway. $1: schemas, $2: names.
constexpr char kAnalyzeQuery[] = R"(
SELECT q.n, rn.nspname, r.relname
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
     WITH ORDINALITY AS q(schema, name, n)
JOIN pg_catalog.pg_namespace n ON n.nspname = q.schema::pg_catalog.name
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = q.name::pg_catalog.name
                          AND c.relkind IN ('r', 'p', 'm', 'f')
JOIN pg_catalog.pg_class r ON r.oid = CASE WHEN c.relispartition OR c.relkind = 'p'
                                           THEN pg_catalog.pg_partition_root(c.oid)
                                           ELSE c.oid END
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
ORDER BY q.n
)";

constexpr char kUserTablesQuery[] = R"(
SELECT n.nspname, c.relname, c.relkind
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
                  WHERE e.deptype = 'e'
                    AND (e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid
                      OR e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
                         AND e.objid = n.oid))
ORDER BY n.nspname, c.relname
)";

// The target's views as a graph, walked from the views that are read to those that read.
class ViewOrder {
  public:
    ViewOrder() {
        for (const auto &row : pg::Query(kViewsQuery).rows) {
            const std::string &oid = row.at(0).value();
            const RelationName name(row.at(2).value(), row.at(3).value());
            names_[oid] = name;
            if (row.at(1) == "m") {
                materialized_[name] = oid;
            }
        }
        for (const auto &row : pg::Query(kViewReadsQuery).rows) {
            reads_[row.at(0).value()].push_back(row.at(1).value());
        }
    }

    // `wanted` without what the target lacks, in dependency order.
    std::vector<RelationName>
    Sort(const std::set<RelationName> &wanted) {
        std::vector<RelationName> sorted;
        for (const RelationName &name : wanted) {
            const auto found = materialized_.find(name);
            if (found != materialized_.end()) {
                Visit(found->second, wanted, sorted);
            }
        }
        return sorted;
    }

  private:
    // A loop instead of recursion: views may be nested deeper than a stack should be.
    void
    Visit(const std::string &start, const std::set<RelationName> &wanted,
          std::vector<RelationName> &sorted) {
        std::vector<std::pair<std::string, size_t>>
            path; // a view, and how many of its reads are done
        auto enter = [&](const std::string &oid) {
            if (visited_.insert(oid).second) {
                path.emplace_back(oid, 0);
            }
        };
        enter(start);
        while (!path.empty()) {
            auto &[oid, done] = path.back();
            const std::vector<std::string> &reads = reads_[oid];
            if (done < reads.size()) {
                enter(reads[done++]);
                continue;
            }
            const RelationName &name = names_[oid];
            if (wanted.count(name) != 0 && materialized_.count(name) != 0) {
                sorted.push_back(name);
            }
            path.pop_back();
        }
    }

    std::map<std::string, RelationName> names_; // by oid
    std::map<RelationName, std::string> materialized_;
    std::map<std::string, std::vector<std::string>> reads_;
    std::set<std::string> visited_;
};

// Whether an error concerns the statement alone, so that the next one may well succeed. A
// connection is one to the server of a foreign table, which may lead to nowhere from here.
bool
IsOwnFault(const Error &error) {
    return error.sqlstate().starts_with("08") ||
           (!IsTransient(error.sqlstate()) && error.sqlstate() != sqlstate::kQueryCanceled &&
            error.sqlstate() != sqlstate::kDiskFull);
}

// Runs statements in a subtransaction of their own; a failure becomes a warning, and false.
bool
RunOrWarn(const std::vector<std::string> &statements, const std::string &what,
          CutoverReport &report) {
    try {
        pg::Subtransaction subtransaction;
        for (const std::string &sql : statements) {
            pg::Execute(sql);
        }
        subtransaction.Commit();
        return true;
    } catch (const Error &error) {
        if (!IsOwnFault(error)) {
            throw;
        }
        report.warnings.push_back(what + ": " + error.message() +
                                  "; to try again: " + statements.front() + ";");
        return false;
    }
}

bool
AnalyzeOrWarn(const RelationName &name, CutoverReport &report) {
    const std::string table = QualifiedName(name.first, name.second);
    return RunOrWarn({"ANALYZE " + table}, "table " + table + " could not be analyzed", report);
}

} // namespace

std::set<RelationName>
PopulatedViews(source::Connection &source, const source::WaitObserver &observer) {
    std::set<RelationName> populated;
    for (const auto &row : source.Query(kPopulatedViewsQuery, observer).rows) {
        populated.emplace(row.at(0).value(), row.at(1).value());
    }
    return populated;
}

std::vector<RelationName>
PlanMaterializedViews(const std::set<RelationName> &populated) {
    return populated.empty() ? std::vector<RelationName>() : ViewOrder().Sort(populated);
}

void
RefreshMaterializedViews(const std::vector<RelationName> &views, CutoverReport &report) {
    for (const auto &[schema, name] : views) {
        const std::string view = QualifiedName(schema, name);
        // REFRESH makes a new file without statistics.
        RunOrWarn({"REFRESH MATERIALIZED VIEW " + view, "ANALYZE " + view},
                  "materialized view " + view + " could not be refreshed", report);
    }
}

void
AnalyzeTables(const std::vector<RelationName> &tables, CutoverReport &report) {
    std::vector<std::string> schemas;
    std::vector<std::string> names;
    for (const auto &[schema, name] : tables) {
        schemas.push_back(schema);
        names.push_back(name);
    }
    std::vector<bool> found(tables.size());
    std::map<RelationName, std::vector<RelationName>> of_roots;
    const pg::SqlResult result =
        pg::Query(kAnalyzeQuery, {TextArrayLiteral(schemas), TextArrayLiteral(names)});
    for (const auto &row : result.rows) {
        const size_t table = std::stoul(row.at(0).value()) - 1;
        found.at(table) = true;
        of_roots[{row.at(1).value(), row.at(2).value()}].push_back(tables.at(table));
    }
    for (size_t i = 0; i < tables.size(); i++) {
        if (!found[i]) {
            report.notes.push_back("table " + QualifiedName(schemas[i], names[i]) +
                                   " was not analyzed, as it does not exist on the target");
        }
    }
    for (const auto &[root, of_root] : of_roots) {
        if (AnalyzeOrWarn(root, report)) {
            continue;
        }
        // It may be a foreign partition's fault.
        for (const RelationName &table : of_root) {
            if (table != root) {
                AnalyzeOrWarn(table, report);
            }
        }
    }
}

void
FindNewSourceTables(source::Connection &source, const std::vector<RelationName> &known,
                    CutoverReport &report) {
    const std::set<RelationName> known_names(known.begin(), known.end());
    for (const auto &row : source.Query(kUserTablesQuery).rows) {
        const RelationName name(row.at(0).value(), row.at(1).value());
        if (known_names.count(name) != 0) {
            continue;
        }
        const std::string table = QualifiedName(name.first, name.second);
        if (row.at(2) == "p") {
            // Holds no rows itself, so a caller may know its partitions only.
            const std::string exists = "SELECT pg_catalog.to_regclass($1) IS NOT NULL";
            if (pg::Query(exists, {table}).Scalar() == "t") {
                continue;
            }
        }
        report.warnings.push_back("table " + table +
                                  " was created on the source after the snapshot and is not on the "
                                  "target; to see its rows, run on the source: SELECT * FROM " +
                                  table + ";");
    }
}

std::vector<RelationName>
FindUnpublishedPartitions(source::Connection &source, const std::vector<std::string> &publications,
                          const std::set<uint32_t> &known, const source::WaitObserver &observer) {
    std::string names;
    for (const std::string &publication : publications) {
        names += (names.empty() ? "" : ", ") + QuoteLiteral(publication);
    }
    // A partition comes once for each of its ancestors.
    const pg::SqlResult found = source.Query(
        "WITH RECURSIVE up(leaf, ancestor) AS ("
        "SELECT c.oid, i.inhparent FROM pg_catalog.pg_class c "
        "JOIN pg_catalog.pg_inherits i ON i.inhrelid = c.oid "
        "WHERE c.relispartition AND c.relkind = 'r' AND c.relpersistence = 'p' "
        "UNION ALL SELECT u.leaf, i.inhparent FROM up u "
        "JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.ancestor) "
        "SELECT n.nspname, c.relname, c.oid, u.ancestor FROM up u "
        "JOIN pg_catalog.pg_class c ON c.oid = u.leaf "
        "JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
        "WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables p WHERE p.pubname IN (" +
            names +
            ") AND p.schemaname = n.nspname AND p.tablename = c.relname) "
            "AND pg_catalog.pg_relation_size(c.oid) > 0 ORDER BY 1, 2",
        observer);
    std::vector<RelationName> unpublished;
    for (const auto &row : found.rows) {
        RelationName name(row.at(0).value(), row.at(1).value());
        const bool is_new = !known.contains(pg::Number<uint32_t>(row, 2));
        const bool is_ours = known.contains(pg::Number<uint32_t>(row, 3));
        if (is_new && is_ours && (unpublished.empty() || unpublished.back() != name)) {
            unpublished.push_back(std::move(name));
        }
    }
    return unpublished;
}

std::map<RelationName, bool>
FindInsertOnlyPartitions(source::Connection &source, const std::string &all,
                         const std::string &inserts, const std::set<uint32_t> &known,
                         const source::WaitObserver &observer) {
    const pg::SqlResult found = source.Query(
        "SELECT n.nspname, c.relname, c.oid, pg_catalog.pg_stat_get_tuples_updated(c.oid) "
        "+ pg_catalog.pg_stat_get_tuples_deleted(c.oid) > 0 "
        "FROM pg_catalog.pg_publication_tables p "
        "JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname "
        "JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename "
        "WHERE p.pubname = " +
            QuoteLiteral(inserts) +
            " AND c.relispartition AND c.relkind = 'r' "
            "AND NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables a WHERE a.pubname = " +
            QuoteLiteral(all) + " AND a.schemaname = p.schemaname AND a.tablename = p.tablename)",
        observer);
    std::map<RelationName, bool> partitions;
    for (const auto &row : found.rows) {
        if (!known.contains(pg::Number<uint32_t>(row, 2))) {
            partitions[{row.at(0).value(), row.at(1).value()}] = pg::Flag(row, 3);
        }
    }
    return partitions;
}

} // namespace livemigrate::stage
