#include "core/output_plugin.hpp"

#include "core/error.hpp"
#include "core/pgoutput_decoder.hpp"
#include "core/wal2json_decoder.hpp"

namespace livemigrate {

std::string_view
PluginName(Plugin plugin) {
    return plugin == Plugin::kPgoutput ? "pgoutput" : "wal2json";
}

Plugin
ParsePlugin(std::string_view name) {
    for (const Plugin plugin : {Plugin::kPgoutput, Plugin::kWal2json}) {
        if (name == PluginName(plugin)) {
            return plugin;
        }
    }
    throw Error(sqlstate::kInvalidParameterValue,
                "unknown output plugin \"" + std::string(name) + "\"")
        .Hint("Valid plugins are \"auto\", \"pgoutput\" and \"wal2json\".");
}

std::unique_ptr<ChangeDecoder>
MakeDecoder(Plugin plugin) {
    if (plugin == Plugin::kPgoutput) {
        return std::make_unique<PgoutputDecoder>();
    }
    return std::make_unique<Wal2jsonDecoder>();
}

TransactionMark
MarkTransaction(Plugin plugin, std::string_view payload) {
    return plugin == Plugin::kPgoutput ? MarkPgoutput(payload) : MarkWal2json(payload);
}

} // namespace livemigrate
