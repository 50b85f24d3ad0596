// What becomes of values in a column of another type.
#include "core/type_fit.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

using Kind = TypeFit::Kind;

constexpr int32_t
Numeric(int precision, int scale) {
    return ((precision << 16) | (scale & 0x7ff)) + 4;
}

constexpr int32_t
Length(int characters) {
    return characters + 4;
}

constexpr int32_t
Interval(int fields, int precision) {
    return (fields << 16) | precision;
}

constexpr int kAllFields = 0x7fff;
constexpr int kYearToMonth = (1 << 1) | (1 << 2);
constexpr int kDay = 1 << 3;
constexpr int kDayToSecond = kDay | (1 << 10) | (1 << 11) | (1 << 12);
constexpr int kAnyPrecision = 0xffff;

Kind
Fit(const ColumnType &source, const ColumnType &target) {
    const TypeFit fit = FitOfTypes(source, target);
    EXPECT_EQ(fit.kind == Kind::kHolds, fit.reason.empty());
    // What is true of values is so of an array's elements.
    const TypeFit elements =
        FitOfTypes({source.name, source.modifier, true}, {target.name, target.modifier, true});
    EXPECT_EQ(elements.kind, fit.kind);
    return fit.kind;
}

TEST(TypeFit, TheSameTypeHoldsAll) {
    for (const char *const name : {"int4", "numeric", "text", "timestamptz", "interval", "jsonb",
                                   "public.mood", "hstore.hstore"}) {
        EXPECT_EQ(Fit({name}, {name}), Kind::kHolds) << name;
    }
    EXPECT_EQ(Fit({"postgis.geometry", 17}, {"postgis.geometry", 17}), Kind::kHolds);
    EXPECT_EQ(Fit({"postgis.geometry", 17}, {"postgis.geometry"}), Kind::kHolds);
    EXPECT_EQ(Fit({"postgis.geometry"}, {"postgis.geometry", 17}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"public.mood"}, {"other.mood"}), Kind::kDoubtful);
}

TEST(TypeFit, Integers) {
    EXPECT_EQ(Fit({"int4"}, {"int8"}), Kind::kHolds);
    EXPECT_EQ(Fit({"int8"}, {"int4"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"int4"}, {"numeric"}), Kind::kHolds);
    EXPECT_EQ(Fit({"int4"}, {"numeric", Numeric(10, 0)}), Kind::kHolds);
    EXPECT_EQ(Fit({"int4"}, {"numeric", Numeric(10, 2)}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"int4"}, {"numeric", Numeric(12, -2)}), Kind::kChanges);
    EXPECT_EQ(Fit({"int2"}, {"float4"}), Kind::kHolds);
    EXPECT_EQ(Fit({"int4"}, {"float4"}), Kind::kChanges);
    EXPECT_EQ(Fit({"int4"}, {"float8"}), Kind::kHolds);
    EXPECT_EQ(Fit({"int8"}, {"float8"}), Kind::kChanges);
    EXPECT_EQ(Fit({"int8"}, {"money"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"int4"}, {"bool"}), Kind::kDoubtful);
}

TEST(TypeFit, Decimals) {
    EXPECT_EQ(Fit({"numeric", Numeric(10, 4)}, {"numeric", Numeric(10, 2)}), Kind::kChanges);
    EXPECT_EQ(Fit({"numeric"}, {"numeric", Numeric(10, 2)}), Kind::kChanges);
    EXPECT_EQ(Fit({"numeric", Numeric(10, 2)}, {"numeric"}), Kind::kHolds);
    EXPECT_EQ(Fit({"numeric", Numeric(10, 2)}, {"numeric", Numeric(12, 4)}), Kind::kHolds);
    EXPECT_EQ(Fit({"numeric", Numeric(10, 2)}, {"numeric", Numeric(11, 4)}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"numeric", Numeric(4, -2)}, {"numeric", Numeric(6, 0)}), Kind::kHolds);
    EXPECT_EQ(Fit({"numeric", Numeric(6, 0)}, {"numeric", Numeric(4, -2)}), Kind::kChanges);
    EXPECT_EQ(Fit({"numeric"}, {"int8"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"numeric"}, {"float8"}), Kind::kChanges);
    EXPECT_EQ(Fit({"numeric"}, {"money"}), Kind::kChanges);
    EXPECT_EQ(Fit({"money"}, {"numeric"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"float4"}, {"float8"}), Kind::kHolds);
    EXPECT_EQ(Fit({"float8"}, {"float4"}), Kind::kChanges);
    EXPECT_EQ(Fit({"float8"}, {"numeric"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"float8"}, {"numeric", Numeric(10, 2)}), Kind::kChanges);
    EXPECT_EQ(FitOfTypes({"numeric"}, {"numeric", Numeric(9, 1)}).reason,
              "values are rounded to 1 decimal place");
}

