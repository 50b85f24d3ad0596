#include "pg/prelude.hpp"

#include "source/replication_stream.hpp"

#include "core/timeline_history.hpp"
#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "source/catalog_query.hpp"

#include <utility>

namespace livemigrate::source {

namespace {

// PostgreSQL 14 is the first that sends transactions before they end, and binary values.
constexpr int kStreamingVersion = 140000;
constexpr int kBinaryVersion = 140000;

} // namespace

ReplicationStream::~ReplicationStream() {
    FreeMessage();
}

void
ReplicationStream::FreeMessage() {
    if (message_ != nullptr) {
        PQfreemem(std::exchange(message_, nullptr));
    }
}

SystemIdentity
ReplicationStream::IdentifySystem() {
    const pg::SqlResult result = connection_.Query("IDENTIFY_SYSTEM");
    const auto &row = result.rows.at(0);
    SystemIdentity identity;
    identity.system_identifier = row.at(0).value_or("");
    identity.timeline = static_cast<uint32_t>(std::stoul(row.at(1).value_or("0")));
    identity.flushed = Lsn::Parse(row.at(2).value_or("0/0"));
    identity.database = row.at(3).value_or("");
    return identity;
}

SystemIdentity
ReplicationStream::IdentifySource(const std::string &system_identifier, uint32_t timeline) {
    SystemIdentity identity = IdentifySystem();
    CheckSystemIdentifier(identity.system_identifier, system_identifier);
    // In a failover for a moment: as if it did not take connections yet.
    if (connection_.Query("SELECT pg_catalog.pg_is_in_recovery()").Scalar() == "t") {
        throw Error(sqlstate::kCannotConnect, "the source is a standby")
            .Detail("The migration goes on when it is promoted, or the connection string leads to "
                    "its primary again.");
    }
    if (identity.timeline < timeline) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "the source is an older primary than the one the migration was last connected "
                    "to")
            .Detail("It is on timeline " + std::to_string(identity.timeline) +
                    "; changes came from timeline " + std::to_string(timeline) + " already.")
            .Hint("Let the connection string lead to the server that was promoted, then run: "
                  "SELECT livemigrate.migration_resume(); if there is none, start over: SELECT "
                  "livemigrate.migration_abort();");
    }
    return identity;
}

std::optional<Lsn>
ReplicationStream::EndOfTimeline(uint32_t current, uint32_t earlier) {
    const pg::SqlResult result = connection_.Query("TIMELINE_HISTORY " + std::to_string(current));
    return livemigrate::EndOfTimeline(result.rows.at(0).at(1).value_or(""), earlier);
}

Lsn
ReplicationStream::BeginOfTimeline(uint32_t current) {
    if (current <= 1) {
        return {}; // and has no history
    }
    const pg::SqlResult result = connection_.Query("TIMELINE_HISTORY " + std::to_string(current));
    return livemigrate::BeginOfTimeline(result.rows.at(0).at(1).value_or(""));
}

CreatedSlot
ReplicationStream::CreateSlot(const std::string &slot, Plugin plugin, bool temporary,
                              const WaitObserver &observer) {
    // The old form of the options is understood by all versions from 10 on.
    const std::string command = "CREATE_REPLICATION_SLOT " + QuoteReplicationName(slot) +
                                (temporary ? " TEMPORARY" : "") + " LOGICAL " +
                                QuoteReplicationName(PluginName(plugin)) + " EXPORT_SNAPSHOT";
    const pg::SqlResult result = connection_.Query(command, observer);
    const auto &row = result.rows.at(0);
    return {Lsn::Parse(row.at(1).value_or("0/0")), row.at(2).value_or("")};
}

bool
ReplicationStream::OffersBinary() const {
    return connection_.server_version() >= kBinaryVersion;
}

std::vector<std::pair<std::string, std::string>>
PluginOptions(const StreamOptions &options, int server_version) {
    if (options.plugin != Plugin::kPgoutput) {
        return options.plugin_options;
    }
    std::string names;
    for (const std::string &publication : options.publications) {
        names += (names.empty() ? "" : ",") + QuoteIdentifier(publication);
    }
    std::vector<std::pair<std::string, std::string>> result;
    if (options.streaming && server_version >= kStreamingVersion) {
        result = {{"proto_version", "2"}, {"streaming", "on"}};
    } else {
        result = {{"proto_version", "1"}};
    }
    if (options.binary && server_version >= kBinaryVersion) {
        result.emplace_back("binary", "true");
    }
    result.emplace_back("publication_names", names);
    return result;
}

void
ReplicationStream::Start(const StreamOptions &options) {
    std::string command = "START_REPLICATION SLOT " + QuoteReplicationName(options.slot) +
                          " LOGICAL " + options.start.ToString() + " (";
    const char *separator = "";
    for (const auto &[name, value] : PluginOptions(options, connection_.server_version())) {
        command += separator + QuoteReplicationName(name) + " " + QuoteReplicationLiteral(value);
        separator = ", ";
    }
    connection_.StartCopy(command + ")", PGRES_COPY_BOTH);
}

void
ReplicationStream::ConsumeInput() {
    if (PQconsumeInput(connection_.raw()) == 0) {
        connection_.ThrowConnectionError("lost the replication connection to the source");
    }
}

std::optional<std::string_view>
ReplicationStream::TryReceive() {
    FreeMessage();
    const int length = PQgetCopyData(connection_.raw(), &message_, 1);
    if (length > 0) {
        return std::string_view(message_, static_cast<size_t>(length));
    }
    if (length == 0) {
        return std::nullopt;
    }
    if (length == -1) {
        connection_.FinishCopy();
        throw Error(sqlstate::kConnectionFailure, "the source ended the replication stream");
    }
    connection_.ThrowConnectionError("lost the replication connection to the source");
}

void
ReplicationStream::Send(std::string_view message) {
    if (PQputCopyData(connection_.raw(), message.data(), static_cast<int>(message.size())) < 0) {
        connection_.ThrowConnectionError("could not send feedback to the source");
    }
    connection_.Flush();
}

void
ReplicationStream::Finish() {
    if (PQputCopyEnd(connection_.raw(), nullptr) < 0) {
        connection_.ThrowConnectionError("could not send feedback to the source");
    }
    connection_.Flush();
    for (;;) {
        FreeMessage();
        const int length = PQgetCopyData(connection_.raw(), &message_, 1);
        if (length == -1) {
            connection_.FinishCopy();
            return;
        }
        if (length == -2) {
            connection_.ThrowConnectionError("lost the replication connection to the source");
        }
        if (length == 0) {
            connection_.WaitForInput();
        }
    }
}

std::vector<std::pair<std::string, std::string>>
Wal2jsonOptions(bool numeric_as_string) {
    std::vector<std::pair<std::string, std::string>> options = {
        {"format-version", "2"},    {"include-lsn", "1"},   {"include-xids", "1"},
        {"include-timestamp", "1"}, {"include-types", "0"}, {"include-transaction", "1"},
        {"include-typmod", "0"},
    };
    if (numeric_as_string) {
        options.emplace_back("numeric-data-types-as-string", "1");
    }
    return options;
}

} // namespace livemigrate::source
