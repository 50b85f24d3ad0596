#include "core/dump_text.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

// As pg_restore 15.20 prints it.
constexpr std::string_view kBegin = R"(--
-- PostgreSQL database dump
--

\restrict QIUZ9aitDBc0atCzb3yfM9EM3u9sTQ2RrUe5OuD2npdMHgKBHOLFA5GSbvcXsGm
)";

constexpr std::string_view kStatements = R"(
-- Dumped from database version 15.20 (Debian 15.20-0+deb12u1)
-- Dumped by pg_dump version 15.20 (Debian 15.20-0+deb12u1)

SET statement_timeout = 0;
SELECT pg_catalog.set_config('search_path', '', false);

--
-- Name: f(); Type: FUNCTION; Schema: public; Owner: postgres
--

CREATE FUNCTION public.f() RETURNS text
    LANGUAGE sql
    AS $$ select '
\restrict abc
\unrestrict abc
\! rm -rf /
' $$;


--
-- PostgreSQL database dump complete
--

)";

constexpr std::string_view kEnd =
    R"(\unrestrict QIUZ9aitDBc0atCzb3yfM9EM3u9sTQ2RrUe5OuD2npdMHgKBHOLFA5GSbvcXsGm

)";

std::string
Join(std::string_view a, std::string_view b, std::string_view c) {
    return std::string(a) + std::string(b) + std::string(c);
}

void
ExpectRefused(std::string_view text, std::string_view message) {
    try {
        StripMetaCommands(text);
        ADD_FAILURE() << text;
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
        EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
        EXPECT_FALSE(error.detail().empty());
    }
}

TEST(DumpText, RemovesTheRestrictLinesAndNothingElse) {
    EXPECT_EQ(StripMetaCommands(Join(kBegin, kStatements, kEnd)), kStatements);
}

TEST(DumpText, OlderMinorReleasesHaveNone) {
    const std::string text = Join("--\n-- PostgreSQL database dump\n--\n\n", kStatements, "");
    EXPECT_EQ(StripMetaCommands(text), text);
    for (std::string_view short_text : {"", "\n", "-- only a comment", "SELECT 1;"}) {
        EXPECT_EQ(StripMetaCommands(short_text), short_text);
    }
}

TEST(DumpText, TheResultPointsIntoTheText) {
    const std::string text = "\\restrict a1\nSELECT 1;\n\\unrestrict a1";
    const std::string_view statements = StripMetaCommands(text);
    EXPECT_EQ(statements, "SELECT 1;\n");
    EXPECT_EQ(statements.data(), text.data() + 13);
}

TEST(DumpText, NothingBetweenTheLines) {
    EXPECT_EQ(StripMetaCommands("\\restrict a\n\\unrestrict a\n"), "");
    EXPECT_EQ(StripMetaCommands("\\restrict a\n\n\\unrestrict a\n\n\n"), "\n");
}

TEST(DumpText, AMetaCommandBeforeTheFirstStatementIsRefused) {
    const std::string_view message = "meta-command";
    ExpectRefused("\\! rm -rf /\n", message);
    ExpectRefused("-- comment\n\n\\connect x\nSELECT 1;\n", message);
    ExpectRefused(Join(kBegin, "-- Dumped from database version 15\n\\! id\nSET x = 1;\n", kEnd),
                  message);
    ExpectRefused("\\restrict\nSELECT 1;\n", message);
    ExpectRefused("\\restrict \nSELECT 1;\n", message);
    ExpectRefused("\\restrict a b\nSELECT 1;\n\\unrestrict a b\n", message);
    ExpectRefused("\\restrict a\n\\restrict b\nSELECT 1;\n\\unrestrict b\n\\unrestrict a\n",
                  message);
    ExpectRefused("\\unrestrict a\n", message);
}

TEST(DumpText, BackslashesInStatementsAreTheParsersBusiness) {
    const std::string_view text = "SELECT 1;\n\\! id\n";
    EXPECT_EQ(StripMetaCommands(text), text);
}

TEST(DumpText, ACutScriptIsRefused) {
    const std::string_view message = "incomplete";
    const std::string text = Join(kBegin, kStatements, kEnd);
    for (size_t size = kBegin.size(); size < text.size() - 2; ++size) {
        ExpectRefused(std::string_view(text).substr(0, size), message);
    }
    ExpectRefused("\\restrict a\nSELECT 1;\n\\unrestrict b\n", message);
    ExpectRefused("\\restrict a\nSELECT 1;\n\\unrestrict a\nSELECT 2;\n", message);
    ExpectRefused("\\restrict a", message);
    ExpectRefused("\\restrict a\nSELECT 1; \\unrestrict a\n", message);
}

} // namespace
} // namespace livemigrate
