#include "stage/index_analyze.hpp"

#include "core/sql_text.hpp"

#include <algorithm>

namespace livemigrate::stage {

namespace {

// The dump qualifies every name.
std::string
Qualified(const char *schema, const char *name) {
    return QualifiedName(schema == nullptr ? "" : schema, name == nullptr ? "" : name);
}

std::string
NameOf(const RangeVar *relation) {
    return Qualified(relation->schemaname, relation->relname);
}

std::string
NameOf(const List *names) {
    return list_length(names) == 2 ? Qualified(strVal(linitial(names)), strVal(lsecond(names)))
                                   : std::string();
}

bool
SetsStatisticsTarget(const AlterTableStmt *alter) {
    const ListCell *cell = nullptr;
    foreach (cell, alter->cmds) {
        if (static_cast<const AlterTableCmd *>(lfirst(cell))->subtype == AT_SetStatistics) {
            return true;
        }
    }
    return false;
}

} // namespace

void
LateAnalyze::NoteIndex(const IndexStmt *index) {
    table_of_[Qualified(index->relation->schemaname, index->idxname)] = NameOf(index->relation);
}

void
LateAnalyze::NoteStatistics(const CreateStatsStmt *statistics, bool known) {
    const auto *relation = static_cast<const RangeVar *>(linitial(statistics->relations));
    const std::string table = IsA(relation, RangeVar) ? NameOf(relation) : std::string();
    table_of_[NameOf(statistics->defnames)] = table;
    if (!known) {
        late_.insert(table);
    }
}

void
LateAnalyze::Alter(const std::string &object) {
    const auto found = table_of_.find(object);
    late_.insert(found == table_of_.end() ? object : found->second);
}

void
LateAnalyze::NoteAltered(const AlterStatsStmt *alter) {
    Alter(NameOf(alter->defnames));
}

void
LateAnalyze::NoteAltered(const AlterTableStmt *alter) {
    if (SetsStatisticsTarget(alter)) {
        Alter(NameOf(alter->relation));
    }
}

void
LateAnalyze::SetTables(const std::vector<std::pair<std::string, std::string>> &tables) {
    std::set<std::string> names;
    for (const auto &[schema, table] : tables) {
        names.insert(QualifiedName(schema, table));
    }
    all_ = !std::includes(names.begin(), names.end(), late_.begin(), late_.end());
}

bool
LateAnalyze::IsLate(const std::string &schema, const std::string &table) const {
    return all_ || late_.contains(QualifiedName(schema, table));
}

} // namespace livemigrate::stage
