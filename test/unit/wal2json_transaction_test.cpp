#include "core/wal2json_transaction.hpp"

#include "core/error.hpp"
#include "core/wal2json_decoder.hpp"
#include "data/recording.hpp"

#include <gtest/gtest.h>

namespace livemigrate {
namespace {

const char kBegin[] = R"({"action":"B","xid":740,"timestamp":"2026-11-22 15:54:24.383481+00",)"
                      R"("lsn":"16/B374D848","nextlsn":"16/B374D878"})";
const char kCommit[] = R"({"action":"C","xid":740,"timestamp":"2026-11-22 15:54:24.383481+00",)"
                       R"("lsn":"16/B374D848","nextlsn":"16/B374D878"})";
constexpr int64_t kCommitTime = 848678064383481;

TEST(Wal2jsonTransactionTest, DecodesTransaction) {
    Wal2jsonDecoder decoder;
    Change change;
    decoder.Decode(Lsn{1}, kBegin, change);
    EXPECT_EQ(change.kind, ChangeKind::kBegin);
    EXPECT_EQ(change.commit_lsn.ToString(), "16/B374D848");
    EXPECT_EQ(change.commit_time, kCommitTime);
    EXPECT_EQ(change.xid, 740U);
    change = Change();
    decoder.Decode(Lsn{1}, kCommit, change);
    EXPECT_EQ(change.kind, ChangeKind::kCommit);
    EXPECT_EQ(change.commit_lsn.ToString(), "16/B374D848");
    EXPECT_EQ(change.end_lsn.ToString(), "16/B374D878");
    EXPECT_EQ(change.commit_time, kCommitTime);
}

TEST(Wal2jsonTransactionTest, MarksTransactions) {
    TransactionMark mark = MarkWal2json(kBegin);
    EXPECT_EQ(mark.kind, TransactionMark::Kind::kBegin);
    EXPECT_EQ(mark.commit_lsn.ToString(), "16/B374D848");
    EXPECT_FALSE(mark.end_lsn.valid());
    mark = MarkWal2json(kCommit);
    EXPECT_EQ(mark.kind, TransactionMark::Kind::kCommit);
    EXPECT_EQ(mark.commit_lsn.ToString(), "16/B374D848");
    EXPECT_EQ(mark.end_lsn.ToString(), "16/B374D878");
    EXPECT_EQ(MarkWal2json("").kind, TransactionMark::Kind::kNone);
    EXPECT_EQ(MarkWal2json(R"({"action":"I"})").kind, TransactionMark::Kind::kNone);
    EXPECT_EQ(MarkWal2json("{\"action\":\"B").kind, TransactionMark::Kind::kNone);
    EXPECT_THROW(MarkWal2json(R"({"action":"B"})"), Error);
    EXPECT_THROW(MarkWal2json(R"({"action":"C")"), Error);
    // The decoder refuses what the mark does not see.
    const std::string blank = R"({ "action":"B"})";
    EXPECT_EQ(MarkWal2json(blank).kind, TransactionMark::Kind::kNone);
    Change change;
    EXPECT_THROW(Wal2jsonDecoder().Decode(Lsn{1}, blank, change), Error);
}

int64_t
TimeOf(const std::string &timestamp) {
    return ParseWal2jsonTransaction(R"({"action":"B","xid":1,"timestamp":")" + timestamp +
                                    R"(","lsn":"0/1","nextlsn":"0/2"})")
        .commit_time;
}

