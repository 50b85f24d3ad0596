// Which output plugin the migration uses, and whether the source loads it.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"
#include "stage/preflight_probe.hpp"

#include <set>

namespace livemigrate::stage {

namespace {

// PostgreSQL's default of output_plugin_libraries, and what we need besides.
constexpr char kAllowedPlugins[] = "pgoutput, test_decoding, wal2json";

// Why our role cannot create a publication of the selected tables, and the SQL that changes it;
// empty when it can.
struct PublishObstacle {
    std::string reason;
    std::string fix;
};

PublishObstacle
FindPublishObstacle(const PreflightRun &run) {
    PublishObstacle obstacle;
    const source::SourceInfo &info = run.info();
    if (info.is_superuser) {
        return obstacle;
    }
    const std::string role = QuoteIdentifier(info.role);
    if (!info.can_create_in_database) {
        obstacle.reason = "lacks CREATE on database " + QuoteIdentifier(info.database);
        obstacle.fix =
            "GRANT CREATE ON DATABASE " + QuoteIdentifier(info.database) + " TO " + role + ";";
    }
    std::vector<std::string> tables;
    std::set<std::string> owners;
    for (const source::SourceTable &table : run.result.tables) {
        if (table.persistence == 'p' && !table.is_owner) {
            tables.push_back(TableName(table));
            owners.insert(QuoteIdentifier(table.owner));
        }
    }
    if (!tables.empty()) {
        obstacle.reason += (obstacle.reason.empty() ? "does not own " : " and does not own ") +
                           std::to_string(tables.size()) +
                           " of the selected tables: " + ListNames(tables, 3);
    }
    for (const std::string &owner : owners) {
        obstacle.fix +=
            (obstacle.fix.empty() ? "GRANT " : "\nGRANT ") + owner + " TO " + role + ";";
    }
    return obstacle;
}

class PluginChoice {
  public:
    explicit PluginChoice(PreflightRun &run)
        : run_(run), obstacle_(FindPublishObstacle(run)),
          can_publish_(obstacle_.reason.empty() || run.settings.publication.has_value()) {}

    void
    Run() {
        const std::vector<Plugin> candidates = Candidates();
        run_.result.plugin = candidates.front();
        for (size_t i = 0; i < candidates.size(); i++) {
            if (IsUsable(candidates[i], i + 1 < candidates.size())) {
                run_.result.plugin = candidates[i];
                break;
            }
        }
        run_.result.plugin_reason = Reason();
        if (!run_.Failed("plugin")) {
            run_.Ok("plugin", std::string(PluginName(run_.result.plugin)),
                    run_.result.plugin_reason);
        }
    }

  private:
    // In the order of preference.
    std::vector<Plugin>
    Candidates() const {
        if (run_.settings.existing_slot) {
            return {run_.result.plugin};
        }
        if (run_.settings.requested_plugin != "auto") {
            return {ParsePlugin(run_.settings.requested_plugin)};
        }
        if (can_publish_) {
            return {Plugin::kPgoutput, Plugin::kWal2json};
        }
        return {Plugin::kWal2json};
    }

    std::string
    Reason() const {
        const std::string role = "role " + QuoteIdentifier(run_.info().role);
        if (run_.settings.existing_slot) {
            return "the slot uses it";
        }
        if (run_.settings.requested_plugin != "auto") {
            return "it was asked for";
        }
        if (run_.result.plugin == Plugin::kPgoutput) {
            return run_.settings.publication ? "a publication was named"
                                             : role + " can publish the selected tables";
        }
        return can_publish_ ? "the source refuses pgoutput" : role + " " + obstacle_.reason;
    }

    bool
    IsUsable(Plugin plugin, bool has_alternative) {
        ProbeResult probe;
        probe.reason = "the source takes no replication connection from us";
        if (run_.replication) {
            probe = ProbePlugin(*run_.replication, run_.source, plugin);
        }
        if (plugin == Plugin::kPgoutput && !can_publish_ && !run_.settings.existing_slot) {
            Refuse(plugin, sqlstate::kInsufficientPrivilege,
                   "role " + QuoteIdentifier(run_.info().role) +
                       " cannot create the publication that pgoutput needs: it " + obstacle_.reason,
                   Choices(obstacle_.fix, {"plugin => 'wal2json'"}), false);
        }
        if (!probe.IsLoadable()) {
            ReportProbe(plugin, probe, has_alternative);
            return probe.kind == ProbeResult::Kind::kNotProbed;
        }
        if (plugin == Plugin::kWal2json) {
            run_.result.wal2json_numeric_option = probe.numeric_option.value_or(false);
            CheckValues(probe);
            CheckEncoding();
        }
        if (probe.kind == ProbeResult::Kind::kBusy) {
            run_.Notice("slot_wait", "source",
                        probe.reason + " within 3 seconds: the migration will wait for them",
                        "SELECT pid, usename, xact_start, query FROM pg_stat_activity "
                        "WHERE backend_xid IS NOT NULL ORDER BY xact_start; -- on the source");
        }
        return true;
    }

