// What lets a role in where the source's pg_hba.conf, or a provider's network, keeps it out.
#pragma once

#include <string>
#include <string_view>

namespace livemigrate {

// Names of providers, as fixes and messages have them.
inline constexpr char kAmazonRds[] = "Amazon RDS or Aurora";
inline constexpr char kCloudSql[] = "Cloud SQL";
inline constexpr char kAlloyDb[] = "AlloyDB";
inline constexpr char kAzure[] = "Azure Database for PostgreSQL";
inline constexpr char kSupabase[] = "Supabase";
inline constexpr char kNeon[] = "Neon";
inline constexpr char kTimescale[] = "Timescale";
inline constexpr char kHeroku[] = "Heroku";

// The provider whose servers have such names; empty: none that is known. `hosts` as in a connection
// string, where several stand with commas between them.
std::string_view HostProvider(std::string_view hosts);

// Where the provider has the list of addresses that it lets in, as an SQL comment. `address` may be
// empty: that of the server which connects.
std::string NetworkFix(std::string_view provider, std::string_view address);

// Who wants in, for what the reason does not say.
struct AccessRequest {
    std::string database;
    std::string role;
    std::string address; // the target's, as the source sees it; empty: not known, or a socket
    std::string sslmode; // as the connection string has it, maybe not at all
    bool by_network = false;
};

// Whether the reason for a failed connection, as server or libpq give it, is pg_hba.conf.
bool IsAboutAccess(std::string_view reason);

// What helps, best first: encryption where only that is missing, then the line of pg_hba.conf, or
// at a provider, where nobody edits that file, its own way.
std::string AccessFix(std::string_view provider, std::string_view reason, AccessRequest request);

} // namespace livemigrate
