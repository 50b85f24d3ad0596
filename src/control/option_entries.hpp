// Keys of migration_start's options that are arrays: an entry for each table that they name.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::control {

// An entry of such an array, for messages about it.
struct OptionEntry {
    const char *option;
    size_t number; // from 1

    // Throws Error 22023: entry N of option "..." WHAT.
    [[noreturn]] void Refuse(const std::string &what, const std::string &hint) const;
};

// schema.table or, in schema public, table: names as they are, or quoted as in SQL. Throws Error
// 22023. REQUIRES: an open transaction.
std::pair<std::string, std::string> ReadTableName(const std::string &text,
                                                  const OptionEntry &entry);

struct EntryKey {
    const char *types; // of the JSON value
    std::function<void(const std::string &value, const OptionEntry &entry)> read;
};
using EntryKeys = std::map<std::string, EntryKey>;

// Calls `begin` for each entry of the array of objects at key `option`, the keys it returns for
// what the entry has, and `end`. None where the key is not there. Throws Error 22023 that says
// which entry is wrong, and how. REQUIRES: an open transaction.
void ReadEntries(const std::string &options_json, const char *option,
                 const std::function<EntryKeys()> &begin,
                 const std::function<void(const OptionEntry &)> &end);

// A whole number from 1 to `most`. Throws Error 22023.
int ReadCount(const std::string &key, const std::string &value, int most, const OptionEntry &entry);

} // namespace livemigrate::control
