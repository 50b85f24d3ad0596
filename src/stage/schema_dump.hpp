// The source's schema as SQL text: pg_dump under the exported snapshot, then pg_restore per
// section. Both are of the newer one of the two major versions, and started without a shell.
#pragma once

#include "core/migration_settings.hpp"

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

// Writes the custom-format archive to `file`. `excluded` are (schema, name) of relations left out;
// `source_version` is the source's server_version_num.
// The password reaches pg_dump through its environment only. `waiting` is called every few seconds,
// and may throw to give up. Throws Error with pg_dump's own words, 08006 when it lost its
// connection.
void DumpSchema(const MigrationSettings &settings, int source_version, const std::string &snapshot,
                const std::vector<std::pair<std::string, std::string>> &excluded,
                const std::string &file, const std::function<void()> &waiting = {});

enum class DumpSection { kPreData, kPostData };

// The section's SQL, without psql's meta-commands.
std::string RestoreText(const MigrationSettings &settings, int source_version,
                        const std::string &file, DumpSection section);

} // namespace livemigrate::stage
