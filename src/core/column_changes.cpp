#include "core/column_changes.hpp"

#include "core/sql_text.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

using Kind = ColumnChange::Kind;

template <typename Columns>
auto
Find(const Columns &columns, const std::string &name) {
    return std::find_if(columns.begin(), columns.end(),
                        [&](const auto &column) { return column.name == name; });
}

// Where values come in binary form, descriptions have the wire type.
bool
HasType(const SourceColumn &before, const RemoteColumn &now) {
    return (now.type_oid == before.type_oid || now.type_oid == before.wire_type_oid) &&
           now.type_modifier == before.type_modifier;
}

// The column that an added one was before: it is gone under its old name.
const SourceColumn *
FormerlyNamed(const ColumnDefinition &added, const std::vector<ColumnChange> &changes,
              const std::vector<SourceColumn> &before) {
    const auto found = std::find_if(before.begin(), before.end(), [&](const SourceColumn &column) {
        return added.number != 0 && column.number == added.number &&
               std::any_of(changes.begin(), changes.end(), [&](const ColumnChange &change) {
                   return change.kind == Kind::kDropped && change.column.name == column.name;
               });
    });
    return found == before.end() ? nullptr : &*found;
}

// The rows that are there get what the source's rows have, which need not be today's default.
void
AddColumn(const std::string &alter, const ColumnDefinition &column,
          std::vector<std::string> &statements) {
    const std::string name = QuoteIdentifier(column.name);
    std::string add = alter + "ADD COLUMN " + name + " " + column.type;
    if (!column.collation.empty()) {
        add += " COLLATE " + column.collation;
    }
    if (column.has_missing_value) {
        add += " DEFAULT " + QuoteLiteral(column.missing_value);
    }
    statements.push_back(add);
    if (!column.default_value.empty()) {
        statements.push_back(alter + "ALTER COLUMN " + name + " SET DEFAULT " +
                             column.default_value);
    } else if (column.has_missing_value) {
        statements.push_back(alter + "ALTER COLUMN " + name + " DROP DEFAULT");
    }
    if (column.not_null) {
        statements.push_back(alter + "ALTER COLUMN " + name + " SET NOT NULL");
    }
}

} // namespace

std::vector<ColumnChange>
FindColumnChanges(const std::vector<SourceColumn> &before, const std::vector<RemoteColumn> &now) {
    std::vector<ColumnChange> changes;
    for (const SourceColumn &column : before) {
        if (Find(now, column.name) == now.end()) {
            RemoteColumn gone;
            gone.name = column.name;
            changes.push_back({Kind::kDropped, gone});
        }
    }
    auto last = before.begin();
    for (const RemoteColumn &column : now) {
        const auto found = Find(before, column.name);
        if (found == before.end()) {
            changes.push_back({Kind::kAdded, column});
            continue;
        }
        if (!HasType(*found, column)) {
            changes.push_back({Kind::kRetyped, column, found->type_oid});
        } else if (found < last) {
            changes.push_back({Kind::kReplaced, column});
        }
        last = std::max(last, found);
    }
    return changes;
}

std::vector<ColumnChange>
FindColumnChanges(const std::vector<SourceColumn> &before, const std::vector<SourceColumn> &now) {
    std::vector<RemoteColumn> columns;
    for (const SourceColumn &column : now) {
        columns.push_back({.name = column.name,
                           .type_oid = column.type_oid,
                           .type_modifier = column.type_modifier});
    }
    std::vector<ColumnChange> changes = FindColumnChanges(before, columns);
    for (size_t i = 0; i < now.size(); i++) {
        const auto found = Find(before, now[i].name);
        const bool is_told =
            std::any_of(changes.begin(), changes.end(), [&](const ColumnChange &change) {
                return change.column.name == now[i].name;
            });
        if (found != before.end() && found->number != now[i].number && !is_told) {
            changes.push_back({Kind::kReplaced, columns[i]});
        }
    }
    return changes;
}

std::vector<std::string>
StatementsToFollow(const std::string &table, const std::vector<ColumnChange> &changes,
                   const std::vector<SourceColumn> &before,
                   const std::vector<ColumnDefinition> &definitions) {
    const std::string alter = "ALTER TABLE " + table + " ";
    std::vector<std::string> statements;
    std::vector<std::string> renamed;
    for (const ColumnChange &change : changes) {
        const auto definition = Find(definitions, change.column.name);
        if (change.kind == Kind::kDropped || change.kind == Kind::kReplaced ||
            definition == definitions.end()) {
            continue;
        }
        const std::string name = QuoteIdentifier(change.column.name);
        if (change.kind == Kind::kRetyped) {
            statements.push_back(alter + "ALTER COLUMN " + name + " TYPE " + definition->type +
                                 " USING " + name + "::" + definition->type);
        } else if (const SourceColumn *former = FormerlyNamed(*definition, changes, before)) {
            statements.push_back(alter + "RENAME COLUMN " + QuoteIdentifier(former->name) + " TO " +
                                 name);
            renamed.push_back(former->name);
        } else {
            AddColumn(alter, *definition, statements);
        }
    }
    for (const ColumnChange &change : changes) {
        const std::string &name = change.column.name;
        if (change.kind == Kind::kDropped &&
            std::find(renamed.begin(), renamed.end(), name) == renamed.end()) {
            statements.push_back(alter + "DROP COLUMN " + QuoteIdentifier(name));
        }
    }
    return statements;
}

std::string
DescribeColumnChanges(const std::vector<ColumnChange> &changes) {
    std::string text;
    for (const ColumnChange &change : changes) {
        text += (text.empty() ? "" : ", ") + ("column " + QuoteIdentifier(change.column.name));
        text += change.kind == Kind::kAdded      ? " was added"
                : change.kind == Kind::kDropped  ? " was dropped"
                : change.kind == Kind::kReplaced ? " is another one of that name"
                                                 : " has another type";
    }
    return text;
}

} // namespace livemigrate