TEST(TypeFit, Text) {
    EXPECT_EQ(Fit({"varchar", Length(10)}, {"text"}), Kind::kHolds);
    EXPECT_EQ(Fit({"text"}, {"varchar"}), Kind::kHolds);
    EXPECT_EQ(Fit({"varchar", Length(10)}, {"varchar", Length(20)}), Kind::kHolds);
    EXPECT_EQ(Fit({"varchar", Length(10)}, {"varchar", Length(5)}), Kind::kChanges);
    EXPECT_EQ(Fit({"text"}, {"varchar", Length(5)}), Kind::kChanges);
    EXPECT_EQ(Fit({"text"}, {"bpchar", Length(5)}), Kind::kChanges);
    EXPECT_EQ(Fit({"text"}, {"bpchar"}), Kind::kHolds);
    EXPECT_EQ(Fit({"bpchar", Length(5)}, {"bpchar", Length(9)}), Kind::kHolds);
    EXPECT_EQ(Fit({"bpchar", Length(5)}, {"bpchar", Length(4)}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"bpchar", Length(5)}, {"text"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"text"}, {"name"}), Kind::kChanges);
    EXPECT_EQ(Fit({"varchar", Length(15)}, {"name"}), Kind::kHolds);
    EXPECT_EQ(Fit({"varchar", Length(16)}, {"name"}), Kind::kChanges);
    EXPECT_EQ(Fit({"name"}, {"varchar", Length(63)}), Kind::kHolds);
    EXPECT_EQ(Fit({"varchar", Length(1)}, {"char"}), Kind::kChanges);
    EXPECT_EQ(Fit({"char"}, {"name"}), Kind::kHolds);
}

TEST(TypeFit, OtherTypesAsText) {
    for (const char *const name : {"int8", "uuid", "jsonb", "timestamptz", "public.mood"}) {
        EXPECT_EQ(Fit({name}, {"text"}), Kind::kHolds) << name;
        EXPECT_EQ(Fit({name}, {"varchar", Length(9)}), Kind::kDoubtful) << name;
        EXPECT_EQ(Fit({name}, {"bpchar", Length(9)}), Kind::kDoubtful) << name;
        EXPECT_EQ(Fit({name}, {"name"}), Kind::kChanges) << name;
    }
    EXPECT_EQ(Fit({"bool"}, {"text"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"bytea"}, {"text"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"text"}, {"int4"}), Kind::kDoubtful);
    EXPECT_EQ(FitOfTypes({"int4", -1, true}, {"int4"}).kind, Kind::kDoubtful);
}

TEST(TypeFit, DatesAndTimes) {
    for (const char *const name : {"timestamp", "timestamptz", "time", "timetz"}) {
        EXPECT_EQ(Fit({name}, {name, 0}), Kind::kChanges) << name;
        EXPECT_EQ(Fit({name}, {name, 6}), Kind::kHolds) << name;
        EXPECT_EQ(Fit({name, 3}, {name}), Kind::kHolds) << name;
        EXPECT_EQ(Fit({name, 3}, {name, 2}), Kind::kChanges) << name;
    }
    EXPECT_EQ(Fit({"date"}, {"timestamp", 0}), Kind::kHolds);
    EXPECT_EQ(Fit({"date"}, {"timestamptz"}), Kind::kChanges);
    EXPECT_EQ(Fit({"timestamp"}, {"date"}), Kind::kChanges);
    EXPECT_EQ(Fit({"timestamptz"}, {"timestamp"}), Kind::kChanges);
    EXPECT_EQ(Fit({"timestamp"}, {"timestamptz"}), Kind::kChanges);
    EXPECT_EQ(Fit({"timestamp"}, {"time"}), Kind::kChanges);
    EXPECT_EQ(Fit({"time"}, {"timetz"}), Kind::kChanges);
    EXPECT_EQ(Fit({"timetz"}, {"time"}), Kind::kChanges);
}

