// The arguments of migration_start as settings: every mistake is an error that says what is valid.
#pragma once

#include "pg/prelude.hpp"

#include "core/migration_settings.hpp"

#include <string>

namespace livemigrate::api {

struct StartRequest {
    MigrationSettings settings;
    std::string options_json;
};

// Throws Error 22023 or 22004. Reads fcinfo in the order of the SQL declaration.
StartRequest ReadStartRequest(FunctionCallInfo fcinfo);

// The argument `options`, a JSON object. Throws Error 22023. REQUIRES: on_existing is set.
void ReadOptions(const std::string &json, MigrationSettings &settings);

// Throws Error 22023 unless it is auto, pgoutput or wal2json.
void CheckPluginChoice(const std::string &plugin);

} // namespace livemigrate::api
