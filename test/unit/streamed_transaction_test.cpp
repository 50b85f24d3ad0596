// Transactions that come in chunks, from the writer to what apply sees.
#include "core/streamed_transaction.hpp"

#include "core/pgoutput_decoder.hpp"
#include "core/spool_options.hpp"
#include "core/transaction_reader.hpp"
#include "spool_fixture.hpp"

#include <algorithm>
#include <map>
#include <memory>
#include <random>

namespace livemigrate {
namespace {

using Step = TransactionReader::Step;
using Steps = std::vector<std::string>;

template <typename T>
std::string
BigEndian(T value) {
    std::string bytes;
    for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
        bytes.push_back(static_cast<char>(value >> shift));
    }
    return bytes;
}

std::string
StreamStart(uint32_t xid, bool first) {
    return "S" + BigEndian(xid) + (first ? '\1' : '\0');
}
std::string
StreamCommit(uint32_t xid, uint64_t commit_lsn) {
    return "c" + BigEndian(xid) + '\0' + BigEndian(commit_lsn) + BigEndian(commit_lsn + 10) +
           BigEndian(uint64_t{77});
}
std::string
StreamAbort(uint32_t xid, uint32_t subxid) {
    return "A" + BigEndian(xid) + BigEndian(subxid);
}
std::string
PlainBegin(uint64_t commit_lsn) {
    return "B" + BigEndian(commit_lsn) + BigEndian(uint64_t{77}) + BigEndian(uint32_t{5});
}
std::string
PlainCommit(uint64_t commit_lsn) {
    return std::string("C") + '\0' + BigEndian(commit_lsn) + BigEndian(commit_lsn + 10) +
           BigEndian(uint64_t{77});
}
// xid 0: outside of chunks.
std::string
Head(char type, uint32_t xid) {
    return type + (xid == 0 ? "" : BigEndian(xid));
}
// Relation 9 with one column, whose name tells the descriptions apart.
std::string
Relation(uint32_t xid, const std::string &column) {
    return Head('R', xid) + BigEndian(uint32_t{9}) + std::string("public\0t\0d", 10) +
           BigEndian(uint16_t{1}) + '\1' + column + '\0' + BigEndian(uint32_t{25}) +
           BigEndian(uint32_t{0xffffffff});
}
std::string
Insert(uint32_t xid, const std::string &value) {
    return Head('I', xid) + BigEndian(uint32_t{9}) + 'N' + BigEndian(uint16_t{1}) + 't' +
           BigEndian(static_cast<uint32_t>(value.size())) + value;
}

class StreamedTransactions : public SpoolFixture {
  protected:
    StreamedTransactions() { identity_.plugin = Plugin::kPgoutput; }

    SpoolOptions
    Pgoutput() const {
        SpoolOptions options = Options();
        options.mark_transaction = nullptr;
        return options;
    }
    SpoolWriter &
    writer() {
        if (!writer_) {
            writer_ = std::make_unique<SpoolWriter>(Pgoutput());
        }
        return *writer_;
    }
    void
    Append(const std::string &payload) {
        writer().Append(Lsn{1}, payload);
    }
    void
    Chunk(uint32_t xid, bool first, const std::vector<std::string> &payloads) {
        Append(StreamStart(xid, first));
        for (const std::string &payload : payloads) {
            Append(payload);
        }
        Append("E");
    }
    void
    Plain(uint64_t commit_lsn, const std::vector<std::string> &payloads) {
        Append(PlainBegin(commit_lsn));
        for (const std::string &payload : payloads) {
            Append(payload);
        }
        Append(PlainCommit(commit_lsn));
    }

    static std::string
    Describe(Step step, const Change &change) {
        switch (step) {
        case Step::kBegin:
            return "begin " + std::to_string(change.commit_lsn.value);
        case Step::kCommit:
            return "commit " + std::to_string(change.end_lsn.value);
        case Step::kReset:
            return "reset";
        case Step::kBeginEarly:
            return "early " + std::to_string(change.xid) + " after " +
                   std::to_string(change.commit_lsn.value);
        case Step::kCommitEarly:
            return "early commit " + std::to_string(change.end_lsn.value);
        default:
            return change.relation->columns[0].name + "=" +
                   std::string(change.new_tuple.at(0).data);
        }
    }
    enum class Early { kNever, kAccept, kDecline };

