#include "core/key_definition.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

std::string
WithTime(std::string_view definition) {
    return KeyWithColumns(definition, {"at"}).value_or("none");
}

TEST(KeyDefinitionTest, ExtendsConstraints) {
    EXPECT_EQ(WithTime("PRIMARY KEY (id)"), "PRIMARY KEY (id, \"at\")");
    EXPECT_EQ(WithTime("UNIQUE (a, \"B\") INCLUDE (c) DEFERRABLE INITIALLY DEFERRED"),
              "UNIQUE (a, \"B\", \"at\") INCLUDE (c) DEFERRABLE INITIALLY DEFERRED");
    EXPECT_EQ(WithTime("UNIQUE NULLS NOT DISTINCT (a)"), "UNIQUE NULLS NOT DISTINCT (a, \"at\")");
    EXPECT_EQ(KeyWithColumns("PRIMARY KEY (id)", {"at", "Host \"x\""}),
              "PRIMARY KEY (id, \"at\", \"Host \"\"x\"\"\")");
}

TEST(KeyDefinitionTest, ExtendsIndexes) {
    EXPECT_EQ(WithTime("CREATE UNIQUE INDEX i ON s.t USING btree (a) INCLUDE (b) WHERE active"),
              "USING btree (a, \"at\") INCLUDE (b) WHERE active");
    EXPECT_EQ(WithTime("CREATE UNIQUE INDEX i ON ONLY t USING btree (a COLLATE \"C\" "
                       "text_pattern_ops DESC NULLS LAST, b) NULLS NOT DISTINCT "
                       "WITH (fillfactor='70')"),
              "USING btree (a COLLATE \"C\" text_pattern_ops DESC NULLS LAST, b, \"at\") "
              "NULLS NOT DISTINCT WITH (fillfactor='70')");
}

TEST(KeyDefinitionTest, SkipsExpressions) {
    EXPECT_EQ(WithTime("CREATE UNIQUE INDEX i ON t USING btree (COALESCE(a, ')'::text), "
                       "((b + (c * 2))), (d[1])) WHERE ((e = 'x, (y'::text) AND (f > 0))"),
              "USING btree (COALESCE(a, ')'::text), ((b + (c * 2))), (d[1]), \"at\") "
              "WHERE ((e = 'x, (y'::text) AND (f > 0))");
    EXPECT_EQ(WithTime("CREATE UNIQUE INDEX i ON t USING btree (replace(a, E'\\')'::text, ''))"),
              "USING btree (replace(a, E'\\')'::text, ''), \"at\")");
}

TEST(KeyDefinitionTest, SkipsQuotedNames) {
    EXPECT_EQ(WithTime("CREATE UNIQUE INDEX \"i USING btree (a)\" ON \"s USING (\".\"t \"\"(\" "
                       "USING btree (\"a) INCLUDE (\", \"'\") INCLUDE (\")\")"),
              "USING btree (\"a) INCLUDE (\", \"'\", \"at\") INCLUDE (\")\")");
    EXPECT_EQ(WithTime("UNIQUE (\"a WITHOUT OVERLAPS\")"),
              "UNIQUE (\"a WITHOUT OVERLAPS\", \"at\")");
}

TEST(KeyDefinitionTest, LeavesOthersAlone) {
    EXPECT_EQ(WithTime("PRIMARY KEY (id, during WITHOUT OVERLAPS)"), "none");
    EXPECT_EQ(WithTime("EXCLUDE USING gist (a WITH =, during WITH &&)"), "none");
    EXPECT_EQ(WithTime("CREATE INDEX i ON t USING btree (a)"), "none");
    EXPECT_EQ(WithTime("CREATE UNIQUE INDEX i ON t"), "none");
    EXPECT_EQ(WithTime("UNIQUE (a"), "none");
    EXPECT_EQ(WithTime(""), "none");
}

} // namespace
} // namespace livemigrate
