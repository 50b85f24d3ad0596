// Text that goes into SQL, into the replication protocol's own small grammar, and into messages.
//
// Names and literals are bytes in an encoding where no byte of a multi-byte character looks like
// ASCII, as is true of every encoding a PostgreSQL server can have. None of the functions that
// quote accepts a NUL byte, which would cut the statement short: they throw Error 22023.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

// Longest identifier and slot name, in bytes (NAMEDATALEN - 1).
inline constexpr size_t kMaxNameLength = 63;

// "name", always quoted, so that no key word of any server version matters.
std::string QuoteIdentifier(std::string_view name);

// "schema"."name".
std::string QualifiedName(std::string_view schema, std::string_view name);

// 'text', or E'text' with doubled backslashes when there is one, as quote_literal() does: right
// whatever standard_conforming_strings says.
std::string QuoteLiteral(std::string_view text);

// The same for replication commands (CREATE_REPLICATION_SLOT, START_REPLICATION ...), whose scanner
// knows neither E'' nor backslash escapes: only the quote itself is doubled.
std::string QuoteReplicationName(std::string_view name);
std::string QuoteReplicationLiteral(std::string_view text);

// {"a","b"}: the input text of a text[], to be passed as a parameter or through QuoteLiteral.
std::string TextArrayLiteral(const std::vector<std::string> &elements);

// "8192 bytes", "16 kB", "1234 MB", as pg_size_pretty() prints a size; PB is the largest unit.
std::string FormatBytes(uint64_t bytes);

// Every `from` in `text`, which is not looked for in what replaced it, becomes `to`.
void ReplaceAll(std::string &text, std::string_view from, std::string_view to);

// Whether PostgreSQL takes `name` for a replication slot: [a-z0-9_], 1 to 63 bytes.
bool IsSlotName(std::string_view name);

// The slot of a migration, and the name of its publication and replication origin: always a valid
// slot name. "livemigrate_<migration>" where that is one. Otherwise every byte outside [a-z0-9_]
// becomes '_', the middle is cut to fit, and "_" with eight hex digits of a hash of the migration's
// name follows, so that two names do not share a slot.
std::string SlotName(std::string_view migration);

} // namespace livemigrate
