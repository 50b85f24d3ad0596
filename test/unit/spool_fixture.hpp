// A spool in a temporary directory, and an output plugin made up for it.
//
// Its payloads: "B <commit_lsn>", "C <commit_lsn> <end_lsn>", "I <text>", "M <text>" (a message
// that needs no applying); LSNs decimal. The mark and the decoder take anything else for malformed,
// but the mark says nothing of it.
#pragma once

#include "core/change.hpp"
#include "core/error.hpp"
#include "core/spool_reader.hpp"
#include "core/spool_writer.hpp"

#include <gtest/gtest.h>

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

inline Lsn
TakeLsn(std::string_view &text) {
    Lsn lsn;
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), lsn.value);
    if (error != std::errc()) {
        throw Error(sqlstate::kProtocolViolation, "no LSN");
    }
    text.remove_prefix(static_cast<size_t>(end - text.data()));
    return lsn;
}

inline TransactionMark
MarkFake(std::string_view payload) {
    TransactionMark mark;
    if (payload.starts_with("B ") || payload.starts_with("C ")) {
        const bool begins = payload.starts_with('B');
        payload.remove_prefix(1);
        mark.kind = begins ? TransactionMark::Kind::kBegin : TransactionMark::Kind::kCommit;
        mark.commit_lsn = TakeLsn(payload);
        mark.end_lsn = begins ? Lsn{} : TakeLsn(payload);
    }
    return mark;
}

inline std::string
Begin(uint64_t commit_lsn) {
    return "B " + std::to_string(commit_lsn);
}

inline std::string
Commit(uint64_t commit_lsn, uint64_t end_lsn) {
    return "C " + std::to_string(commit_lsn) + " " + std::to_string(end_lsn);
}

// Counts the messages it is shown; an insert's text is the only value of its tuple.
class FakeDecoder : public ChangeDecoder {
  public:
    void
    Decode(Lsn, std::string_view payload, Change &change) override {
        ++decoded;
        const TransactionMark mark = MarkFake(payload);
        change.commit_lsn = mark.commit_lsn;
        change.end_lsn = mark.end_lsn;
        if (mark.kind == TransactionMark::Kind::kBegin) {
            change.kind = ChangeKind::kBegin;
        } else if (mark.kind == TransactionMark::Kind::kCommit) {
            change.kind = ChangeKind::kCommit;
        } else if (payload.starts_with("I ")) {
            change.kind = ChangeKind::kInsert;
            change.new_tuple = {{ValueKind::kText, payload.substr(2)}};
        } else if (payload.starts_with("M ")) {
            change.kind = ChangeKind::kIgnored;
        } else {
            throw Error(sqlstate::kProtocolViolation, "unknown message");
        }
    }

    int decoded = 0;
};

class SpoolFixture : public ::testing::Test {
  protected:
    SpoolFixture() {
        std::string name = ::testing::TempDir() + "livemigrate_spool_XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) { // mode 0700
            throw std::runtime_error("no temporary directory");
        }
        directory_ = name;
        for (size_t i = 0; i < identity_.token.size(); ++i) {
            identity_.token[i] = static_cast<uint8_t>(0xa0 + i);
        }
        identity_.system_identifier = 7123456789012345678;
        identity_.plugin = Plugin::kWal2json;
    }
    ~SpoolFixture() override { std::filesystem::remove_all(directory_); }

    SpoolOptions
    Options() const {
        SpoolOptions options;
        options.directory = directory_;
        options.identity = identity_;
        options.create = true;
        options.segment_size = segment_size_;
        options.compress = compress_;
        options.mark_transaction = MarkFake;
        return options;
    }

    std::string
    Path(uint64_t segment) const {
        return directory_ + "/" + SegmentName(segment);
    }

    std::string
    ReadFile(uint64_t segment) const {
        std::ifstream file(Path(segment), std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    void
    WriteFile(uint64_t segment, std::string_view bytes) const {
        std::ofstream file(Path(segment), std::ios::binary | std::ios::trunc);
        file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    }

    uint64_t
    CountSegments() const {
        return static_cast<uint64_t>(std::distance(std::filesystem::directory_iterator(directory_),
                                                   std::filesystem::directory_iterator()));
    }

    // "B 10", "reset" or "position 20" for each record up to `limit`.
    std::vector<std::string>
    ReadAll(SpoolPosition limit, SpoolPosition from = {}) const {
        SpoolReader reader(directory_, identity_, from);
        std::vector<std::string> records;
        SpoolRecord record;
        while (reader.Next(limit, record)) {
            records.push_back(Describe(record));
        }
        return records;
    }
    std::vector<std::string>
    ReadAll() const {
        return ReadAll(ScanEnd(directory_, identity_));
    }

    static std::string
    Describe(const SpoolRecord &record) {
        switch (record.kind) {
        case RecordKind::kMessage:
            return std::string(record.payload);
        case RecordKind::kReset:
            return "reset";
        case RecordKind::kPosition:
            return "position " + std::to_string(record.lsn.value);
        case RecordKind::kBlock:
            break;
        }
        return "unknown";
    }

    // A transaction of `rows` inserts, its commit record from commit_lsn to end_lsn.
    static void
    AppendTransaction(SpoolWriter &writer, uint64_t commit_lsn, uint64_t end_lsn, int rows = 1) {
        writer.Append(Lsn{commit_lsn}, Begin(commit_lsn));
        for (int row = 0; row < rows; ++row) {
            writer.Append(Lsn{commit_lsn}, "I row " + std::to_string(row));
        }
        writer.Append(Lsn{commit_lsn}, Commit(commit_lsn, end_lsn));
    }

    // The SQLSTATE that `action` throws, or "none".
    template <typename Action>
    static std::string
    Sqlstate(Action &&action) {
        try {
            action();
        } catch (const Error &error) {
            return error.sqlstate();
        }
        return "none";
    }

    std::string directory_;
    SpoolIdentity identity_;
    uint64_t segment_size_ = 64 << 20;
    bool compress_ = false;
};

} // namespace livemigrate
