#include "core/version.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

TEST(Version, PartsCountAsNumbers) {
    EXPECT_EQ(CompareVersions("0.1.0", "0.1.0"), 0);
    EXPECT_EQ(CompareVersions(kVersion, kVersion), 0);
    EXPECT_LT(CompareVersions("0.1.9", "0.1.10"), 0);
    EXPECT_GT(CompareVersions("0.10", "0.9.9"), 0);
    EXPECT_LT(CompareVersions("0.1.0", "1.0"), 0);
    EXPECT_EQ(CompareVersions("0.01.0", "0.1.00"), 0);
}

TEST(Version, MissingPartsAreZero) {
    EXPECT_EQ(CompareVersions("1", "1.0.0"), 0);
    EXPECT_LT(CompareVersions("1", "1.0.1"), 0);
    EXPECT_LT(CompareVersions("", "0.1"), 0);
    EXPECT_EQ(CompareVersions("", ""), 0);
}

TEST(Version, OtherTextIsCompared) {
    EXPECT_NE(CompareVersions("0.1.0", "0.1.0-dev"), 0);
    EXPECT_NE(CompareVersions("unpackaged", "0.1.0"), 0);
    EXPECT_LT(CompareVersions("1.a", "1.b"), 0);
    EXPECT_EQ(CompareVersions("...", "..."), 0);
}

} // namespace
} // namespace livemigrate