    // An error, or a notice when another plugin can take its place.
    void
    Refuse(Plugin plugin, std::string_view sqlstate, const std::string &message,
           const std::string &fix, bool has_alternative) {
        if (has_alternative) {
            run_.Notice("plugin", std::string(PluginName(plugin)), message, fix);
        } else {
            run_.Fail("plugin", sqlstate, std::string(PluginName(plugin)), message, fix);
        }
    }

    void
    ReportProbe(Plugin plugin, const ProbeResult &probe, bool has_alternative) {
        const std::string name(PluginName(plugin));
        std::vector<std::string> others;
        if (run_.settings.requested_plugin == "auto" && !can_publish_) {
            others = {obstacle_.fix + " for plugin pgoutput, as the role " + obstacle_.reason};
        }
        switch (probe.kind) {
        case ProbeResult::Kind::kRefused:
            Refuse(plugin, sqlstate::kObjectNotInPrerequisiteState,
                   "the source does not allow output plugin \"" + name +
                       "\": it is not in its output_plugin_libraries",
                   Choices(run_.ways.Set("output_plugin_libraries", kAllowedPlugins), others),
                   has_alternative);
            break;
        case ProbeResult::Kind::kMissing:
            Refuse(plugin, sqlstate::kUndefinedFile,
                   "output plugin \"" + name + "\" is not installed on the source: " + probe.reason,
                   Choices(run_.ways.Install("postgresql-" + std::to_string(run_.info().major()) +
                                             (plugin == Plugin::kPgoutput ? "" : "-" + name)),
                           others),
                   has_alternative);
            break;
        case ProbeResult::Kind::kBroken:
            Refuse(plugin, sqlstate::kObjectNotInPrerequisiteState,
                   "the source cannot use output plugin \"" + name + "\": " + probe.reason,
                   Choices("-- plugin => '" +
                               std::string(plugin == Plugin::kWal2json ? "pgoutput" : "wal2json") +
                               "'",
                           {"see the source's server log, and install the plugin made for its "
                            "release"}),
                   has_alternative);
            break;
        default:
            run_.Notice("plugin_probe", name,
                        "not tried whether the source loads it: " + probe.reason,
                        "-- run this again when what is at error is mended");
        }
    }

    // wal2json before 2.6 prints NaN and Infinity of plain float4, float8 and numeric columns as
    // null. Arrays, domains and composites of these come as text, and whole.
    void
    CheckValues(const ProbeResult &probe) {
        if (run_.result.wal2json_numeric_option) {
            run_.Ok("plugin_values", "wal2json", "sends NaN and Infinity as they are");
            return;
        }
        const std::string why =
            probe.numeric_option
                ? "this wal2json sends NaN and Infinity of its float and numeric columns as NULL"
                : "open transactions kept us from seeing whether wal2json sends NaN and Infinity "
                  "of its float and numeric columns";
        std::string first = "-- plugin => 'pgoutput'";
        if (!can_publish_) {
            first = obstacle_.fix + "\n-- then plugin => 'pgoutput'";
        }
        std::vector<std::string> choices = {first, "install wal2json 2.6 or newer on the source"};
        if (!probe.numeric_option) {
            choices = {"-- run this again when they have ended", first};
        }
        const std::string fix = Choices(choices[0], {choices[1]});
        bool found = false;
        for (const source::SourceTable &table : run_.result.tables) {
            if (table.has_lossy_column && run_.HasData(table) && table.persistence == 'p') {
                found = true;
                run_.Fail("plugin_values", sqlstate::kFeatureNotSupported, TableName(table),
                          "table " + TableName(table) +
                              " cannot be replicated without loss: " + why,
                          fix);
            }
        }
        if (!found) {
            run_.Ok("plugin_values", "wal2json", "no selected table has a float or numeric column");
        }
    }

    void
    CheckEncoding() {
        if (run_.info().encoding != "UTF8" && run_.info().encoding != "SQL_ASCII") {
            run_.Warning("plugin_encoding", "wal2json",
                         "wal2json sends text in the source's encoding " + run_.info().encoding +
                             ", which the target converts; pgoutput does that on the source",
                         "-- plugin => 'pgoutput'");
        }
    }

    PreflightRun &run_;
    PublishObstacle obstacle_;
    bool can_publish_;
};

} // namespace

void
CheckPlugin(PreflightRun &run) {
    if (!run.Failed("existing_slot")) { // else there is no slot whose plugin could be tried
        PluginChoice(run).Run();
    }
}

} // namespace livemigrate::stage
