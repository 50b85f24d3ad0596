#include "core/transaction_reader.hpp"

#include "spool_fixture.hpp"

#include <memory>
#include <optional>
#include <set>

namespace livemigrate {
namespace {

using Step = TransactionReader::Step;
using Steps = std::vector<std::string>;

class TransactionReading : public SpoolFixture {
  protected:
    // What surfaces between `start_after` and the end of what the writer has flushed.
    Steps
    Read(Lsn start_after, Lsn endpos = {}) {
        SpoolReader reader(directory_, identity_);
        FakeDecoder decoder;
        TransactionReader transactions(reader, decoder, start_after);
        const Steps steps = Read(transactions, endpos);
        decoded_ = decoder.decoded;
        return steps;
    }

    Steps
    Read(TransactionReader &transactions, Lsn endpos = {}) {
        const SpoolPosition limit = ScanEnd(directory_, identity_);
        Steps steps;
        Change change;
        for (;;) {
            switch (transactions.Next(limit, change)) {
            case Step::kNothing:
                return steps;
            case Step::kBegin:
                if (BeyondEndpos(change.commit_lsn, endpos)) {
                    steps.push_back("beyond");
                    return steps;
                }
                steps.push_back("begin " + std::to_string(change.commit_lsn.value));
                break;
            case Step::kChange:
                steps.emplace_back(change.new_tuple.at(0).data);
                break;
            case Step::kCommit:
                if (!IncludedByEndpos(change.end_lsn, endpos)) {
                    steps.push_back("rollback");
                    return steps;
                }
                steps.push_back("commit " + std::to_string(change.end_lsn.value));
                break;
            case Step::kReset:
                steps.push_back("reset");
                break;
            case Step::kBeginEarly:
            case Step::kCommitEarly:
                ADD_FAILURE() << "early, though it is not allowed";
                break;
            }
        }
    }

    // Reads sixteen transactions behind others, each from its Begin three times. Returns how many
    // positions they begin at.
    size_t
    ReadGoingBack() {
        SpoolWriter writer(Options());
        for (uint64_t i = 1; i <= 20; ++i) {
            AppendTransaction(writer, i * 100, i * 100 + 10);
        }
        writer.Flush();
        SpoolReader reader(directory_, identity_);
        FakeDecoder decoder;
        TransactionReader transactions(reader, decoder, Lsn{450});
        Change change;
        std::set<uint64_t> offsets;
        for (uint64_t i = 5; i <= 20; ++i) {
            for (int pass = 0; pass < 3; pass++) {
                EXPECT_EQ(transactions.Next(writer.written(), change), Step::kBegin);
                EXPECT_EQ(change.commit_lsn, Lsn{i * 100});
                EXPECT_EQ(transactions.Next(writer.written(), change), Step::kChange);
                if (pass < 2) {
                    transactions.Rewind();
                }
            }
            EXPECT_EQ(transactions.Next(writer.written(), change), Step::kCommit);
            EXPECT_EQ(change.end_lsn, Lsn{i * 100 + 10});
            offsets.insert(transactions.transaction_begin_position().offset);
        }
        EXPECT_EQ(transactions.Next(writer.written(), change), Step::kNothing);
        return offsets.size();
    }

    void
    Write(const std::vector<std::string> &payloads) {
        SpoolWriter writer(Options());
        for (const std::string &payload : payloads) {
            writer.Append(Lsn{1}, payload);
        }
        writer.Sync();
    }

    // A segment of these records, which no writer would write.
    void
    WriteRaw(const std::vector<std::pair<RecordKind, std::string>> &records) {
        const SegmentHeaderBytes header =
            EncodeSegmentHeader({.identity = identity_, .segment = 1});
        std::string file(header.data(), header.size());
        for (const auto &[kind, payload] : records) {
            std::string bytes(kRecordHeaderSize, '\0');
            EncodeRecordHeader(RecordSeed(header), file.size(), kind, Lsn{1}, payload,
                               bytes.data());
            file += bytes + payload;
        }
        WriteFile(1, file);
    }

