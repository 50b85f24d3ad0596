// SQL on the target for everything that is not on a hot path: parameters and results as text.
#pragma once

#include "pg/prelude.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate::pg {

using SqlValue = std::optional<std::string>; // nullopt is SQL NULL

struct SqlResult {
    std::vector<std::vector<SqlValue>> rows;
    uint64_t processed = 0;

    // The only value of the only row; nullopt when there is no row or it is NULL.
    SqlValue Scalar() const;
};

// Runs one statement with text parameters ($1, $2, ... of type text: cast in the SQL). Works with
// or without an open SPI connection; needs an open transaction. Errors come out as Error.
SqlResult Query(const std::string &sql, const std::vector<SqlValue> &parameters = {});

// Runs one statement through SPI whose result is of no interest (DDL, SET).
void Execute(const std::string &sql);

// Sets a configuration parameter for the rest of the session.
void SetConfig(const char *name, const char *value);

} // namespace livemigrate::pg
