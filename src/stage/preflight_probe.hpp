// Tries whether the source loads an output plugin, and what the plugin can do. Only for the
// preflight.
#pragma once

#include "core/output_plugin.hpp"
#include "source/connection.hpp"

#include <optional>
#include <string>

namespace livemigrate::stage {

struct ProbeResult {
    enum class Kind {
        kLoadable,
        kRefused,   // not in output_plugin_libraries
        kMissing,   // not installed
        kBusy,      // loadable, but open transactions kept the temporary slot from being made
        kNotProbed, // something else is in the way, told by another check
        kBroken,    // an error of the plugin's own
    } kind = Kind::kNotProbed;
    std::string reason; // the source's words, unless loadable
    // wal2json: whether it has numeric-data-types-as-string; nullopt when that could not be seen.
    std::optional<bool> numeric_option;

    bool
    IsLoadable() const {
        return kind == Kind::kLoadable || kind == Kind::kBusy;
    }
};

// Makes a temporary slot on the replication connection, and drops it. The plugin is loaded before
// the slot waits for open transactions, so the answer comes at once; the wait is cut short after
// three seconds. `sql` is another connection to the same server.
ProbeResult ProbePlugin(source::Connection &replication, source::Connection &sql, Plugin plugin);

} // namespace livemigrate::stage
