#include "core/libpq_option.hpp"

#include <algorithm>
#include <array>

namespace livemigrate {

namespace {

constexpr bool kSecret = true;
constexpr bool kShown = false;
constexpr bool kHarmful = true;
constexpr bool kHarmless = false;

constexpr auto kOptions = std::to_array<LibpqOption>({
    {"application_name", kShown, kHarmless},
    {"authtype", kShown, kHarmless},
    {"channel_binding", kShown, kHarmless},
    {"client_encoding", kShown, kHarmless},
    {"connect_timeout", kShown, kHarmless},
    {"dbname", kShown, kHarmless},
    {"fallback_application_name", kShown, kHarmless},
    {"gssdelegation", kShown, kHarmful},
    {"gssencmode", kShown, kHarmless},
    {"gsslib", kShown, kHarmful},
    {"host", kShown, kHarmless},
    {"hostaddr", kShown, kHarmless},
    {"keepalives", kShown, kHarmless},
    {"keepalives_count", kShown, kHarmless},
    {"keepalives_idle", kShown, kHarmless},
    {"keepalives_interval", kShown, kHarmless},
    {"krbsrvname", kShown, kHarmful},
    {"load_balance_hosts", kShown, kHarmless},
    {"max_protocol_version", kShown, kHarmless},
    {"min_protocol_version", kShown, kHarmless},
    {"oauth_client_id", kSecret, kHarmful},
    {"oauth_client_secret", kSecret, kHarmful},
    {"oauth_issuer", kSecret, kHarmful},
    {"oauth_scope", kSecret, kHarmful},
    {"options", kShown, kHarmful},
    {"passfile", kShown, kHarmful},
    {"password", kSecret, kHarmless},
    {"port", kShown, kHarmless},
    {"replication", kShown, kHarmless},
    {"require_auth", kShown, kHarmless},
    {"requirepeer", kShown, kHarmful},
    {"requiressl", kShown, kHarmful},
    {"scram_client_key", kSecret, kHarmful},
    {"scram_server_key", kSecret, kHarmful},
    {"service", kShown, kHarmful},
    {"servicefile", kShown, kHarmful},
    {"ssl", kShown, kHarmful},
    {"ssl_max_protocol_version", kShown, kHarmless},
    {"ssl_min_protocol_version", kShown, kHarmless},
    {"sslcert", kShown, kHarmful},
    {"sslcertmode", kShown, kHarmful},
    {"sslcompression", kShown, kHarmless},
    {"sslcrl", kShown, kHarmful},
    {"sslcrldir", kShown, kHarmful},
    {"sslkey", kShown, kHarmful},
    {"sslkeylogfile", kShown, kHarmful},
    {"sslmode", kShown, kHarmless},
    {"sslnegotiation", kShown, kHarmless},
    {"sslpassword", kSecret, kHarmful},
    {"sslrootcert", kShown, kHarmful},
    {"sslsni", kShown, kHarmless},
    {"target_session_attrs", kShown, kHarmless},
    {"tcp_user_timeout", kShown, kHarmless},
    {"tty", kShown, kHarmless},
    {"user", kShown, kHarmless},
});
static_assert(std::is_sorted(kOptions.begin(), kOptions.end(),
                             [](const LibpqOption &left, const LibpqOption &right) {
                                 return left.name < right.name;
                             }));

const LibpqOption *
Find(std::string_view name) {
    const auto *found =
        std::find_if(kOptions.begin(), kOptions.end(),
                     [&](const LibpqOption &option) { return option.name == name; });
    return found == kOptions.end() ? nullptr : found;
}

} // namespace

LibpqOption
KnowledgeOf(std::string_view name) {
    const LibpqOption *option = Find(name);
    return option != nullptr ? *option : LibpqOption{name, kSecret, kHarmful};
}

bool
IsKnownLibpqOption(std::string_view name) {
    return Find(name) != nullptr;
}

} // namespace livemigrate
