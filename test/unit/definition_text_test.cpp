#include "core/definition_text.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

std::string
Canonical(std::string_view text) {
    return CanonicalDefinition(text, false);
}

TEST(DefinitionTextTest, LeavesPlainTextAlone) {
    EXPECT_EQ(Canonical(""), "");
    EXPECT_EQ(Canonical("PRIMARY KEY (id)"), "PRIMARY KEY (id)");
    EXPECT_EQ(Canonical("CHECK ((a > 1))"), "CHECK ((a > 1))");
}

TEST(DefinitionTextTest, CollapsesBlanksOutsideQuotes) {
    EXPECT_EQ(Canonical(" SELECT a,\n    'x  y'::text AS \"b  c\"\n   FROM ( SELECT 1 )  "),
              "SELECT a, 'x  y'::text AS \"b  c\" FROM (SELECT 1)");
}

TEST(DefinitionTextTest, MovesArrayCastToElements) {
    const char *restored = "CHECK (((s)::text = ANY (ARRAY[('a'::character varying)::text, "
                           "('it''s, b'::character varying)::text])))";
    EXPECT_EQ(Canonical("CHECK (((s)::text = ANY ((ARRAY['a'::character varying, "
                        "'it''s, b'::character varying])::text[])))"),
              Canonical(restored));
    EXPECT_NE(Canonical("CHECK (((s)::text = ANY ((ARRAY['a'::character varying, "
                        "'its, b'::character varying])::text[])))"),
              Canonical(restored));
}

TEST(DefinitionTextTest, MovesArrayCastOfOneElement) {
    EXPECT_EQ(Canonical("((ARRAY['a'::\"Odd]Type\"])::public.b[])"),
              "(ARRAY[('a'::\"Odd]Type\")::public.b])");
}

TEST(DefinitionTextTest, FlattensChainsOnTheLeft) {
    EXPECT_EQ(Canonical("CHECK ((((a >= 1) AND (a <= 2)) AND (b > 0)))"),
              "CHECK (((a >= 1) AND (a <= 2) AND (b > 0)))");
    EXPECT_EQ(Canonical("((((a) AND (b)) AND (c)) AND (d))"), "((a) AND (b) AND (c) AND (d))");
    EXPECT_EQ(Canonical("(((a) OR (b)) OR (c))"), "((a) OR (b) OR (c))");
}

TEST(DefinitionTextTest, KeepsOtherGroups) {
    EXPECT_EQ(Canonical("(((a) AND (b)) OR (c))"), "(((a) AND (b)) OR (c))");
    EXPECT_EQ(Canonical("((a) AND ((b) OR (c)))"), "((a) AND ((b) OR (c)))");
    EXPECT_EQ(Canonical("((a) AND ((b) AND (c)))"), "((a) AND ((b) AND (c)))");
    EXPECT_EQ(Canonical("(('x) AND (y' = z) AND (c))"), "(('x) AND (y' = z) AND (c))");
}

TEST(DefinitionTextTest, NamesTriggerFunctionsAlike) {
    EXPECT_EQ(Canonical("FOR EACH ROW EXECUTE PROCEDURE public.f()"),
              "FOR EACH ROW EXECUTE FUNCTION public.f()");
}

TEST(DefinitionTextTest, Unqualifies) {
    EXPECT_EQ(
        CanonicalDefinition("SELECT t.a, \"T \"\".\".\"b.c\", 'x.y', 1.5 FROM public.t", true),
        "SELECT a, \"b.c\", 'x.y', 1.5 FROM t");
    EXPECT_EQ(CanonicalDefinition("SELECT a, \"b.c\", 'x.y', 1.5 FROM public.t", true),
              "SELECT a, \"b.c\", 'x.y', 1.5 FROM t");
}

TEST(DefinitionTextTest, SurvivesBrokenText) {
    for (const char *text : {"(", ")", "'", "\"", "(ARRAY[", "(ARRAY['", "(ARRAY[])::", "E'\\",
                             "((a AND", "(ARRAY['a'])::text", "a.", ".", "(ARRAY[])::int[]"}) {
        EXPECT_NO_THROW(CanonicalDefinition(text, true)) << text;
    }
}

TEST(DefinitionTextTest, LeavesVeryDeepTextAlone) {
    const std::string deep(1000000, '(');
    EXPECT_EQ(Canonical(deep), deep);
    EXPECT_EQ(Canonical(deep + std::string(1000000, ')')).size(), 2000000u);
}

TEST(DefinitionTextTest, IsIdempotent) {
    const std::string once =
        Canonical("(((((a)::text = ANY ((ARRAY['x'::character varying])::text[]"
                  ")) AND (b)) AND (c)) OR (d))");
    EXPECT_EQ(Canonical(once), once);
}

} // namespace
} // namespace livemigrate
