#include "core/output_plugin.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

TEST(OutputPluginTest, ParsesItsOwnNames) {
    for (const Plugin plugin : {Plugin::kPgoutput, Plugin::kWal2json}) {
        EXPECT_EQ(ParsePlugin(PluginName(plugin)), plugin);
    }
}

TEST(OutputPluginTest, RefusesOtherNames) {
    for (const char *name : {"", "auto", "PGOUTPUT", "pgoutput ", "test_decoding"}) {
        try {
            ParsePlugin(name);
            ADD_FAILURE() << "accepted " << name;
        } catch (const Error &error) {
            EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
            EXPECT_NE(error.hint().find("pgoutput"), std::string::npos);
            EXPECT_NE(error.hint().find("wal2json"), std::string::npos);
        }
    }
}

TEST(OutputPluginTest, MakesTheDecoderOfThePlugin) {
    Change change;
    const std::string origin("O\0\0\0\0\0\0\0\0\0", 10);
    MakeDecoder(Plugin::kPgoutput)->Decode(Lsn{1}, origin, change);
    EXPECT_EQ(change.kind, ChangeKind::kIgnored);
    EXPECT_THROW(MakeDecoder(Plugin::kWal2json)->Decode(Lsn{1}, origin, change), Error);
}

TEST(OutputPluginTest, MarksByPlugin) {
    const std::string begin = R"({"action":"B","xid":1,"timestamp":"2026-01-01 00:00:00+00",)"
                              R"("lsn":"0/1","nextlsn":"0/2"})";
    EXPECT_EQ(MarkTransaction(Plugin::kWal2json, begin).kind, TransactionMark::Kind::kBegin);
    EXPECT_EQ(MarkTransaction(Plugin::kPgoutput, begin).kind, TransactionMark::Kind::kNone);
}

} // namespace
} // namespace livemigrate
