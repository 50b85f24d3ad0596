// Columns of which the stream loses values: wal2json before 2.6 prints NaN and Infinity of plain
// float4, float8 and numeric columns as null. migration_check refuses tables that have any; this is
// for those that get one while changes are applied.
//
// A column of the target that is NOT NULL, or has a check that it is, loses nothing: it takes no
// NULL for such a value, so apply stops there.
#pragma once

#include "pg/prelude.hpp"

#include "core/error.hpp"
#include "stage/apply.hpp"

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>

namespace livemigrate::stage {

// Whether the stream loses such values; `numeric_option`: wal2json can send them as text.
bool LosesNumbers(Plugin plugin, bool numeric_option);

// Arrays, domains and composites of these types come as text, and whole.
bool IsLossyType(uint32_t type_oid);

// `statements`: what makes the column on the target, each with "; " behind it, if it is not there.
Error LossyColumn(const std::string &schema, const std::string &table, const std::string &column,
                  const std::string &statements = {});

// The types of a table's columns that take NULL from apply, by name. REQUIRES: an open transaction.
std::map<std::string, uint32_t> NullableColumns(Oid relid);

class LossyColumns {
  public:
    explicit LossyColumns(const ApplySettings &settings);

    // Throws Error 0A000 for a column that the source's table did not have when its rows were
    // copied, and whose values may be lost. `relid`: where its rows are written. REQUIRES: an open
    // transaction; the table is locked.
    void Check(const RemoteRelation &remote, Oid relid) const;

  private:
    bool is_lossy_; // the stream
    // By schema and table: names of the columns that were copied.
    std::map<std::pair<std::string, std::string>, std::set<std::string>> copied_;
};

} // namespace livemigrate::stage
