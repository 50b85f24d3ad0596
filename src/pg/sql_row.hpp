// Reading the text values of a SqlResult.
#pragma once

#include "pg/spi.hpp"

#include "core/lsn.hpp"

#include <charconv>
#include <string>
#include <vector>

namespace livemigrate::pg {

using SqlRow = std::vector<SqlValue>;

// The value, or an empty string for NULL.
inline std::string
Text(const SqlRow &row, size_t column) {
    return row.at(column).value_or("");
}

// The number, or 0 for NULL.
template <typename T>
T
Number(const SqlRow &row, size_t column) {
    T value = 0;
    const std::string text = Text(row, column);
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

inline bool
Flag(const SqlRow &row, size_t column) {
    return row.at(column) == "t";
}

inline Lsn
Position(const SqlRow &row, size_t column) {
    return row.at(column) ? Lsn::Parse(*row.at(column)) : Lsn{};
}

inline std::string
BoolText(bool value) {
    return value ? "true" : "false";
}

} // namespace livemigrate::pg
