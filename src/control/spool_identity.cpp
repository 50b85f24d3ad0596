#include "control/spool_identity.hpp"

#include "core/error.hpp"
#include "pg/prelude.hpp"

#include <charconv>

namespace livemigrate::control {

std::string
MakeSpoolToken() {
    std::array<uint8_t, 16> bytes{};
    if (!pg_strong_random(bytes.data(), bytes.size())) {
        throw Error(sqlstate::kInternalError, "could not get random bytes");
    }
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string token;
    for (const uint8_t byte : bytes) {
        token += kDigits[byte >> 4];
        token += kDigits[byte & 15];
    }
    return token;
}

SpoolIdentity
IdentityOf(const Migration &migration) {
    SpoolIdentity identity;
    const std::string &token = migration.spool_token;
    bool valid = token.size() == 2 * identity.token.size();
    for (size_t i = 0; valid && i < identity.token.size(); i++) {
        const char *start = token.data() + 2 * i;
        const auto parsed = std::from_chars(start, start + 2, identity.token[i], 16);
        valid = parsed.ec == std::errc() && parsed.ptr == start + 2;
    }
    if (!valid) {
        throw Error(sqlstate::kDataCorrupted, "the migration has no valid spool token");
    }
    identity.system_identifier =
        std::strtoull(migration.source_system_identifier.c_str(), nullptr, 10);
    identity.plugin = migration.plugin.value_or(Plugin::kPgoutput);
    return identity;
}

} // namespace livemigrate::control