    Steps
    Read(Lsn start_after = {}, Early early = Early::kNever) {
        writer().Flush();
        SpoolReader reader(directory_, identity_);
        PgoutputDecoder decoder;
        TransactionReader transactions(reader, decoder, start_after);
        transactions.AllowEarly(early != Early::kNever);
        Steps steps;
        Change change;
        Step step;
        while ((step = transactions.Next(writer().written(), change)) != Step::kNothing) {
            steps.push_back(Describe(step, change));
            if (step == Step::kCommitEarly && early == Early::kAccept) {
                transactions.AcceptEarly();
            } else if (step == Step::kCommitEarly) {
                transactions.DropEarly();
                steps.back() = "declined";
            }
            last_ = transactions.position();
        }
        return steps;
    }
    // The changes that stay, and the commits.
    static Steps
    Outcome(const Steps &steps) {
        Steps kept;
        Steps open;
        for (const std::string &step : steps) {
            if (step.starts_with("begin") || step.starts_with("early ") || step == "reset" ||
                step == "declined") {
                const bool commits = step.starts_with("early commit");
                open.insert(open.end(), commits ? 1 : 0, step.substr(commits ? 6 : 0));
                kept.insert(kept.end(), open.begin(), commits ? open.end() : open.begin());
                open.clear();
            } else {
                open.push_back(step);
                if (step.starts_with("commit")) {
                    kept.insert(kept.end(), open.begin(), open.end());
                    open.clear();
                }
            }
        }
        return kept;
    }

