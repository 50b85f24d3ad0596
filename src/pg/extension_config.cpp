#include "pg/extension_config.hpp"

#include "pg/sql_row.hpp"

namespace livemigrate::pg {

std::string
WithoutWhere(const std::string &condition) {
    const size_t start = condition.find_first_not_of(" \t\n");
    if (start == std::string::npos) {
        return "";
    }
    const bool has_where = pg_strncasecmp(condition.c_str() + start, "where", 5) == 0;
    return condition.substr(start + (has_where ? 5 : 0));
}

std::optional<std::string>
UserRowsCondition(Oid table) {
    const SqlResult found =
        Query("SELECT f.condition FROM pg_catalog.pg_extension e, "
              "ROWS FROM (pg_catalog.unnest(e.extconfig), pg_catalog.unnest(e.extcondition)) "
              "AS f (relid, condition) WHERE f.relid = $1::oid",
              {std::to_string(table)});
    if (found.rows.empty()) {
        return {};
    }
    return WithoutWhere(Text(found.rows.front(), 0));
}

} // namespace livemigrate::pg
