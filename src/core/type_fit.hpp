// Whether a column of the target can hold every value of the source's column.
//
// Values travel as the source's text, or in binary form where both types are the same, and become
// values of the target's column by its type's input function and modifier, in the copy and in the
// stream. So what counts is what that function does to the text, not what a cast would do.
#pragma once

#include <cstdint>
#include <string>

namespace livemigrate {

// What a column's values are made of: domains and arrays are looked through.
struct ColumnType {
    // As in pg_type: "int4". Behind schema or extension and a dot where it is not built in.
    std::string name;
    int32_t modifier = -1; // pg_attribute.atttypmod
    bool is_array = false;
};

struct TypeFit {
    enum class Kind : uint8_t {
        kHolds,
        // Values that do not fit are refused, or come in another form; or nothing is known.
        kDoubtful,
        kChanges, // values are changed, and nothing tells
    } kind = Kind::kHolds;
    std::string reason = {}; // "values are rounded to 2 decimal places"; empty: it holds them
};

TypeFit FitOfTypes(const ColumnType &source, const ColumnType &target);

// ALTER TABLE that gives the target's column the source's type. `written`: as format_type() writes
// that. A default that may not be cast along is dropped, and a comment says so.
std::string TypeFix(const std::string &table, const std::string &column, const ColumnType &source,
                    const std::string &written, const ColumnType &target, bool has_default = false);

} // namespace livemigrate
