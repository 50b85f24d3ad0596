#include "core/call_hint.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

std::string
Named(std::string_view hint) {
    return NameMigrationInCalls(hint, "shop");
}

TEST(CallHint, TheMigrationIsTheFirstArgumentOfMostCalls) {
    EXPECT_EQ(Named("SELECT livemigrate.migration_resume();"),
              "SELECT livemigrate.migration_resume('shop');");
    EXPECT_EQ(Named("or call migration_cleanup() again later"),
              "or call migration_cleanup('shop') again later");
    EXPECT_EQ(Named("SELECT * FROM livemigrate.compare_data() WHERE NOT equal; "
                    "SELECT livemigrate.migration_cleanup();"),
              "SELECT * FROM livemigrate.compare_data('shop') WHERE NOT equal; "
              "SELECT livemigrate.migration_cleanup('shop');");
    EXPECT_EQ(Named("SELECT * FROM livemigrate.dashboard();"),
              "SELECT * FROM livemigrate.dashboard('shop');");
}

TEST(CallHint, InOthersItIsGivenByName) {
    EXPECT_EQ(Named("SELECT livemigrate.set_endpos();"),
              "SELECT livemigrate.set_endpos(migration => 'shop');");
    EXPECT_EQ(Named("CALL livemigrate.migration_wait('schema');"),
              "CALL livemigrate.migration_wait('schema', migration => 'shop');");
    EXPECT_EQ(Named("SELECT livemigrate.skip_transaction('0/1A2B');"),
              "SELECT livemigrate.skip_transaction('0/1A2B', migration => 'shop');");
    EXPECT_EQ(Named("SELECT livemigrate.migration_resume(pause_after => '{data}');"),
              "SELECT livemigrate.migration_resume(pause_after => '{data}', migration => 'shop');");
}

TEST(CallHint, WhatIsNamedAlreadyStays) {
    for (const char *hint : {"SELECT livemigrate.migration_resume('other');",
                             "SELECT livemigrate.set_endpos('0/1', migration => 'other');"}) {
        EXPECT_EQ(Named(hint), hint);
    }
}

TEST(CallHint, OtherTextStays) {
    for (const char *hint :
         {"", "(", "migration_resume(", "See pg_locks (a view).", "my_migration_resume()",
          "SELECT livemigrate.migration_start('host=... dbname=... user=...');",
          "SELECT pg_drop_replication_slot('livemigrate_shop');",
          "livemigrate.migration_check() lists all that is wrong."}) {
        EXPECT_EQ(Named(hint), hint);
    }
}

TEST(CallHint, NamesAreQuoted) {
    EXPECT_EQ(NameMigrationInCalls("SELECT livemigrate.migration_abort();", "it's"),
              "SELECT livemigrate.migration_abort('it''s');");
}

TEST(CallHintTest, CommentsHoldEveryLine) {
    EXPECT_EQ(Comment("on the source"), "-- on the source");
    EXPECT_EQ(Comment("of \"a\nDROP TABLE b;\r\""), "-- of \"a\n-- DROP TABLE b;\r-- \"");
}

TEST(CallHintTest, ShowsHowToGetAMissingTable) {
    const std::string hint = MissingTableHint("s", "it's");
    EXPECT_NE(hint.find("--table='\"s\".\"it'\\''s\"' prints it"), std::string::npos) << hint;
}

} // namespace
} // namespace livemigrate
