// Which tables' ANALYZE has to come behind all constraints, because something that it heeds does.
#pragma once

#include "pg/prelude.hpp"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

class LateAnalyze {
  public:
    // In the order of the dump, where what is altered has been created before.
    void NoteIndex(const IndexStmt *index);
    // `known`: its table is there already, so that it is created with the table's indexes.
    void NoteStatistics(const CreateStatsStmt *statistics, bool known);
    void NoteAltered(const AlterStatsStmt *alter);
    void NoteAltered(const AlterTableStmt *alter);

    // To be called with the tables that are analyzed, by schema and name, when all is noted. What
    // concerns another one, a partition say that its root's ANALYZE covers, concerns them all.
    void SetTables(const std::vector<std::pair<std::string, std::string>> &tables);
    bool IsLate(const std::string &schema, const std::string &table) const;

  private:
    void Alter(const std::string &object);

    std::map<std::string, std::string> table_of_; // indexes and statistics objects
    std::set<std::string> late_;                  // tables; and what is none that is known
    bool all_ = false;
};

} // namespace livemigrate::stage
