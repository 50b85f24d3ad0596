#include "core/binary_copy.hpp"

#include "core/error.hpp"

#include <array>
#include <gtest/gtest.h>
#include <string>

namespace livemigrate {
namespace {

using namespace std::string_literals;

const std::string kHeader = "PGCOPY\n\377\r\n\0"s + "\0\0\0\0"s + "\0\0\0\0"s;
const std::string kRow = "\0\2"s + "\0\0\0\3abc"s + "\0\0\0\0"s;
const std::string kTrailer = "\377\377"s;

class BinaryCopyReaderTest : public testing::Test {
  protected:
    bool
    Read(const std::string &message) {
        message_ = message;
        return reader_.ReadRow(message_, values_);
    }

    std::string message_;
    BinaryCopyReader reader_;
    std::array<std::string_view, 2> values_;
};

TEST_F(BinaryCopyReaderTest, ReadsRowsBehindTheHeader) {
    ASSERT_TRUE(Read(kHeader + kRow));
    EXPECT_EQ(values_[0], "abc");
    EXPECT_EQ(values_[1], "");
    ASSERT_TRUE(Read("\0\2"s + "\0\0\0\1x"s + "\0\0\0\2\0\377"s));
    EXPECT_EQ(values_[0], "x");
    EXPECT_EQ(values_[1], "\0\377"s);
    EXPECT_FALSE(Read(kTrailer));
}

TEST_F(BinaryCopyReaderTest, AnEmptyAnswerIsHeaderAndTrailer) {
    EXPECT_FALSE(Read(kHeader + kTrailer));
}

TEST_F(BinaryCopyReaderTest, PassesOverAnExtensionOfTheHeader) {
    EXPECT_TRUE(Read(kHeader.substr(0, 15) + "\0\0\0\2xy"s + kRow));
}

TEST_F(BinaryCopyReaderTest, RefusesWhatIsNoHeader) {
    EXPECT_THROW(Read(kRow), Error);
    EXPECT_THROW(Read(""), Error);
    EXPECT_THROW(Read(kHeader.substr(0, 12)), Error);
    EXPECT_THROW(Read("PGCOPY\n\377\r\n\0"s + "\0\1\0\0"s + "\0\0\0\0"s + kRow), Error); // OIDs
    EXPECT_THROW(Read(kHeader.substr(0, 15) + "\177\377\377\377"s + kRow), Error);
}

TEST_F(BinaryCopyReaderTest, RefusesRowsOfAnotherShape) {
    ASSERT_TRUE(Read(kHeader + kRow));
    EXPECT_THROW(Read("\0\1"s + "\0\0\0\3abc"s), Error);
    EXPECT_THROW(Read("\377\376"s), Error);
    EXPECT_THROW(Read("\0\2"s + "\0\0\0\3abc"s + "\377\377\377\377"s), Error); // null
    EXPECT_THROW(Read("\0\2"s + "\0\0\0\3abc"s + "\377\377\377\376"s), Error);
    EXPECT_THROW(Read("\0\2"s + "\0\0\0\3abc"s + "\0\0\0\5abc"s), Error);
    EXPECT_THROW(Read(kRow + "x"), Error);
    EXPECT_THROW(Read(kTrailer + "x"), Error);
    EXPECT_THROW(Read(""), Error);
}

} // namespace
} // namespace livemigrate