TEST(TypeFit, Intervals) {
    EXPECT_EQ(Fit({"interval"}, {"interval", Interval(kAllFields, 0)}), Kind::kChanges);
    EXPECT_EQ(Fit({"interval"}, {"interval", Interval(kAllFields, 6)}), Kind::kHolds);
    EXPECT_EQ(Fit({"interval"}, {"interval", Interval(kDay, kAnyPrecision)}), Kind::kChanges);
    EXPECT_EQ(Fit({"interval"}, {"interval", Interval(kDayToSecond, kAnyPrecision)}), Kind::kHolds);
    EXPECT_EQ(Fit({"interval", Interval(kDay, kAnyPrecision)},
                  {"interval", Interval(kYearToMonth, kAnyPrecision)}),
              Kind::kChanges);
    EXPECT_EQ(Fit({"interval", Interval(kYearToMonth, kAnyPrecision)},
                  {"interval", Interval(kDay, kAnyPrecision)}),
              Kind::kHolds);
    EXPECT_EQ(Fit({"interval", Interval(kDay, kAnyPrecision)}, {"interval"}), Kind::kHolds);
}

TEST(TypeFit, BitsDocumentsAddresses) {
    EXPECT_EQ(Fit({"bit", 8}, {"bit", 9}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"varbit", 8}, {"varbit", 9}), Kind::kHolds);
    EXPECT_EQ(Fit({"varbit"}, {"varbit", 9}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"bit", 8}, {"varbit", 8}), Kind::kHolds);
    EXPECT_EQ(Fit({"bit", 8}, {"varbit", 7}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"varbit", 8}, {"bit", 8}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"json"}, {"jsonb"}), Kind::kChanges);
    EXPECT_EQ(Fit({"text"}, {"jsonb"}), Kind::kChanges);
    EXPECT_EQ(Fit({"jsonb"}, {"json"}), Kind::kHolds);
    EXPECT_EQ(Fit({"text"}, {"json"}), Kind::kDoubtful);
    EXPECT_EQ(Fit({"cidr"}, {"inet"}), Kind::kHolds);
    EXPECT_EQ(Fit({"inet"}, {"cidr"}), Kind::kDoubtful);
}

TEST(TypeFit, TheFixCastsWhereAlterTableDoesNot) {
    EXPECT_EQ(TypeFix("\"s\".\"t\"", "a b", {"numeric"}, "numeric(10,4)", {"numeric", 17}),
              "ALTER TABLE \"s\".\"t\" ALTER COLUMN \"a b\" TYPE numeric(10,4);");
    EXPECT_EQ(TypeFix("t", "c", {"int8"}, "bigint", {"float8"}),
              "ALTER TABLE t ALTER COLUMN \"c\" TYPE bigint;");
    EXPECT_EQ(TypeFix("t", "c", {"text"}, "text", {"jsonb"}),
              "ALTER TABLE t ALTER COLUMN \"c\" TYPE text;");
    EXPECT_EQ(TypeFix("t", "c", {"uuid"}, "uuid", {"text"}),
              "ALTER TABLE t ALTER COLUMN \"c\" TYPE uuid USING \"c\"::pg_catalog.text::uuid;");
    EXPECT_EQ(TypeFix("t", "c", {"text", -1, true}, "text[]", {"jsonb"}),
              "ALTER TABLE t ALTER COLUMN \"c\" TYPE text[] USING "
              "\"c\"::pg_catalog.text::text[];");
    EXPECT_EQ(TypeFix("t", "c", {"numeric"}, "numeric", {"money"}),
              "ALTER TABLE t ALTER COLUMN \"c\" TYPE numeric;");
    EXPECT_EQ(TypeFix("t", "c", {"int4"}, "integer", {"money"}, true),
              "ALTER TABLE t ALTER COLUMN \"c\" DROP DEFAULT, ALTER COLUMN \"c\" TYPE integer "
              "USING \"c\"::pg_catalog.numeric::integer; -- then SET DEFAULT as on the source");
    EXPECT_EQ(TypeFix("t", "c", {"money"}, "money", {"int2"}),
              "ALTER TABLE t ALTER COLUMN \"c\" TYPE money USING "
              "\"c\"::pg_catalog.text::money;");
}

} // namespace
} // namespace livemigrate