    std::unique_ptr<SpoolWriter> writer_;
    SpoolPosition last_;
};

TEST(XidSet, HasWhatWasInserted) {
    XidSet set;
    for (uint32_t xid : {5U, 7U, 6U, 10U, 9U, 4U, 6U, 20U}) {
        set.Insert(xid);
    }
    for (uint32_t xid = 0; xid < 25; ++xid) {
        const bool inserted = (xid >= 4 && xid <= 7) || xid == 9 || xid == 10 || xid == 20;
        EXPECT_EQ(set.Contains(xid), inserted) << xid;
    }
    set.Insert(0xffffffff);
    EXPECT_TRUE(set.Contains(0xffffffff));
    EXPECT_FALSE(set.Contains(0));
}

TEST(XidSet, EveryOtherOfMillionsTakesLittle) {
    constexpr uint32_t kIds = 10'000'000;
    XidSet set;
    for (uint32_t xid = 0; xid < kIds; xid += 2) {
        set.Insert(xid);
    }
    EXPECT_TRUE(set.Contains(kIds - 2));
    EXPECT_FALSE(set.Contains(kIds - 1));
    EXPECT_LT(set.bytes(), 4U << 20);
}

TEST_F(StreamedTransactions, SurfaceAtTheirCommit) {
    for (const bool compress : {false, true}) {
        compress_ = compress;
        Chunk(50, true, {Relation(50, "a"), Insert(50, "1")});
        Plain(100, {Relation(0, "a"), Insert(0, "plain")});
        Chunk(60, true, {Relation(60, "a"), Insert(60, "other")});
        Chunk(50, false, {Insert(51, "2"), Insert(50, "3")});
        Append(StreamCommit(60, 200));
        Append(StreamCommit(50, 300));
        EXPECT_EQ(Read(), (Steps{"begin 100", "a=plain", "commit 110", "begin 200", "a=other",
                                 "commit 210", "begin 300", "a=1", "a=2", "a=3", "commit 310"}));
        EXPECT_EQ(Read(Lsn{210}), (Steps{"begin 300", "a=1", "a=2", "a=3", "commit 310"}));
        EXPECT_TRUE(Read(Lsn{310}).empty());
        EXPECT_EQ(writer().last_end_lsn(), Lsn{310});
        writer_.reset();
        std::filesystem::remove(Path(1));
    }
}

TEST_F(StreamedTransactions, WhatIsAbortedDoesNotSurface) {
    Chunk(50, true, {Relation(50, "a"), Insert(50, "1"), Insert(51, "no")});
    Chunk(60, true, {Relation(60, "b"), Insert(60, "no")});
    Append(StreamAbort(50, 51));
    Chunk(50, false, {Insert(52, "no"), Insert(53, "2")});
    Append(StreamAbort(60, 60));
    Append(StreamAbort(50, 52));
    Append(StreamCommit(50, 300));
    EXPECT_EQ(Read(), (Steps{"begin 300", "a=1", "a=2", "commit 310"}));
}

TEST_F(StreamedTransactions, AResetTakesBackAllThatAreOpen) {
    Chunk(50, true, {Relation(50, "a"), Insert(50, "lost")});
    Append(StreamStart(60, true));
    Append(Relation(60, "a"));
    EXPECT_TRUE(writer().in_transaction());
    writer().AppendReset();
    EXPECT_FALSE(writer().in_transaction());
    Chunk(60, true, {Relation(60, "a"), Insert(60, "again")});
    Append(StreamCommit(60, 200));
    EXPECT_EQ(Read(), (Steps{"begin 200", "a=again", "commit 210"}));
}

// Also if only the newest segment is read, which has nothing of them.
TEST_F(StreamedTransactions, OpeningTheSpoolTakesThemBack) {
    segment_size_ = 300;
    Chunk(50, true, {Relation(50, "a"), Insert(50, "lost")});
    for (uint64_t lsn = 100; lsn < 200; lsn += 10) {
        Plain(lsn, {});
    }
    writer().Sync();
    ASSERT_GT(writer().written().segment, 3U);
    writer_.reset();
    SpoolOptions options = Pgoutput();
    options.verify_all = false;
    writer_ = std::make_unique<SpoolWriter>(options);
    Chunk(50, true, {Relation(50, "a"), Insert(50, "again")});
    Append(StreamCommit(50, 300));
    const Steps steps = Read(Lsn{200});
    EXPECT_EQ(steps, (Steps{"begin 300", "a=again", "commit 310"}));
}

TEST_F(StreamedTransactions, EverySegmentTellsWhoseChunkItIs) {
    segment_size_ = 300;
    std::vector<std::string> rows{Relation(50, "a")};
    Steps expected{"begin 300"};
    for (int i = 0; i < 40; ++i) {
        rows.push_back(Insert(50, std::to_string(i)));
        expected.push_back("a=" + std::to_string(i));
    }
    expected.push_back("commit 310");
    Chunk(50, true, rows);
    Append(StreamCommit(50, 300));
    ASSERT_GT(writer().written().segment, 5U);
    EXPECT_EQ(Read(), expected);
    // Its beginning is gone: it must be applied.
    writer().Flush();
    PruneSpool(directory_, {3, 0});
    EXPECT_TRUE(Read(Lsn{310}).empty());
    EXPECT_EQ(Sqlstate([&] { Read(Lsn{250}); }), sqlstate::kDataCorrupted);
}

TEST_F(StreamedTransactions, ReadingBeginsAtTheFirstThatIsOpen) {
    segment_size_ = 300;
    Plain(100, {});
    Chunk(50, true, {Relation(50, "a"), Insert(50, "1")});
    const uint64_t first = writer().written().segment;
    for (uint64_t lsn = 200; lsn < 300; lsn += 10) {
        Plain(lsn, {});
    }
    Read();
    EXPECT_LE(last_.segment, first);
    const Lsn none{};
    EXPECT_FALSE(writer().ApplyMakesRoom(none)); // nothing before it can go
    Append(StreamCommit(50, 300));
    EXPECT_TRUE(writer().ApplyMakesRoom(none));
    EXPECT_EQ(Read(Lsn{300}), (Steps{"begin 300", "a=1", "commit 310"}));
    EXPECT_EQ(last_, writer().written());
}

TEST_F(StreamedTransactions, OneThatCameBeforeIsTakenBack) {
    Plain(300, {});
    Chunk(50, true, {Relation(50, "a"), Insert(50, "no")});
    EXPECT_FALSE(writer().Append(Lsn{1}, StreamCommit(50, 250)));
    EXPECT_EQ(writer().duplicate_transactions(), 1U);
    EXPECT_EQ(writer().last_end_lsn(), Lsn{310});
    EXPECT_EQ(Read(), (Steps{"begin 300", "commit 310"}));
}

// What the source described in a transaction that committed it does not describe again.
TEST_F(StreamedTransactions, DescriptionsCountFromTheCommitOn) {
    Plain(100, {Relation(0, "old"), Insert(0, "1")});
    Chunk(50, true, {Relation(50, "new"), Insert(50, "2")});
    Plain(150, {Insert(0, "3")});
    Append(StreamCommit(50, 200));
    Plain(250, {Insert(0, "4")});
    // An aborted one's do not count, nor do those older than another.
    Chunk(60, true, {Relation(60, "aborted")});
    Append(StreamAbort(60, 60));
    Chunk(70, true, {Relation(70, "stale"), Insert(70, "5")});
    Plain(300, {Relation(0, "newest"), Insert(0, "6")});
    Append(StreamCommit(70, 400));
    Plain(500, {Insert(0, "7")});
    EXPECT_EQ(Read(),
              (Steps{"begin 100", "old=1",    "commit 110", "begin 150", "old=3",   "commit 160",
                     "begin 200", "new=2",    "commit 210", "begin 250", "new=4",   "commit 260",
                     "begin 300", "newest=6", "commit 310", "begin 400", "stale=5", "commit 410",
                     "begin 500", "newest=7", "commit 510"}));
}

// Also if the record that does so begins a segment, and a crash leaves no more than that one's
// header.
TEST_F(StreamedTransactions, OpeningTheSpoolAgainTakesThemBack) {
    Chunk(50, true, {Relation(50, "a"), Insert(50, "lost")});
    writer().Sync();
    writer_.reset();
    SpoolOptions options = Pgoutput();
    options.verify_all = false;
    options.segment_size = 1;
    writer_ = std::make_unique<SpoolWriter>(options);
    ASSERT_EQ(writer().written().segment, 2U);
    writer_.reset();
    std::filesystem::resize_file(Path(2), kSegmentHeaderSize);
    options.segment_size = segment_size_;
    writer_ = std::make_unique<SpoolWriter>(options);
    Chunk(50, true, {Relation(50, "a"), Insert(50, "again")});
    Append(StreamCommit(50, 300));
    EXPECT_EQ(Read(), (Steps{"begin 300", "a=again", "commit 310"}));
}

TEST_F(StreamedTransactions, CanBeReadAgainFromTheirBegin) {
    Chunk(50, true, {Relation(50, "a"), Insert(50, "1"), Relation(50, "b"), Insert(50, "2")});
    Append(StreamCommit(50, 300));
    writer().Flush();
    SpoolReader reader(directory_, identity_);
    PgoutputDecoder decoder;
    TransactionReader transactions(reader, decoder, {});
    Change change;
    Steps steps;
    for (int pass = 0; pass < 3; ++pass) {
        for (int i = 0; i < 3; ++i) {
            const Step step = transactions.Next(writer().written(), change);
            steps.push_back(Describe(step, change));
        }
        if (pass < 2) {
            transactions.Rewind();
        }
    }
    EXPECT_EQ(transactions.Next(writer().written(), change), Step::kCommit);
    EXPECT_EQ(steps, (Steps{"begin 300", "a=1", "b=2", "begin 300", "a=1", "b=2", "begin 300",
                            "a=1", "b=2"}));
}

TEST_F(StreamedTransactions, WhatIsOutOfOrderIsRefused) {
    const std::string row = Insert(50, "x");
    const auto refused = [this](const std::vector<std::string> &before, const std::string &last) {
        for (const std::string &payload : before) {
            Append(payload);
        }
        const std::string state = Sqlstate([&] { Append(last); });
        writer().AppendReset();
        return state == sqlstate::kProtocolViolation;
    };
    const std::string start = StreamStart(50, true);
    EXPECT_TRUE(refused({}, StreamStart(50, false)));
    EXPECT_TRUE(refused({}, "E"));
    EXPECT_TRUE(refused({}, StreamCommit(50, 100)));
    EXPECT_TRUE(refused({start}, start));
    EXPECT_TRUE(refused({start}, PlainBegin(100)));
    EXPECT_TRUE(refused({start}, PlainCommit(100)));
    EXPECT_TRUE(refused({start}, StreamCommit(50, 100)));
    EXPECT_TRUE(refused({start}, StreamAbort(50, 50)));
    EXPECT_TRUE(refused({start, "E"}, start));
    EXPECT_TRUE(refused({PlainBegin(100)}, start));
    EXPECT_TRUE(refused({PlainBegin(100)}, "E"));
    EXPECT_EQ(Read(), (Steps{"begin 100", "reset", "begin 100", "reset"})); // nothing of the others
}

TEST(StreamedMessages, TruncatedOnesAreRefused) {
    PgoutputDecoder decoder;
    for (const std::string &message :
         {StreamStart(50, true), StreamCommit(50, 100), StreamAbort(50, 51), std::string("E")}) {
        EXPECT_NE(decoder.MarkStreamed(message).kind, TransactionMark::Kind::kNone);
        EXPECT_THROW(MarkPgoutput(message + "x"), Error);
        for (size_t size = 1; size < message.size(); ++size) {
            EXPECT_THROW(MarkPgoutput(message.substr(0, size)), Error);
        }
    }
    // Protocol 4, which is never asked for, has two more fields: LSN and time of the abort.
    const std::string parallel_abort =
        StreamAbort(50, 51) + BigEndian(uint64_t{100}) + BigEndian(uint64_t{77});
    EXPECT_THROW(MarkPgoutput(parallel_abort), Error);
    EXPECT_THROW(decoder.MarkStreamed(parallel_abort), Error);
    EXPECT_EQ(MarkPgoutput(BuildStreamStart(7)).xid, 7U);
    EXPECT_EQ(MarkPgoutput(BuildStreamAbort(7)).subxid, 7U);
    Change change;
    decoder.BeginStreamed();
    decoder.DecodeStreamed(Lsn{1}, Relation(50, "a"), change);
    const std::string row = Insert(51, "value");
    decoder.DecodeStreamed(Lsn{1}, row, change);
    EXPECT_EQ(change.xid, 51U);
    for (size_t size = 0; size < row.size(); ++size) {
        EXPECT_THROW(decoder.DecodeStreamed(Lsn{1}, row.substr(0, size), change), Error);
    }
    EXPECT_THROW(decoder.Decode(Lsn{1}, Insert(0, "x"), change), Error); // not described there
    decoder.BeginStreamed();
    EXPECT_THROW(decoder.DecodeStreamed(Lsn{1}, row, change), Error);
}

TEST_F(StreamedTransactions, SurfaceEarlyWhileNothingComesBetween) {
    Plain(100, {});
    Chunk(50, true, {Relation(50, "a"), Insert(50, "1")});
    writer().AppendPosition(Lsn{150});
    Chunk(60, true, {Relation(60, "a"), Insert(60, "other")});
    Chunk(50, false, {Insert(51, "2")});
    Append(StreamCommit(50, 300));
    Append(StreamCommit(60, 400));
    Plain(500, {Relation(0, "a"), Insert(0, "plain")});
    const Steps rest{"begin 400", "a=other", "commit 410", "begin 500", "a=plain", "commit 510"};
    Steps expected{"begin 100", "commit 110", "early 50 after 110",
                   "a=1",       "a=2",        "early commit 310"};
    expected.insert(expected.end(), rest.begin(), rest.end());
    EXPECT_EQ(Read({}, Early::kAccept), expected);
    EXPECT_EQ(last_, writer().written());
    expected = {"begin 100", "commit 110", "early 50 after 110", "a=1",
                "a=2",       "declined",   "begin 300",          "a=1",
                "a=2",       "commit 310"};
    expected.insert(expected.end(), rest.begin(), rest.end());
    EXPECT_EQ(Read({}, Early::kDecline), expected);
    EXPECT_EQ(last_, writer().written());
}

TEST_F(StreamedTransactions, AnotherCommitTakesTheEarlyOneBack) {
    Chunk(50, true, {Relation(50, "a"), Insert(50, "1")});
    Plain(100, {Relation(0, "b"), Insert(0, "plain")});
    Chunk(50, false, {Insert(50, "2")});
    Append(StreamCommit(50, 200));
    EXPECT_EQ(Read({}, Early::kAccept),
              (Steps{"early 50 after 0", "a=1", "reset", "begin 100", "b=plain", "commit 110",
                     "begin 200", "a=1", "a=2", "commit 210"}));
    Chunk(60, true, {Relation(60, "a"), Insert(60, "3")});
    Chunk(70, true, {Relation(70, "b"), Insert(70, "4")});
    Append(StreamCommit(70, 300));
    Append(StreamCommit(60, 400));
    EXPECT_EQ(Read(Lsn{210}, Early::kAccept),
              (Steps{"early 50 after 210", "a=1", "a=2", "reset", "early 60 after 210", "a=3",
                     "reset", "begin 300", "b=4", "commit 310", "begin 400", "a=3", "commit 410"}));
}

TEST_F(StreamedTransactions, AnAbortTakesTheEarlyOneBack) {
    Chunk(50, true, {Relation(50, "a"), Insert(50, "1"), Insert(51, "no")});
    Append(StreamAbort(50, 51));
    Chunk(50, false, {Insert(50, "2")});
    Append(StreamCommit(50, 200));
    Chunk(60, true, {Relation(60, "a"), Insert(60, "no")});
    Append(StreamAbort(60, 60));
    Chunk(70, true, {Relation(70, "a"), Insert(70, "lost")});
    writer().AppendReset();
    Chunk(70, true, {Relation(70, "a"), Insert(70, "again")});
    Append(StreamCommit(70, 300));
    EXPECT_EQ(Read({}, Early::kAccept),
              (Steps{"early 50 after 0", "a=1", "a=no", "reset", "begin 200", "a=1", "a=2",
                     "commit 210", "early 60 after 210", "a=no", "reset", "early 70 after 210",
                     "a=lost", "reset", "early 70 after 210", "a=again", "early commit 310"}));
}

// Whatever comes in whatever order, what stays is what stays without.
TEST_F(StreamedTransactions, EarlyOnesChangeNothingInTheEnd) {
    std::mt19937 random(20261123);
    const auto pick = [&](uint32_t count) { return static_cast<uint32_t>(random() % count); };
    for (int round = 0; round < 50; ++round) {
        uint64_t lsn = 0;
        uint32_t next_xid = 50;
        std::map<uint32_t, uint32_t> open; // xid, how many subtransactions
        for (int i = 0; i < 40; ++i) {
            const uint32_t what = pick(10);
            if (what < 5) {
                const bool first = open.empty() || pick(3) == 0;
                const uint32_t xid =
                    first ? next_xid : std::next(open.begin(), pick(open.size()))->first;
                next_xid += first ? 10 : 0;
                uint32_t &subs = open[xid];
                subs = std::min(subs + pick(2), 9U);
                Chunk(xid, first, {Relation(xid, "a"), Insert(xid + subs, std::to_string(i))});
            } else if (what == 5) {
                Plain(lsn += 100, {Relation(0, "b"), Insert(0, std::to_string(i))});
            } else if (what == 6 && pick(4) == 0) {
                writer().AppendReset();
                open.clear();
            } else if (!open.empty()) {
                const auto one = std::next(open.begin(), pick(open.size()));
                const uint32_t sub =
                    what == 7 && one->second > 0 ? one->first + one->second : one->first;
                if (what < 9 && sub == one->first) {
                    Append(StreamCommit(one->first, lsn += 100));
                } else {
                    Append(StreamAbort(one->first, sub));
                }
                if (sub == one->first) {
                    open.erase(one);
                }
            }
        }
        const Steps without = Outcome(Read());
        EXPECT_EQ(Outcome(Read({}, Early::kAccept)), without) << round;
        EXPECT_EQ(Outcome(Read({}, Early::kDecline)), without) << round;
        writer_.reset();
        std::filesystem::remove(Path(1));
    }
}

} // namespace
} // namespace livemigrate
