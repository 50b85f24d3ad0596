#include "core/table_pattern.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

bool
Matches(std::string_view pattern, std::string_view schema, std::string_view table) {
    return TablePattern::Parse(pattern).Matches(schema, table);
}

TEST(TablePattern, ComparesWholeNamesWithCase) {
    EXPECT_TRUE(Matches("public.users", "public", "users"));
    EXPECT_FALSE(Matches("public.users", "public", "users2"));
    EXPECT_FALSE(Matches("public.users", "public", "user"));
    EXPECT_FALSE(Matches("public.users", "public", "Users"));
    EXPECT_FALSE(Matches("public.users", "public2", "users"));
    EXPECT_TRUE(Matches("Public.Users", "Public", "Users"));
    EXPECT_EQ(TablePattern::Parse("a.\"b\"").text(), "a.\"b\"");
}

TEST(TablePattern, StarStandsForAnyRun) {
    EXPECT_TRUE(Matches("*.*", "any", "thing"));
    EXPECT_TRUE(Matches("public.log_*", "public", "log_"));
    EXPECT_TRUE(Matches("public.log_*", "public", "log_2026"));
    EXPECT_FALSE(Matches("public.log_*", "public", "log"));
    EXPECT_TRUE(Matches("public.*_log", "public", "a_log_log"));
    EXPECT_TRUE(Matches("public.a*b*c", "public", "a_b_c_b_c"));
    EXPECT_FALSE(Matches("public.a*b*c", "public", "a_b_c_b"));
    EXPECT_TRUE(Matches("s*.**", "s", "x"));
    EXPECT_TRUE(Matches("*.t", "with.dot", "t"));
}

TEST(TablePattern, ManyStarsStayFast) {
    std::string pattern = "s.";
    for (int i = 0; i < 40; ++i) {
        pattern += "*a";
    }
    EXPECT_FALSE(Matches(pattern + "*b", "s", std::string(63, 'a')));
    EXPECT_TRUE(Matches(pattern + "*", "s", std::string(63, 'a')));
}

TEST(TablePattern, QuestionMarkStandsForOneCharacter) {
    EXPECT_TRUE(Matches("public.t?", "public", "t1"));
    EXPECT_FALSE(Matches("public.t?", "public", "t"));
    EXPECT_FALSE(Matches("public.t?", "public", "t12"));
    EXPECT_TRUE(Matches("public.t?x", "public", "tÄx"));
    EXPECT_TRUE(Matches("public.?", "public", "\xF0\x9F\x98\x80"));
    EXPECT_FALSE(Matches("public.??", "public", "Ä"));
    EXPECT_TRUE(Matches("public.?", "public", "\xE4")) << "a byte of some other encoding";
    EXPECT_TRUE(Matches("public.*?z", "public", "aÄz"));
}

TEST(TablePattern, QuotedTextIsLiteral) {
    EXPECT_TRUE(Matches(R"("a.b".c)", "a.b", "c"));
    EXPECT_TRUE(Matches(R"(a."b.c")", "a", "b.c"));
    EXPECT_TRUE(Matches(R"(a."b*")", "a", "b*"));
    EXPECT_FALSE(Matches(R"(a."b*")", "a", "bc"));
    EXPECT_FALSE(Matches(R"(a."b?")", "a", "bc"));
    EXPECT_TRUE(Matches(R"(a."b""c")", "a", R"(b"c)"));
    EXPECT_TRUE(Matches(R"("""".x)", R"(")", "x"));
    EXPECT_TRUE(Matches(R"(a."b."*)", "a", "b.anything"));
    EXPECT_TRUE(Matches("a.%s\\n$$ '", "a", "%s\\n$$ '"));
}

void
ExpectRefused(std::string_view pattern, std::string_view reason) {
    try {
        TablePattern::Parse(pattern);
        ADD_FAILURE() << pattern;
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
        EXPECT_NE(error.message().find(pattern), std::string::npos) << error.message();
        EXPECT_NE(error.detail().find(reason), std::string::npos) << error.detail();
        EXPECT_FALSE(error.hint().empty());
    }
}

TEST(TablePattern, RefusesWhatIsNoPattern) {
    ExpectRefused("users", "missing");
    ExpectRefused("", "missing");
    ExpectRefused(R"("a.b")", "missing");
    ExpectRefused("public.", "empty");
    ExpectRefused(".users", "empty");
    ExpectRefused(".", "empty");
    ExpectRefused(R"("".users)", "empty");
    ExpectRefused("db.public.users", "two parts");
    ExpectRefused(R"(public."users)", "not closed");
    ExpectRefused(R"(public.users")", "not closed");
    ExpectRefused(R"("a""b.c)", "not closed");
}

TEST(TablePattern, ParsesLists) {
    const std::vector<std::string> good = {"a.b", "c.*"};
    EXPECT_EQ(ParseTablePatterns(good).size(), 2U);
    const std::vector<std::string> bad = {"a.b", "c"};
    EXPECT_THROW(ParseTablePatterns(bad), Error);
}

TEST(TableFilter, WithoutPatternsSelectsEverything) {
    EXPECT_TRUE(TableFilter().Selects("public", "users"));
}

TEST(TableFilter, AnEmptyIncludeListSelectsNothing) {
    TableFilter filter;
    filter.include.emplace();
    EXPECT_FALSE(filter.Selects("public", "users"));
}

TEST(TableFilter, ExcludeWins) {
    const std::vector<std::string> include = {"public.*", "app.orders"};
    const std::vector<std::string> exclude = {"*.tmp_*", "public.log"};
    const TableFilter filter{ParseTablePatterns(include), ParseTablePatterns(exclude)};
    EXPECT_TRUE(filter.Selects("public", "users"));
    EXPECT_TRUE(filter.Selects("app", "orders"));
    EXPECT_FALSE(filter.Selects("app", "users"));
    EXPECT_FALSE(filter.Selects("public", "log"));
    EXPECT_FALSE(filter.Selects("public", "tmp_1"));
    const TableFilter all_but{std::nullopt, ParseTablePatterns(exclude)};
    EXPECT_TRUE(all_but.Selects("app", "users"));
    EXPECT_FALSE(all_but.Selects("app", "tmp_2"));
}

} // namespace
} // namespace livemigrate
