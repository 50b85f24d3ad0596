#include "stage/database_settings.hpp"

#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "stage/setting.hpp"

namespace livemigrate::stage {

namespace {

constexpr char kSettingsQuery[] = R"(
SELECT r.rolname, s.setting
FROM pg_catalog.pg_db_role_setting c
JOIN pg_catalog.pg_database d ON d.oid = c.setdatabase
LEFT JOIN pg_catalog.pg_roles r ON r.oid = c.setrole
CROSS JOIN LATERAL pg_catalog.unnest(c.setconfig) WITH ORDINALITY AS s(setting, n)
WHERE d.datname = pg_catalog.current_database()
ORDER BY r.rolname NULLS FIRST, s.n
)";

} // namespace

DatabaseSettingsReport
CopyDatabaseSettings(source::Connection &source) {
    DatabaseSettingsReport report;
    const std::string database =
        QuoteIdentifier(pg::Query("SELECT pg_catalog.current_database()").Scalar().value_or(""));
    for (const auto &row : source.Query(kSettingsQuery).rows) {
        const std::string &setting = row.at(1).value();
        const size_t equals = setting.find('=');
        if (equals == std::string::npos) {
            continue;
        }
        const std::string name = setting.substr(0, equals);
        const std::string sql =
            (row.at(0) ? "ALTER ROLE " + QuoteIdentifier(*row.at(0)) + " IN DATABASE " + database
                       : "ALTER DATABASE " + database) +
            " SET " + QuoteIdentifier(name) + " TO " +
            SettingValue(name, setting.substr(equals + 1));
        const std::string refusal = TryStatement(sql);
        if (refusal.empty()) {
            report.set++;
        } else {
            report.notes.push_back("setting not taken along: " + refusal + ": " + sql + ";");
        }
    }
    return report;
}

} // namespace livemigrate::stage
