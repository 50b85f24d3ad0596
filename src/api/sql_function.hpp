// The one form of every SQL-callable function: exported, and with exceptions turned into ereport.
#pragma once

#include "pg/prelude.hpp"

#include "pg/guard.hpp"

#define LIVEMIGRATE_FUNCTION(sql_name, implementation)                                             \
    extern "C" {                                                                                   \
    PG_FUNCTION_INFO_V1(sql_name);                                                                 \
    PGDLLEXPORT Datum sql_name(PG_FUNCTION_ARGS);                                                  \
    }                                                                                              \
    Datum sql_name(PG_FUNCTION_ARGS) {                                                             \
        return livemigrate::pg::Entry([&] { return livemigrate::api::implementation(fcinfo); });   \
    }