    int decoded_ = 0;
};

TEST_F(TransactionReading, SurfacesTransactionsInOrder) {
    Write({Begin(100), "I a", "M ignored", "I b", Commit(100, 110), "M outside", Begin(200),
           Commit(200, 210)});
    EXPECT_EQ(Read({}), (Steps{"begin 100", "a", "b", "commit 110", "begin 200", "commit 210"}));
}

TEST_F(TransactionReading, SkipsWhatIsAppliedButDecodesIt) {
    Write({Begin(100), "I a", Commit(100, 110), Begin(200), "I b", Commit(200, 210)});
    EXPECT_EQ(Read(Lsn{110}), (Steps{"begin 200", "b", "commit 210"}));
    EXPECT_EQ(decoded_, 6);
    EXPECT_EQ(Read(Lsn{210}), Steps{});
    EXPECT_EQ(Read(Lsn{150}), (Steps{"begin 200", "b", "commit 210"}));
    EXPECT_EQ(Read(Lsn{100}),
              (Steps{"begin 100", "a", "commit 110", "begin 200", "b", "commit 210"}));
}

// D23: the end of one is the first position of the next, across a restart between them.
TEST_F(TransactionReading, AdjoiningTransactionsAreAppliedOnceEach) {
    Write({Begin(100), "I a", Commit(100, 110), Begin(110), "I b", Commit(110, 120)});
    EXPECT_EQ(Read(Lsn{110}), (Steps{"begin 110", "b", "commit 120"}));
    EXPECT_EQ(Read(Lsn{120}), Steps{});
}

TEST_F(TransactionReading, ChangesMayShareAnLsn) {
    SpoolWriter writer(Options());
    writer.Append(Lsn{50}, Begin(100));
    writer.Append(Lsn{50}, "I a");
    writer.Append(Lsn{50}, "I b");
    writer.Append(Lsn{50}, "I c");
    writer.Append(Lsn{100}, Commit(100, 110));
    writer.Sync();
    EXPECT_EQ(Read({}), (Steps{"begin 100", "a", "b", "c", "commit 110"}));
}

TEST_F(TransactionReading, ResetSurfacesOnlyIfTheTransactionDid) {
    {
        SpoolWriter writer(Options());
        writer.Append(Lsn{1}, Begin(100));
        writer.Append(Lsn{1}, "I half");
        writer.AppendReset();
        AppendTransaction(writer, 100, 110);
        writer.Append(Lsn{1}, Begin(200));
        writer.AppendReset();
        AppendTransaction(writer, 200, 210);
        writer.Sync();
    }
    EXPECT_EQ(Read({}), (Steps{"begin 100", "half", "reset", "begin 100", "row 0", "commit 110",
                               "begin 200", "reset", "begin 200", "row 0", "commit 210"}));
    EXPECT_EQ(Read(Lsn{110}), (Steps{"begin 200", "reset", "begin 200", "row 0", "commit 210"}));
    EXPECT_EQ(Read(Lsn{210}), Steps{});
}

TEST_F(TransactionReading, FollowsTheWriter) {
    segment_size_ = 300;
    SpoolWriter writer(Options());
    SpoolReader reader(directory_, identity_);
    FakeDecoder decoder;
    TransactionReader transactions(reader, decoder, Lsn{});
    Change change;
    EXPECT_EQ(transactions.Next({}, change), Step::kNothing);
    for (uint64_t i = 1; i <= 20; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10);
        writer.Flush();
        ASSERT_EQ(transactions.Next(writer.written(), change), Step::kBegin);
        const SpoolPosition begin = transactions.transaction_begin_position();
        ASSERT_EQ(transactions.Next(writer.written(), change), Step::kChange);
        ASSERT_EQ(transactions.Next(writer.written(), change), Step::kCommit);
        ASSERT_EQ(transactions.transaction_begin_position(), begin);
        ASSERT_LT(begin, transactions.position());
        ASSERT_EQ(transactions.position(), writer.written());
        ASSERT_EQ(transactions.stream_lsn(), Lsn{i * 100 + 10});
        ASSERT_EQ(transactions.Next(writer.written(), change), Step::kNothing);
    }
}

TEST_F(TransactionReading, GoesBackToTheBegin) {
    // Records that are not in blocks have positions of their own.
    EXPECT_EQ(ReadGoingBack(), 16U);
}

TEST_F(TransactionReading, GoesBackToTheBeginInABlock) {
    compress_ = true;
    EXPECT_LT(ReadGoingBack(), 16U);
}

TEST_F(TransactionReading, IdlePositionsMoveTheStream) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110);
    writer.AppendPosition(Lsn{500});
    writer.Sync();
    SpoolReader reader(directory_, identity_);
    FakeDecoder decoder;
    TransactionReader transactions(reader, decoder, Lsn{});
    EXPECT_EQ(Read(transactions), (Steps{"begin 100", "row 0", "commit 110"}));
    EXPECT_EQ(transactions.stream_lsn(), Lsn{500});
}

TEST_F(TransactionReading, WrongOrderIsAProtocolViolation) {
    constexpr RecordKind kMessage = RecordKind::kMessage;
    const std::vector<std::vector<std::pair<RecordKind, std::string>>> wrong{
        {{kMessage, "I outside"}},
        {{kMessage, Commit(100, 110)}},
        {{kMessage, Begin(100)}, {kMessage, Begin(100)}},
        {{kMessage, Begin(50)}, {kMessage, Begin(100)}}, // inside a skipped one
        {{kMessage, Begin(100)}, {kMessage, Commit(101, 110)}},
        {{kMessage, Begin(100)}, {kMessage, Commit(100, 100)}},
        {{kMessage, Begin(100)}, {RecordKind::kPosition, ""}},
        {{kMessage, "x"}},
    };
    for (const auto &records : wrong) {
        WriteRaw(records);
        EXPECT_EQ(Sqlstate([&] { Read(Lsn{60}); }), "08P01");
    }
}

