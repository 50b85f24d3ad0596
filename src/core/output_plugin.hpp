// The output plugins whose stream livemigrate understands, and what depends on which one it is.
//
// 'auto' is not a plugin: the caller resolves it before it comes here.
#pragma once

#include "core/change.hpp"

#include <cstdint>
#include <memory>
#include <string_view>

namespace livemigrate {

enum class Plugin : uint8_t { kPgoutput, kWal2json };

// The name as in pg_replication_slots.plugin.
std::string_view PluginName(Plugin plugin);

// Throws Error 22023, whose hint lists the valid names, for anything but an exact plugin name.
Plugin ParsePlugin(std::string_view name);

// A decoder at the start of a stream. For wal2json without any relation known to be of replica
// identity FULL: who needs that constructs Wal2jsonDecoder.
std::unique_ptr<ChangeDecoder> MakeDecoder(Plugin plugin);

// Whether `payload` begins or ends a transaction, or a chunk of a streamed one, without decoding
// rows. Throws Error 08P01 for a malformed message of these; says kNone for all others, malformed
// or not.
TransactionMark MarkTransaction(Plugin plugin, std::string_view payload);

} // namespace livemigrate
