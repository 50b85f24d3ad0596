// What became of a table's columns, and the statements that follow it.
#include "core/column_changes.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace livemigrate {
namespace {

using Kind = ColumnChange::Kind;
using Columns = std::vector<SourceColumn>;

constexpr uint32_t kInt4 = 23;
constexpr uint32_t kText = 25;
constexpr uint32_t kNumeric = 1700;
constexpr uint32_t kDomain = 17000;

const Columns kBefore = {{1, "id", kInt4, kInt4, -1},
                         {2, "amount", kNumeric, kNumeric, 655366},
                         {3, "note", kDomain, kText, -1}};

std::vector<RemoteColumn>
Unchanged() {
    return {{.name = "id", .is_key = true, .type_oid = kInt4},
            {.name = "amount", .type_oid = kNumeric, .type_modifier = 655366},
            {.name = "note", .type_oid = kDomain}};
}

std::vector<std::string>
Statements(const std::vector<RemoteColumn> &now, const std::vector<ColumnDefinition> &definitions) {
    return StatementsToFollow("t", FindColumnChanges(kBefore, now), kBefore, definitions);
}

TEST(ColumnChanges, NothingHasChanged) {
    EXPECT_TRUE(FindColumnChanges(kBefore, Unchanged()).empty());
}

TEST(ColumnChanges, TheWireTypeIsTheColumnsOwn) {
    auto now = Unchanged();
    now[2].type_oid = kText;
    EXPECT_TRUE(FindColumnChanges(kBefore, now).empty());
}

TEST(ColumnChanges, AColumnThatWasDroppedAndMadeAgainIsAnotherOne) {
    auto now = Unchanged();
    std::rotate(now.begin() + 1, now.begin() + 2, now.end());
    const auto changes = FindColumnChanges(kBefore, now);
    EXPECT_EQ(DescribeColumnChanges(changes), "column \"amount\" is another one of that name");
    EXPECT_TRUE(Statements(now, {{.number = 4, .name = "amount", .type = "numeric"}}).empty());

    // The last one keeps its place, and not its number.
    Columns numbered = kBefore;
    numbered[2].number = 4;
    EXPECT_EQ(DescribeColumnChanges(FindColumnChanges(kBefore, numbered)),
              "column \"note\" is another one of that name");
    EXPECT_TRUE(FindColumnChanges(kBefore, kBefore).empty());
}

TEST(ColumnChanges, AModifierIsPartOfTheType) {
    auto now = Unchanged();
    now[1].type_modifier = 786440;
    const auto changes = FindColumnChanges(kBefore, now);
    ASSERT_EQ(changes.size(), 1U);
    EXPECT_EQ(changes[0].kind, Kind::kRetyped);
    EXPECT_EQ(DescribeColumnChanges(changes), "column \"amount\" has another type");
    EXPECT_EQ(
        Statements(now, {{.number = 2, .name = "amount", .type = "numeric(12,4)"}}),
        std::vector<std::string>{"ALTER TABLE t ALTER COLUMN \"amount\" TYPE numeric(12,4) USING "
                                 "\"amount\"::numeric(12,4)"});
}

TEST(ColumnChanges, ANewColumnGetsWhatTheSourcesRowsHave) {
    auto now = Unchanged();
    now.push_back({.name = "at", .type_oid = 1184});
    EXPECT_EQ(Statements(now, {{.number = 4,
                                .name = "at",
                                .type = "timestamp with time zone",
                                .not_null = true,
                                .default_value = "now()",
                                .missing_value = "2026-01-01 00:00:00+00",
                                .has_missing_value = true}}),
              (std::vector<std::string>{
                  "ALTER TABLE t ADD COLUMN \"at\" timestamp with time zone DEFAULT "
                  "'2026-01-01 00:00:00+00'",
                  "ALTER TABLE t ALTER COLUMN \"at\" SET DEFAULT now()",
                  "ALTER TABLE t ALTER COLUMN \"at\" SET NOT NULL"}));
}

TEST(ColumnChanges, ADefaultThatIsGoneLeavesItsValues) {
    auto now = Unchanged();
    now.push_back({.name = "n", .type_oid = kText});
    EXPECT_EQ(Statements(now, {{.number = 4,
                                .name = "n",
                                .type = "text",
                                .collation = "pg_catalog.\"C\"",
                                .missing_value = "it's",
                                .has_missing_value = true}}),
              (std::vector<std::string>{
                  "ALTER TABLE t ADD COLUMN \"n\" text COLLATE pg_catalog.\"C\" DEFAULT 'it''s'",
                  "ALTER TABLE t ALTER COLUMN \"n\" DROP DEFAULT"}));
}

TEST(ColumnChanges, ARenamedColumnKeepsItsNumber) {
    auto now = Unchanged();
    now[2].name = "remark";
    EXPECT_EQ(DescribeColumnChanges(FindColumnChanges(kBefore, now)),
              "column \"note\" was dropped, column \"remark\" was added");
    EXPECT_EQ(Statements(now, {{.number = 3, .name = "remark", .type = "text"}}),
              std::vector<std::string>{"ALTER TABLE t RENAME COLUMN \"note\" TO \"remark\""});
}

TEST(ColumnChanges, ADroppedColumnAndANewOneAreNoRenaming) {
    auto now = Unchanged();
    now[2].name = "remark";
    EXPECT_EQ(Statements(now, {{.number = 4, .name = "remark", .type = "text"}}),
              (std::vector<std::string>{"ALTER TABLE t ADD COLUMN \"remark\" text",
                                        "ALTER TABLE t DROP COLUMN \"note\""}));
}

TEST(ColumnChanges, ColumnsThatSwappedTheirNamesAreOfOtherTypes) {
    auto now = Unchanged();
    std::swap(now[1].name, now[2].name);
    EXPECT_EQ(DescribeColumnChanges(FindColumnChanges(kBefore, now)),
              "column \"note\" has another type, column \"amount\" has another type");
}

} // namespace
} // namespace livemigrate
