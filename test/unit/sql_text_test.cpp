#include "core/sql_text.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <set>

namespace livemigrate {
namespace {

using std::string_literals::operator""s;

TEST(SqlText, IdentifiersAreAlwaysQuoted) {
    EXPECT_EQ(QuoteIdentifier("plain"), R"("plain")");
    EXPECT_EQ(QuoteIdentifier(""), R"("")");
    EXPECT_EQ(QuoteIdentifier(R"(a"b)"), R"("a""b")");
    EXPECT_EQ(QuoteIdentifier(R"(")"), R"("""")");
    EXPECT_EQ(QuoteIdentifier("it's"), R"("it's")");
    EXPECT_EQ(QuoteIdentifier(R"(back\slash)"), R"("back\slash")");
    EXPECT_EQ(QuoteIdentifier("%s %n $$ \n Ä select"), "\"%s %n $$ \n Ä select\"");
}

TEST(SqlText, QualifiedNameQuotesBothParts) {
    EXPECT_EQ(QualifiedName("public", "users"), R"("public"."users")");
    EXPECT_EQ(QualifiedName("public2.public", R"(x".y)"), R"("public2.public"."x"".y")");
}

TEST(SqlText, LiteralsAreWhatQuoteLiteralPrints) {
    EXPECT_EQ(QuoteLiteral(""), "''");
    EXPECT_EQ(QuoteLiteral("it's"), "'it''s'");
    EXPECT_EQ(QuoteLiteral(R"(a\b'c)"), R"(E'a\\b''c')");
    EXPECT_EQ(QuoteLiteral(R"(\)"), R"(E'\\')");
    EXPECT_EQ(QuoteLiteral(R"(\'); DROP TABLE t; --)"), R"(E'\\''); DROP TABLE t; --')");
    EXPECT_EQ(QuoteLiteral("two\nlines"), "'two\nlines'");
}

TEST(SqlText, TheReplicationGrammarHasNoBackslashEscapes) {
    EXPECT_EQ(QuoteReplicationName(R"(a"b\c)"), R"("a""b\c")");
    EXPECT_EQ(QuoteReplicationLiteral(R"(a'b\c"d)"), R"('a''b\c"d')");
}

TEST(SqlText, NulBytesAreRefused) {
    for (auto quote :
         {QuoteIdentifier, QuoteLiteral, QuoteReplicationName, QuoteReplicationLiteral}) {
        try {
            quote("a\0b"s);
            ADD_FAILURE();
        } catch (const Error &error) {
            EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
        }
    }
    EXPECT_THROW(TextArrayLiteral({"a\0b"s}), Error);
    EXPECT_THROW(QualifiedName("a", "b\0"s), Error);
}

TEST(SqlText, ArrayLiteralsQuoteEveryElement) {
    EXPECT_EQ(TextArrayLiteral({}), "{}");
    EXPECT_EQ(TextArrayLiteral({"a", "b c"}), R"({"a","b c"})");
    EXPECT_EQ(TextArrayLiteral({"", "NULL", "{x},"}), R"({"","NULL","{x},"})");
    EXPECT_EQ(TextArrayLiteral({R"(q"b\s)"}), R"({"q\"b\\s"})");
}

// The figures are pg_size_pretty's on PostgreSQL 15.20.
TEST(SqlText, FormatBytesPrintsWhatPgSizePrettyPrints) {
    EXPECT_EQ(FormatBytes(0), "0 bytes");
    EXPECT_EQ(FormatBytes(10239), "10239 bytes");
    EXPECT_EQ(FormatBytes(10240), "10 kB");
    EXPECT_EQ(FormatBytes(10241), "10 kB");
    EXPECT_EQ(FormatBytes(20479ULL * 512), "10 MB");
    EXPECT_EQ(FormatBytes(10485247), "10239 kB");
    EXPECT_EQ(FormatBytes(10485248), "10 MB");
    EXPECT_EQ(FormatBytes(20479ULL * 1024), "20 MB");
    EXPECT_EQ(FormatBytes(500ULL << 20), "500 MB");
    EXPECT_EQ(FormatBytes(2ULL << 40), "2048 GB");
    EXPECT_EQ(FormatBytes(std::numeric_limits<int64_t>::max()), "8192 PB");
    EXPECT_EQ(FormatBytes(std::numeric_limits<uint64_t>::max()), "16384 PB");
}

TEST(SqlText, ReplacesEveryOccurrenceOnce) {
    std::string text = "aXbXX";
    ReplaceAll(text, "X", "XX");
    EXPECT_EQ(text, "aXXbXXXX");
    ReplaceAll(text, "XX", "");
    EXPECT_EQ(text, "ab");
    ReplaceAll(text, "c", "d");
    EXPECT_EQ(text, "ab");
}

TEST(SqlText, SlotNames) {
    EXPECT_TRUE(IsSlotName("livemigrate_main"));
    EXPECT_TRUE(IsSlotName("_"));
    EXPECT_TRUE(IsSlotName("0"));
    EXPECT_TRUE(IsSlotName(std::string(63, 'a')));
    EXPECT_FALSE(IsSlotName(""));
    EXPECT_FALSE(IsSlotName(std::string(64, 'a')));
    EXPECT_FALSE(IsSlotName("Main"));
    EXPECT_FALSE(IsSlotName("a-b"));
    EXPECT_FALSE(IsSlotName("a b"));
    EXPECT_FALSE(IsSlotName("ä"));
    EXPECT_FALSE(IsSlotName("a\0"s));
}

TEST(SqlText, SlotNameKeepsAMigrationNameThatFits) {
    EXPECT_EQ(SlotName("main"), "livemigrate_main");
    EXPECT_EQ(SlotName("app_2"), "livemigrate_app_2");
    EXPECT_EQ(SlotName(std::string(51, 'x')), "livemigrate_" + std::string(51, 'x'));
}

// The hashes stand in catalogs of running migrations: a change here breaks them.
TEST(SqlText, SlotNameOfOtherNamesIsStable) {
    EXPECT_EQ(SlotName("Main"), "livemigrate__ain_99ef1406");
    EXPECT_EQ(SlotName("a b"), "livemigrate_a_b_e2bca18b");
    EXPECT_EQ(SlotName(std::string(63, 'x')), "livemigrate_" + std::string(42, 'x') + "_5d48afe3");
}

TEST(SqlText, SlotNamesAreValidAndDiffer) {
    const std::vector<std::string> migrations = {
        "a b",
        "a-b",
        "a_b",
        "A_b",
        "a\"b",
        "a'b",
        "a\\b",
        "ä",
        "ö",
        "Main",
        "main",
        "MAIN",
        "%s",
        "$$",
        "",
        "\n",
        std::string(51, 'x'),
        std::string(52, 'x'),
        std::string(63, 'x'),
        std::string(62, 'x') + "y",
        "Ä" + std::string(61, 'x'),
    };
    std::set<std::string> names;
    for (const std::string &migration : migrations) {
        const std::string name = SlotName(migration);
        EXPECT_TRUE(IsSlotName(name)) << name;
        EXPECT_TRUE(name.starts_with("livemigrate_")) << name;
        EXPECT_TRUE(names.insert(name).second) << name << " for " << migration;
    }
}

} // namespace
} // namespace livemigrate
