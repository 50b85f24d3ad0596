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

// The same for migration_check, which has those of its arguments that change what is found.
MigrationSettings ReadCheckSettings(FunctionCallInfo fcinfo);

// The argument `options`, a JSON object. Throws Error 22023. REQUIRES: on_existing is set.
void ReadOptions(const std::string &json, MigrationSettings &settings);

} // namespace livemigrate::api
