#include "core/decoding_faults.hpp"

#include <gtest/gtest.h>

#include <utility>

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

// The releases with the last correction, as the release notes have them.
TEST(DecodingFaults, EachMajorVersionHasItsSoundRelease) {
    const std::pair<int, int> kSound[] = {{13, 21}, {14, 25}, {15, 20},
                                          {16, 16}, {17, 12}, {18, 7}};
    for (const auto &[major, minor] : kSound) {
        const DecodingFaults before = FindDecodingFaults(major * 10000 + minor - 1);
        EXPECT_TRUE(before.known) << major;
        EXPECT_EQ(before.sound_minor, minor) << major;
        EXPECT_FALSE(FindDecodingFaults(major * 10000 + minor).known) << major;
        EXPECT_EQ(FindDecodingFaults(major * 10000).sound_minor, minor) << major;
    }
}

// A release that has an earlier correction and lacks a later one is none that is sound.
TEST(DecodingFaults, EveryCorrectionCounts) {
    for (const int version : {140018, 150013, 160009, 170005, // DDL without a strong lock
                              140019, 150014, 160010, 170006, // WAL removed too early
                              140021, 150016, 160012, 170008, 180002}) { // a slot lost at once
        EXPECT_TRUE(FindDecodingFaults(version).known) << version;
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
