// The one form of every SQL-callable function: exported, and with exceptions turned into ereport.
#pragma once

#include "pg/prelude.hpp"

#include "pg/guard.hpp"

namespace livemigrate::api {

// Runs a call, if the extension is of the library's version. An error about what was asked for
// always has a detail and a hint: where the place that found it had nothing to add, it says where
// to look.
Datum Answer(Datum (*call)(FunctionCallInfo), FunctionCallInfo fcinfo);

} // namespace livemigrate::api

#define LIVEMIGRATE_FUNCTION(sql_name, implementation)                                             \
    extern "C" {                                                                                   \
    PG_FUNCTION_INFO_V1(sql_name);                                                                 \
    PGDLLEXPORT Datum sql_name(PG_FUNCTION_ARGS);                                                  \
    }                                                                                              \
    Datum sql_name(PG_FUNCTION_ARGS) {                                                             \
        return livemigrate::pg::Entry(                                                             \
            [&] { return livemigrate::api::Answer(livemigrate::api::implementation, fcinfo); });   \
    }
