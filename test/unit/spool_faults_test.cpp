// The spool when the system refuses: full disk, file size limit, failing fsync.
//
// This file replaces calls of the C library for the whole test program. pwritev passes through
// unless a test has set a fault; the syncs are counted and not done, which would only cost time.
#include "spool_fixture.hpp"

#include <cerrno>
#include <climits>
#include <csignal>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <utility>

namespace {

struct Faults {
    long room;      // bytes that may still be written before ENOSPC
    int sync_error; // of a coming fsync or fdatasync, once
    int good_syncs; // that come before it
    int syncs;      // how many there were
};

constexpr Faults kNoFaults = {LONG_MAX, 0, 0, 0};
Faults g_faults = kNoFaults;

int
CountSync() {
    ++g_faults.syncs;
    if (g_faults.sync_error != 0 && g_faults.good_syncs-- == 0) {
        errno = std::exchange(g_faults.sync_error, 0);
        return -1;
    }
    return 0;
}

} // namespace

extern "C" {

int
fsync(int) {
    return CountSync();
}

int
fdatasync(int) {
    return CountSync();
}

ssize_t
pwritev(int descriptor, const iovec *parts, int count, off_t offset) {
    if (g_faults.room == LONG_MAX) {
        return ::syscall(SYS_pwritev, descriptor, parts, count, offset, 0L);
    }
    ssize_t written = 0;
    for (int i = 0; i < count && g_faults.room > 0; ++i) {
        const size_t size = std::min<size_t>(parts[i].iov_len, static_cast<size_t>(g_faults.room));
        written += ::pwrite(descriptor, parts[i].iov_base, size, offset + written);
        g_faults.room -= static_cast<long>(size);
    }
    if (written == 0) {
        errno = ENOSPC;
        return -1;
    }
    return written;
}

} // extern "C"

namespace livemigrate {
namespace {

class SpoolFaults : public SpoolFixture {
  protected:
    ~SpoolFaults() override { g_faults = kNoFaults; }

