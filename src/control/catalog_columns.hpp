// Many rows as the parameters of one statement: an array for each column.
#pragma once

#include "core/sql_text.hpp"
#include "pg/spi.hpp"

#include <string>
#include <vector>

namespace livemigrate::control {

class Columns {
  public:
    explicit Columns(size_t count) : columns_(count) {}
    void
    Add(size_t column, std::string value) {
        columns_[column].push_back(std::move(value));
    }
    // The migration is $1, the columns are $2 and so on, each a text[] literal.
    std::vector<pg::SqlValue>
    Parameters(int32_t migration) const {
        std::vector<pg::SqlValue> parameters = {std::to_string(migration)};
        for (const auto &column : columns_) {
            parameters.emplace_back(TextArrayLiteral(column));
        }
        return parameters;
    }

  private:
    std::vector<std::vector<std::string>> columns_;
};

// The literal of an int[].
template <typename Numbers>
std::string
IntArrayLiteral(const Numbers &numbers) {
    std::string text;
    for (const auto number : numbers) {
        text += (text.empty() ? "" : ",") + std::to_string(number);
    }
    return "{" + text + "}";
}

// To compare with an int[] parameter that is text, as all of ours are: read once, not for each row.
inline std::string
AnyOf(const char *parameter) {
    return std::string("ANY (ARRAY(SELECT pg_catalog.unnest(") + parameter + "::int[])))";
}

} // namespace livemigrate::control