TEST_F(TransactionReading, ErrorsSayWhereInTheSpool) {
    Write({Begin(100), "unknown"});
    try {
        Read({});
        FAIL();
    } catch (const Error &error) {
        EXPECT_EQ(error.context(), "spool segment 0000000000000001.spool, offset 94");
    }
}

TEST_F(TransactionReading, ATransactionHeldTwiceSurfacesOnce) {
    constexpr RecordKind kMessage = RecordKind::kMessage;
    WriteRaw({{kMessage, Begin(100)},
              {kMessage, Commit(100, 110)},
              {kMessage, Begin(100)},
              {kMessage, Commit(100, 110)}});
    EXPECT_EQ(Read({}), (Steps{"begin 100", "commit 110"}));
}

TEST_F(TransactionReading, SpoolMustReachBackToTheOrigin) {
    segment_size_ = 150;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110, 10);
        AppendTransaction(writer, 200, 210);
        writer.Sync();
    }
    ASSERT_EQ(PruneSpool(directory_, {2, 0}), 1U);
    EXPECT_EQ(Read(Lsn{110}), (Steps{"begin 200", "row 0", "commit 210"}));
    EXPECT_EQ(Sqlstate([&] { Read(Lsn{90}); }), "XX001");
}

TEST_F(TransactionReading, StartInsideACommitRecordIsAnError) {
    Write({Begin(100), Commit(100, 110)});
    EXPECT_EQ(Sqlstate([&] { Read(Lsn{105}); }), "XX001");
}

TEST_F(TransactionReading, LooksForInterruptsWhileSkipping) {
    segment_size_ = 1 << 20;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110, 100'000);
        writer.Sync();
    }
    SpoolReader reader(directory_, identity_);
    FakeDecoder decoder;
    static int calls = 0;
    calls = 0;
    TransactionReader transactions(reader, decoder, Lsn{110}, [] { ++calls; });
    EXPECT_EQ(Read(transactions), Steps{});
    EXPECT_GT(calls, 3);
    EXPECT_EQ(transactions.skipped_transactions(), 1U);
    SpoolOptions options = Options();
    calls = 0;
    options.check_interrupts = [] { ++calls; };
    SpoolWriter writer(options);
    EXPECT_GT(calls, 3);
}

class Endpos : public TransactionReading {
  protected:
    void
    SetUp() override {
        Write({Begin(100), "I a", Commit(100, 110), Begin(150), "I b", Commit(150, 160), Begin(160),
               "I c", Commit(160, 170)});
    }
    const Steps first_{"begin 100", "a", "commit 110"};
    const Steps second_{"begin 150", "b", "commit 160"};

    static Steps
    Join(Steps steps, const Steps &more) {
        steps.insert(steps.end(), more.begin(), more.end());
        return steps;
    }
};

// E01: the transaction that ends at endpos is applied; the next, which begins there, is not.
TEST_F(Endpos, AtTheEndOfATransaction) {
    EXPECT_EQ(Read({}, Lsn{110}), Join(first_, {"beyond"}));
    EXPECT_EQ(Read({}, Lsn{160}), Join(Join(first_, second_), {"beyond"}));
}

// E02
TEST_F(Endpos, BetweenTransactions) {
    for (uint64_t endpos : {111, 130, 150}) {
        EXPECT_EQ(Read({}, Lsn{endpos}), Join(first_, {"beyond"}));
    }
}

// E03: in a commit record, only Commit can tell; before it, Begin does.
TEST_F(Endpos, InsideATransaction) {
    for (uint64_t endpos : {151, 159}) {
        EXPECT_EQ(Read({}, Lsn{endpos}), Join(first_, {"begin 150", "b", "rollback"}));
    }
    EXPECT_EQ(Read({}, Lsn{60}), Steps{"beyond"});
}

TEST_F(Endpos, NoneOrInTheFuture) {
    EXPECT_EQ(Read({}), Read({}, Lsn{170}));
    EXPECT_EQ(Read({}), Read({}, Lsn{1000}));
    EXPECT_EQ(Read({}).size(), 9U);
}

// E04
TEST_F(TransactionReading, EndposInsideATransactionOfSeveralSegments) {
    segment_size_ = 200;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        AppendTransaction(writer, 900, 910, 50);
        writer.Sync();
        ASSERT_GT(writer.written().segment, 5U);
    }
    const Steps first{"begin 100", "row 0", "commit 110"};
    Steps expected = first;
    expected.push_back("beyond");
    EXPECT_EQ(Read({}, Lsn{500}), expected);
    EXPECT_EQ(Read({}, Lsn{900}), expected);
    const Steps rolled_back = Read({}, Lsn{905});
    EXPECT_EQ(rolled_back.size(), 3U + 1 + 50 + 1);
    EXPECT_EQ(rolled_back.back(), "rollback");
    EXPECT_EQ(Read({}, Lsn{910}).back(), "commit 910");
}

} // namespace
} // namespace livemigrate
