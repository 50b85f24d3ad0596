#include "pg/prelude.hpp"

#include "stage/followed_columns.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"

#include <algorithm>
#include <map>

namespace livemigrate::stage {

namespace {

using Kind = ColumnChange::Kind;

struct TargetColumn {
    Oid type = InvalidOid;
    int32_t type_modifier = -1;
    bool is_domain = false;
    bool generated = false;
};

std::map<std::string, TargetColumn>
TargetColumns(const std::string &schema, const std::string &table) {
    std::map<std::string, TargetColumn> columns;
    const pg::SqlResult result =
        pg::Query("SELECT a.attname, a.atttypid, a.atttypmod, t.typtype = 'd', "
                  "a.attgenerated <> '' FROM pg_catalog.pg_attribute a "
                  "JOIN pg_catalog.pg_type t ON t.oid = a.atttypid "
                  "WHERE a.attrelid = pg_catalog.to_regclass($1) AND a.attnum > 0 "
                  "AND NOT a.attisdropped",
                  {QualifiedName(schema, table)});
    for (const pg::SqlRow &row : result.rows) {
        columns[pg::Text(row, 0)] = {
            .type = pg::Number<Oid>(row, 1),
            .type_modifier = pg::Number<int32_t>(row, 2),
            .is_domain = pg::Flag(row, 3),
            .generated = pg::Flag(row, 4),
        };
    }
    return columns;
}

bool
IsSameEverywhere(uint32_t type) {
    return type != InvalidOid && type < FirstGenbkiObjectId && type != ANYENUMOID;
}

// A domain stands for what it is made of: binary values are described so.
Oid
BaseType(const TargetColumn &column) {
    return column.is_domain ? pg::Call([&] { return getBaseType(column.type); }) : column.type;
}

// Whether the target's column takes what the source's holds: it has its type, without a narrower
// modifier, or one that it never had there, by somebody's choice. Of types that have other OIDs
// here nothing more is known than that.
bool
HasFollowedType(const TargetColumn &column, const ColumnChange &change) {
    const Oid type = BaseType(column);
    if (!IsSameEverywhere(change.column.type_oid)) {
        return type >= FirstGenbkiObjectId ||
               (IsSameEverywhere(change.former_type_oid) && type != change.former_type_oid);
    }
    if (type != change.column.type_oid) {
        return type != change.former_type_oid;
    }
    return column.is_domain || column.type_modifier == -1 ||
           column.type_modifier == change.column.type_modifier;
}

bool
IsFollowed(const ColumnChange &change, const std::map<std::string, TargetColumn> &columns) {
    const auto found = columns.find(change.column.name);
    switch (change.kind) {
    case Kind::kAdded:
        return found != columns.end();
    case Kind::kDropped:
        return found == columns.end() || found->second.generated;
    case Kind::kRetyped:
        return found == columns.end() || HasFollowedType(found->second, change);
    case Kind::kReplaced:
        break;
    }
    return false;
}

} // namespace

std::vector<ColumnChange>
NotFollowed(const std::string &schema, const std::string &table,
            const std::vector<ColumnChange> &changes) {
    const std::map<std::string, TargetColumn> columns = TargetColumns(schema, table);
    std::vector<ColumnChange> left;
    std::copy_if(changes.begin(), changes.end(), std::back_inserter(left),
                 [&](const ColumnChange &change) {
                     return !columns.empty() && !IsFollowed(change, columns);
                 });
    return left;
}

std::vector<ColumnDefinition>
DefinitionsOf(const std::vector<ColumnChange> &changes) {
    std::vector<ColumnDefinition> definitions;
    for (const ColumnChange &change : changes) {
        if (change.kind != Kind::kDropped) {
            ColumnDefinition definition;
            definition.name = change.column.name;
            definition.type = TypeName(change.column);
            definitions.push_back(std::move(definition));
        }
    }
    return definitions;
}

std::string
JoinStatements(const std::vector<std::string> &statements) {
    std::string text;
    for (const std::string &statement : statements) {
        text += statement + "; ";
    }
    return text;
}

Error
ColumnsChanged(const std::string &schema, const std::string &table,
               const std::vector<ColumnChange> &changes,
               const std::vector<std::string> &statements) {
    const bool only_types =
        std::all_of(changes.begin(), changes.end(),
                    [](const ColumnChange &change) { return change.kind == Kind::kRetyped; });
    const std::string resume = "SELECT livemigrate.migration_resume();";
    return Error(only_types ? sqlstate::kDatatypeMismatch : sqlstate::kUndefinedColumn,
                 "table " + QualifiedName(schema, table) +
                     " was changed on the source: " + DescribeColumnChanges(changes))
        .Detail("The change stream says nothing of the rows that are on the target already: what "
                "the source's statement did to them (USING, a volatile default) has to be repeated "
                "here; livemigrate.compare_data() shows whether they are the same.")
        .Hint(statements.empty()
                  ? "Do on the target what was done on the source, then run: " + resume
                  : "On the target run: " + JoinStatements(statements) + resume);
}

std::string
TypeName(const RemoteColumn &column) {
    if (!IsSameEverywhere(column.type_oid)) {
        return "... /* as on the source */";
    }
    return pg::Call([&]() -> const char * {
        return format_type_extended(column.type_oid, column.type_modifier,
                                    FORMAT_TYPE_TYPEMOD_GIVEN);
    });
}

} // namespace livemigrate::stage