    void
    MakeDirectoryAnew() {
        std::filesystem::remove_all(directory_);
        std::filesystem::create_directory(directory_);
        ::chmod(directory_.c_str(), 0700);
    }
};

// R13: whatever the moment, no change is lost or doubled when the call is made again.
TEST_F(SpoolFaults, FullDiskAtAnyMoment) {
    segment_size_ = 400;
    int refused = 1;
    for (long room = 0; refused > 0; room += 7) {
        refused = 0;
        MakeDirectoryAnew();
        SpoolWriter writer(Options());
        std::vector<std::string> expected;
        const auto insist = [&](auto &&call) {
            const SpoolPosition before = writer.written();
            try {
                call();
            } catch (const Error &error) {
                ASSERT_EQ(error.sqlstate(), "53100");
                ASSERT_GE(writer.written(), before);
                ++refused;
                g_faults.room = LONG_MAX;
                call();
            }
        };
        g_faults.room = room;
        for (uint64_t i = 1; i <= 15; ++i) {
            for (const std::string &payload :
                 {Begin(i * 100), std::string("I row"), Commit(i * 100, i * 100 + 10)}) {
                insist([&] { writer.Append(Lsn{1}, payload); });
                expected.push_back(payload);
            }
            insist([&] { writer.Flush(); });
            ASSERT_EQ(ReadAll(writer.written()), expected);
        }
        ASSERT_EQ(writer.Sync(), Lsn{1510});
        ASSERT_LE(refused, 1);
        ASSERT_TRUE(refused == 1 || room > 1000);
        ASSERT_EQ(ReadAll(), expected); // nothing stale behind the end
        g_faults.room = LONG_MAX;
    }
}

// The same with blocks, which are made again for every attempt.
TEST_F(SpoolFaults, FullDiskWithCompression) {
    compress_ = true;
    segment_size_ = 3000;
    int refused = 1;
    for (long room = 0; refused > 0; room += 97) {
        refused = 0;
        MakeDirectoryAnew();
        SpoolWriter writer(Options());
        std::vector<std::string> expected;
        const auto insist = [&](auto &&call) {
            if (Sqlstate(call) == "53100") {
                ++refused;
                g_faults.room = LONG_MAX;
                call();
            }
        };
        g_faults.room = room;
        for (uint64_t i = 1; i <= 15; ++i) {
            std::vector<std::string> payloads(20, "I a row like all others");
            payloads.insert(payloads.begin(), Begin(i * 100));
            payloads.push_back(Commit(i * 100, i * 100 + 10));
            for (const std::string &payload : payloads) {
                insist([&] { writer.Append(Lsn{1}, payload); });
                expected.push_back(payload);
            }
            insist([&] { writer.Flush(); });
        }
        g_faults.room = LONG_MAX;
        ASSERT_EQ(writer.Sync(), Lsn{1510});
        ASSERT_EQ(ReadAll(), expected);
        ASSERT_LE(refused, 1);
        ASSERT_LT(room, 100'000);
    }
}

TEST_F(SpoolFaults, FullDiskInsideALongRecord) {
    SpoolWriter writer(Options());
    writer.Append(Lsn{1}, Begin(100));
    const std::string payload(1 << 20, 'I');
    g_faults.room = 500'000;
    EXPECT_EQ(Sqlstate([&] { writer.Append(Lsn{1}, payload); }), "53100");
    EXPECT_EQ(std::filesystem::file_size(Path(1)), writer.written().offset);
    g_faults.room = LONG_MAX;
    writer.AppendReset(); // the connection was lost meanwhile: something else comes now
    writer.Append(Lsn{1}, Begin(100));
    writer.Append(Lsn{1}, payload);
    writer.Append(Lsn{1}, Commit(100, 110));
    EXPECT_EQ(writer.Sync(), Lsn{110});
    EXPECT_EQ(ReadAll(),
              (std::vector<std::string>{"B 100", "reset", "B 100", payload, "C 100 110"}));
}

TEST_F(SpoolFaults, CrashWithAFullDisk) {
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Sync();
        AppendTransaction(writer, 200, 210);
        g_faults.room = 50;
        EXPECT_EQ(Sqlstate([&] { writer.Sync(); }), "53100");
        EXPECT_EQ(writer.synced_end_lsn(), Lsn{110});
        g_faults.room = LONG_MAX;
    }
    SpoolWriter writer(Options());
    EXPECT_EQ(writer.last_end_lsn(), Lsn{110});
    EXPECT_EQ(ReadAll(writer.written()).back(), "C 100 110");
}

TEST_F(SpoolFaults, FileSizeLimit) {
    SpoolWriter writer(Options());
    rlimit before;
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{100, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    AppendTransaction(writer, 100, 110);
    const std::string sqlstate = Sqlstate([&] { writer.Flush(); });
    ::setrlimit(RLIMIT_FSIZE, &before);
    std::signal(SIGXFSZ, old_handler);
    EXPECT_EQ(sqlstate, "58030");
    EXPECT_EQ(writer.Sync(), Lsn{110});
    EXPECT_EQ(ReadAll().size(), 3U);
}

// After a failed fsync a second one may succeed without the data being on the disk.
TEST_F(SpoolFaults, FailedSyncIsFinal) {
    SpoolPosition synced;
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Sync();
        synced = writer.written();
        AppendTransaction(writer, 200, 210);
        g_faults.sync_error = EIO;
        EXPECT_EQ(Sqlstate([&] { writer.Sync(); }), "58030");
        EXPECT_EQ(writer.synced_end_lsn(), Lsn{110});
        EXPECT_EQ(Sqlstate([&] { writer.Sync(); }), "58030");
        AppendTransaction(writer, 300, 310);
        EXPECT_EQ(Sqlstate([&] { writer.Flush(); }), "58030");
        EXPECT_EQ(writer.synced_end_lsn(), Lsn{110});
    }
    EXPECT_EQ(ScanEnd(directory_, identity_), synced);
    SpoolWriter writer(Options());
    EXPECT_EQ(writer.last_end_lsn(), Lsn{110}); // so the source sends 200 again
}

// Nor is it damage to who was told before how far the spool reaches.
TEST_F(SpoolFaults, FailedSyncIsNoDamageToTheReader) {
    SpoolWriter writer(Options());
    AppendTransaction(writer, 100, 110);
    writer.Sync();
    AppendTransaction(writer, 200, 210);
    writer.Flush();
    const SpoolPosition told = writer.written();
    g_faults.sync_error = EIO;
    EXPECT_EQ(Sqlstate([&] { writer.Sync(); }), "58030");
    SpoolReader reader(directory_, identity_);
    SpoolRecord record;
    EXPECT_EQ(Sqlstate([&] {
                  while (reader.Next(told, record)) {
                      EXPECT_LT(record.lsn, Lsn{200});
                  }
              }),
              "40001");
}

// By somebody else: nothing is written behind the hole, and an idle writer sees it, too.
TEST_F(SpoolFaults, CutFileIsToldByTheWriter) {
    for (const bool idle : {true, false}) {
        MakeDirectoryAnew();
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Sync();
        const SpoolPosition kept = writer.written();
        AppendTransaction(writer, 200, 210);
        writer.Sync();
        std::filesystem::resize_file(Path(1), kept.offset + 1);
        if (!idle) {
            AppendTransaction(writer, 300, 310);
        }
        EXPECT_EQ(Sqlstate([&] { idle ? (void)writer.Sync() : writer.Flush(); }), "XX001");
        EXPECT_TRUE(writer.unusable());
        EXPECT_EQ(std::filesystem::file_size(Path(1)), kept.offset + 1);
        EXPECT_EQ(ScanEnd(directory_, identity_), kept);
    }
}

// The syncs of a rotation: the old file's, which is final, then the new file's and the directory's.
TEST_F(SpoolFaults, FailedCreationOfASegmentIsTriedAgain) {
    segment_size_ = 200;
    for (int failing : {2, 3}) {
        MakeDirectoryAnew();
        SpoolWriter writer(Options());
        g_faults.syncs = 0;
        std::vector<std::string> refused;
        for (uint64_t i = 1; i <= 10; ++i) {
            for (const std::string &payload : {Begin(i * 100), Commit(i * 100, i * 100 + 10)}) {
                g_faults.sync_error = g_faults.syncs == 0 ? EIO : 0;
                g_faults.good_syncs = failing - 1;
                const std::string result = Sqlstate([&] { writer.Append(Lsn{1}, payload); });
                if (result != "none") {
                    refused.push_back(result);
                    EXPECT_EQ(CountSegments(), 1U);
                    writer.Append(Lsn{1}, payload);
                }
            }
        }
        EXPECT_EQ(refused, std::vector<std::string>{"58030"});
        EXPECT_EQ(writer.Sync(), Lsn{1010});
        EXPECT_EQ(ReadAll().size(), 20U);
    }
}

TEST_F(SpoolFaults, OpeningSyncsWhatACrashLeft) {
    {
        SpoolWriter writer(Options());
        AppendTransaction(writer, 100, 110);
        writer.Flush();
    }
    g_faults.syncs = 0;
    SpoolWriter writer(Options());
    EXPECT_EQ(writer.synced_end_lsn(), Lsn{110});
    EXPECT_EQ(g_faults.syncs, 2); // file and directory
}

TEST_F(SpoolFaults, SyncsInGroups) {
    SpoolWriter writer(Options());
    g_faults.syncs = 0;
    for (uint64_t i = 1; i <= 1000; ++i) {
        AppendTransaction(writer, i * 100, i * 100 + 10);
    }
    EXPECT_EQ(g_faults.syncs, 0);
    EXPECT_EQ(writer.Sync(), Lsn{100'010});
    EXPECT_EQ(writer.Sync(), Lsn{100'010}); // nothing new
    EXPECT_EQ(g_faults.syncs, 1);
}

} // namespace
} // namespace livemigrate
