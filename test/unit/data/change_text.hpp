// Changes as one line of text, so that a test can say what it expects of a whole stream.
#pragma once

#include "core/change.hpp"

#include <string>

namespace livemigrate::test {

inline std::string
ValueText(const ColumnValue &value) {
    switch (value.kind) {
    case ValueKind::kAbsent:
        return "absent";
    case ValueKind::kNull:
        return "null";
    case ValueKind::kUnchanged:
        return "unchanged";
    case ValueKind::kText:
    case ValueKind::kBinary:
        break;
    }
    constexpr size_t kShown = 24;
    std::string text = value.kind == ValueKind::kBinary ? "binary'" : "'";
    text += value.data.substr(0, kShown);
    text += "'";
    if (value.data.size() > kShown) {
        text += "..." + std::to_string(value.data.size());
    }
    return text;
}

// "(id*='1' note=null)": the columns that are not absent; a star marks those of the key.
inline std::string
TupleText(const RemoteRelation &relation, const Tuple &tuple) {
    std::string text = "(";
    for (size_t i = 0; i < tuple.size(); i++) {
        const RemoteColumn &column = relation.columns.at(i);
        if (tuple[i].kind != ValueKind::kAbsent) {
            text += (text.size() == 1 ? "" : " ") + column.name + (column.is_key ? "*=" : "=") +
                    ValueText(tuple[i]);
        }
    }
    return text + ")";
}

inline std::string
ChangeText(const Change &change) {
    std::string text;
    switch (change.kind) {
    case ChangeKind::kBegin:
        return "begin";
    case ChangeKind::kCommit:
        return "commit";
    case ChangeKind::kIgnored:
        return "ignored";
    case ChangeKind::kTruncate:
        text = "truncate";
        for (const auto &relation : change.truncated) {
            text += " " + relation->schema + "." + relation->name;
        }
        return text + (change.truncate_cascade ? " cascade" : "") +
               (change.truncate_restart_identity ? " restart" : "");
    case ChangeKind::kInsert:
        text = "insert ";
        break;
    case ChangeKind::kUpdate:
        text = "update ";
        break;
    case ChangeKind::kDelete:
        text = "delete ";
        break;
    }
    const RemoteRelation &relation = *change.relation;
    text += relation.schema + "." + relation.name;
    if (!change.old_tuple.empty()) {
        text += change.old_tuple_is_full ? " full " : " key ";
        text += TupleText(relation, change.old_tuple);
    }
    if (!change.new_tuple.empty()) {
        text += " new " + TupleText(relation, change.new_tuple);
    }
    return text;
}

} // namespace livemigrate::test
