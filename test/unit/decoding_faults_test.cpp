#include "core/decoding_faults.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

// S11, L08
TEST(DecodingFaults, OlderMinorReleasesHaveSome) {
    for (const int version :
         {130000, 130020, 140017, 140024, 150012, 150019, 160015, 170011, 180006}) {
        EXPECT_TRUE(FindDecodingFaults(version).known) << version;
        EXPECT_GT(FindDecodingFaults(version).sound_minor, version % 10000) << version;
    }
    for (const int version : {130021, 130023, 140025, 150020, 150021, 160016, 170012, 180007}) {
        EXPECT_FALSE(FindDecodingFaults(version).known) << version;
    }
}

TEST(DecodingFaults, OldMajorVersionsGetNoCorrections) {
    for (const int version : {100023, 110022, 120022, 130023, 140025}) {
        EXPECT_FALSE(FindDecodingFaults(version).corrected) << version;
    }
    for (const int version : {100023, 110022, 120022}) {
        EXPECT_EQ(FindDecodingFaults(version).sound_minor, 0) << version;
    }
    for (const int version : {150020, 160001, 170012, 180007}) {
        EXPECT_TRUE(FindDecodingFaults(version).corrected) << version;
    }
}

TEST(DecodingFaults, NothingIsKnownOfLaterVersions) {
    EXPECT_FALSE(FindDecodingFaults(190000).known);
    EXPECT_TRUE(FindDecodingFaults(190000).corrected);
}

} // namespace
} // namespace livemigrate