TEST(Wal2jsonTransactionTest, ParsesTimestamps) {
    EXPECT_EQ(TimeOf("2000-01-01 00:00:00+00"), 0);
    EXPECT_EQ(TimeOf("1999-12-31 23:59:59.999999+00"), -1);
    EXPECT_EQ(TimeOf("2000-01-01 00:00:00.5+00"), 500000);
    EXPECT_EQ(TimeOf("2000-01-01 05:30:00+05:30"), 0);
    EXPECT_EQ(TimeOf("1999-12-31 16:00:00-08"), 0);
    EXPECT_EQ(TimeOf("2000-01-01 00:53:28+00:53:28"), 0);
    EXPECT_EQ(TimeOf("2026-11-22 15:54:24.383481+00"), kCommitTime);
    EXPECT_EQ(TimeOf("2000-02-29 00:00:00+00"), int64_t{59} * 86400 * 1000000);
    for (const char *text :
         {"", "2000-01-01", "2000-01-01 00:00:00", "2000-01-01T00:00:00+00",
          "2001-02-29 00:00:00+00", "2000-13-01 00:00:00+00", "2000-00-01 00:00:00+00",
          "2000-01-01 24:00:00+00", "2000-01-01 00:60:00+00", "2000-01-01 00:00:00.+00",
          "2000-01-01 00:00:00.1234567+00", "2000-01-01 00:00:00+0", "0044-03-15 12:00:00+00 BC",
          "99999999-01-01 00:00:00+00", "infinity", "2000-01-01 00:00:00+00:", "-2000-01-01"}) {
        EXPECT_THROW(TimeOf(text), Error) << text;
    }
}

void
ExpectRefused(std::string_view payload, std::string_view message) {
    const test::ExactCopy copy(payload);
    try {
        ParseWal2jsonTransaction(copy.view());
        ADD_FAILURE() << "accepted " << payload;
    } catch (const Error &error) {
        EXPECT_EQ(error.sqlstate(), sqlstate::kProtocolViolation);
        EXPECT_NE(error.message().find(message), std::string::npos) << error.message();
    }
}

TEST(Wal2jsonTransactionTest, RefusesWrongTransactions) {
    const std::string begin = kBegin;
    const auto replaced = [&](const std::string &from, const std::string &to) {
        std::string text = begin;
        return text.replace(text.find(from), from.size(), to);
    };
    ExpectRefused(replaced(R"("xid":740,)", ""), "not all of");
    ExpectRefused(replaced(R"("timestamp":"2026-11-22 15:54:24.383481+00",)", ""), "not all of");
    ExpectRefused(replaced(R"(,"nextlsn":"16/B374D878")", ""), "not all of");
    ExpectRefused(replaced(R"("lsn":"16/B374D848",)", ""), "not all of");
    ExpectRefused(replaced(R"("xid":740)", R"("xid":740,"xid":740)"), "a field twice");
    ExpectRefused(replaced("740", "4294967296"), "transaction ID");
    ExpectRefused(replaced("740", "-1"), "transaction ID");
    ExpectRefused(replaced("740", "null"), "transaction ID");
    ExpectRefused(replaced("740", "[1]"), "invalid value");
    ExpectRefused(replaced("16/B374D848", "16"), "position");
    ExpectRefused(replaced("16/B374D848", "0/0"), "impossible positions");
    ExpectRefused(replaced("16/B374D878", "16/B374D848"), "impossible positions");
    ExpectRefused(replaced("16/B374D848", "16\\/B374D848"), "invalid string");
    ExpectRefused(begin + " ", "behind its end");
    ExpectRefused(begin + "}", "behind its end");
    const std::string more = replaced(R"("xid")", R"("origin":7,"new":"x","xid")");
    EXPECT_EQ(ParseWal2jsonTransaction(more).xid, 740U);
}

TEST(Wal2jsonTransactionTest, RefusesMessagesTruncatedAnywhere) {
    for (size_t size = 0; size + 1 < sizeof(kBegin); size++) {
        ExpectRefused(std::string_view(kBegin, size), "");
    }
}

TEST(Wal2jsonTransactionTest, TakesTheActionFromTheFirstBytesOnly) {
    EXPECT_EQ(Wal2jsonAction(kBegin), 'B');
    EXPECT_EQ(Wal2jsonAction(R"({"action":"X"})"), 'X');
    EXPECT_EQ(Wal2jsonAction(R"({"xid":1,"action":"B"})"), 0);
    EXPECT_EQ(Wal2jsonAction(R"({"action":"B)"), 0);
    EXPECT_EQ(Wal2jsonAction(R"({"action":"BC"})"), 0);
    EXPECT_EQ(Wal2jsonAction(""), 0);
}

} // namespace
} // namespace livemigrate
