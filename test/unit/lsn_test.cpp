#include "core/lsn.hpp"

#include "core/error.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

TEST(LsnTest, PrintsAsPgLsnDoes) {
    EXPECT_EQ(Lsn{}.ToString(), "0/0");
    EXPECT_EQ(Lsn{0x16B374D848}.ToString(), "16/B374D848");
    EXPECT_EQ(Lsn{0x100000001}.ToString(), "1/1");
    EXPECT_EQ(Lsn{0xABCDEF}.ToString(), "0/ABCDEF");
    EXPECT_EQ(Lsn{UINT64_MAX}.ToString(), "FFFFFFFF/FFFFFFFF");
}

TEST(LsnTest, ParsesWhatPgLsnAccepts) {
    EXPECT_EQ(Lsn::Parse("0/0"), Lsn{});
    EXPECT_EQ(Lsn::Parse("16/B374D848"), Lsn{0x16B374D848});
    EXPECT_EQ(Lsn::Parse("16/b374d848"), Lsn{0x16B374D848});
    EXPECT_EQ(Lsn::Parse("00000001/00000001"), Lsn{0x100000001});
    EXPECT_EQ(Lsn::Parse("FFFFFFFF/FFFFFFFF"), Lsn{UINT64_MAX});
}

TEST(LsnTest, RefusesWhatPgLsnRefuses) {
    using namespace std::string_view_literals;
    for (const std::string_view text :
         {""sv,      "/"sv,           "1"sv,           "1/"sv,          "/1"sv,
          "1/1/1"sv, " 1/1"sv,        "1/1 "sv,        "1 /1"sv,        "-1/1"sv,
          "+1/1"sv,  "1/-1"sv,        "0x1/1"sv,       "1/0x1"sv,       "G/0"sv,
          "0/G"sv,   "123456789/0"sv, "0/123456789"sv, "000000001/0"sv, "1/1\0"sv,
          "1\0/1"sv, "1//1"sv}) {
        try {
            Lsn::Parse(text);
            ADD_FAILURE() << "accepted " << text;
        } catch (const Error &error) {
            EXPECT_EQ(error.sqlstate(), sqlstate::kInvalidParameterValue);
        }
    }
}

TEST(LsnTest, ErrorQuotesNoMoreThanTheBeginning) {
    try {
        Lsn::Parse(std::string(100000, 'x'));
        FAIL();
    } catch (const Error &error) {
        EXPECT_LT(error.message().size(), 100U);
    }
}

TEST(LsnTest, PrintsAndParsesBack) {
    for (uint64_t value = 1; value != 0; value <<= 1) {
        EXPECT_EQ(Lsn::Parse(Lsn{value}.ToString()).value, value);
        EXPECT_EQ(Lsn::Parse(Lsn{value - 1}.ToString()).value, value - 1);
    }
}

TEST(LsnTest, OrdersByPosition) {
    EXPECT_LT(Lsn::Parse("0/FFFFFFFF"), Lsn::Parse("1/0"));
    EXPECT_FALSE(Lsn{}.valid());
    EXPECT_TRUE(Lsn{1}.valid());
}

} // namespace
} // namespace livemigrate
