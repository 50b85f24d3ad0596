// Arbitrary bytes as the segments of a spool: nothing may be read out of bounds or believed, and a
// spool that SpoolWriter has opened is one that SpoolReader reads to its end. What is applied of it
// does not depend on whether streamed transactions are surfaced early.
//
// The first byte chooses: bit 0, whether checksums are made right, without which no input would
// come beyond them; bit 1, whether the input makes two segments; the rest, where they divide.
#include "core/crc32c.hpp"
#include "core/error.hpp"
#include "core/spool_reader.hpp"
#include "core/spool_writer.hpp"
#include "core/transaction_reader.hpp"

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

using namespace livemigrate;

// Nothing here has to survive a crash of the machine.
extern "C" int
fsync(int) {
    return 0;
}

extern "C" int
fdatasync(int) {
    return 0;
}

namespace {

uint8_t
ByteAt(std::string_view payload, size_t index) {
    if (index >= payload.size()) {
        throw Error(sqlstate::kProtocolViolation, "short message");
    }
    return static_cast<uint8_t>(payload[index]);
}

// "B" commit_lsn, "C" commit_lsn end_lsn, "I" xid (a change); "s" xid first, "e", "c" xid
// commit_lsn end_lsn, "a" xid subxid (of streamed transactions): one byte each.
TransactionMark
MarkOf(std::string_view payload) {
    using Kind = TransactionMark::Kind;
    TransactionMark mark;
    switch (payload.empty() ? '\0' : payload.front()) {
    case 'B':
        mark.kind = Kind::kBegin;
        mark.commit_lsn.value = ByteAt(payload, 1);
        break;
    case 'C':
        mark.kind = Kind::kCommit;
        mark.commit_lsn.value = ByteAt(payload, 1);
        mark.end_lsn.value = ByteAt(payload, 2);
        break;
    case 's':
        mark.kind = Kind::kStreamStart;
        mark.xid = ByteAt(payload, 1) + 1U;
        mark.first_chunk = ByteAt(payload, 2) != 0;
        break;
    case 'e':
        mark.kind = Kind::kStreamStop;
        break;
    case 'c':
        mark.kind = Kind::kStreamCommit;
        mark.xid = ByteAt(payload, 1) + 1U;
        mark.commit_lsn.value = ByteAt(payload, 2);
        mark.end_lsn.value = ByteAt(payload, 3);
        break;
    case 'a':
        mark.kind = Kind::kStreamAbort;
        mark.xid = ByteAt(payload, 1) + 1U;
        mark.subxid = ByteAt(payload, 2) + 1U;
        break;
    default:
        break;
    }
    return mark;
}

class Decoder : public ChangeDecoder {
  public:
    void
    Decode(Lsn lsn, std::string_view payload, Change &change) override {
        const TransactionMark mark = MarkOf(payload);
        change.commit_lsn = mark.commit_lsn;
        change.end_lsn = mark.end_lsn;
        change.xid = payload.size() > 1 ? ByteAt(payload, 1) + 1U : 0;
        change.commit_time = static_cast<int64_t>(lsn.value); // tells one change from another
        change.kind = mark.kind == TransactionMark::Kind::kBegin    ? ChangeKind::kBegin
                      : mark.kind == TransactionMark::Kind::kCommit ? ChangeKind::kCommit
                      : payload.starts_with('I')                    ? ChangeKind::kInsert
                                                                    : ChangeKind::kIgnored;
    }
    TransactionMark
    MarkStreamed(std::string_view payload) const override {
        const bool streamed = !payload.empty() && payload.front() != '\0' &&
                              std::strchr("seca", payload.front()) != nullptr;
        return streamed ? MarkOf(payload) : TransactionMark{};
    }
};

class Directory {
  public:
    Directory() : path_("/dev/shm/livemigrate_fuzz_XXXXXX") {
        if (::mkdtemp(path_.data()) == nullptr) {
            path_ = "/tmp/livemigrate_fuzz_XXXXXX";
            if (::mkdtemp(path_.data()) == nullptr) {
                std::abort();
            }
        }
    }
    ~Directory() { RemoveSpool(path_); }

    void
    Clear() const {
        const SpoolDirectory directory(path_);
        for (uint64_t segment = 1; segment <= 4; ++segment) {
            directory.Remove(segment);
        }
    }

    void
    Write(uint64_t segment, std::string_view bytes) const {
        SpoolDirectory(path_).Create(segment).WriteAt(0, bytes);
    }

    const std::string &
    path() const {
        return path_;
    }

  private:
    std::string path_;
};

// Keeps what the bytes say of lengths, kinds, LSNs and payloads.
void
MakeChecksumsRight(std::string &bytes, SegmentHeader header) {
    if (bytes.size() < kSegmentHeaderSize) {
        return;
    }
    header.in_transaction = (bytes[0] & 1) != 0;
    header.blocks = (bytes[0] & 2) != 0;
    header.base_lsn.value = static_cast<uint8_t>(bytes[1]);
    const SegmentHeaderBytes head = EncodeSegmentHeader(header);
    std::memcpy(bytes.data(), head.data(), head.size());
    size_t at = kSegmentHeaderSize;
    while (bytes.size() - at >= kRecordHeaderSize) {
        const RecordHeader record = DecodeRecordHeader(bytes.data() + at);
        if (record.length > bytes.size() - at - kRecordHeaderSize) {
            return;
        }
        const std::string_view payload(bytes.data() + at + kRecordHeaderSize, record.length);
        EncodeRecordHeader(RecordSeed(head), at, static_cast<RecordKind>(record.kind), record.lsn,
                           payload, bytes.data() + at);
        at += kRecordHeaderSize + record.length;
    }
}

void
ReadRecords(const Directory &directory, const SpoolIdentity &identity, SpoolPosition limit) {
    SpoolReader reader(directory.path(), identity);
    SpoolRecord record;
    while (reader.Next(limit, record)) {
        Crc32c(record.payload); // reads every byte
    }
}

enum class Early { kNever, kAccept, kDecline };

// What is applied, as a text; nothing if the stream is malformed.
std::optional<std::string>
Applied(const Directory &directory, const SpoolIdentity &identity, SpoolPosition limit,
        uint64_t start_after, Early early) {
    using Step = TransactionReader::Step;
    std::string applied;
    std::string open;
    try {
        SpoolReader reader(directory.path(), identity);
        Decoder decoder;
        TransactionReader transactions(reader, decoder, Lsn{start_after});
        transactions.AllowEarly(early != Early::kNever);
        Change change;
        for (;;) {
            const Step step = transactions.Next(limit, change);
            if (step == Step::kNothing) {
                return applied;
            }
            const bool declined = step == Step::kCommitEarly && early == Early::kDecline;
            if (step == Step::kChange) {
                open += std::to_string(change.commit_time) + ",";
            } else if (declined) {
                transactions.DropEarly();
            } else if (step == Step::kCommitEarly) {
                transactions.AcceptEarly();
            }
            if (!declined && (step == Step::kCommit || step == Step::kCommitEarly)) {
                applied += open + "commit " + std::to_string(change.end_lsn.value) + ";";
            }
            if (step != Step::kChange) {
                open.clear();
            }
        }
    } catch (const Error &) {
        return std::nullopt;
    }
}

void
ReadTransactions(const Directory &directory, const SpoolIdentity &identity, SpoolPosition limit) {
    for (const uint64_t start_after : {0, 100}) {
        const auto without = Applied(directory, identity, limit, start_after, Early::kNever);
        for (const Early early : {Early::kAccept, Early::kDecline}) {
            const auto with = Applied(directory, identity, limit, start_after, early);
            if (without && with && *without != *with) {
                std::fprintf(stderr, "applied %s, early %s\n", without->c_str(), with->c_str());
                std::abort();
            }
        }
    }
}

template <typename Action>
bool
Succeeds(Action &&action) {
    try {
        action();
    } catch (const Error &) {
        return false;
    }
    return true;
}

void
OpenAndAppend(const Directory &directory, const SpoolIdentity &identity, bool compress) {
    SpoolOptions options;
    options.directory = directory.path();
    options.identity = identity;
    options.create = true;
    options.segment_size = 4096;
    options.compress = compress;
    options.mark_transaction = MarkOf;
    SpoolPosition end;
    const bool opened = Succeeds([&] {
        SpoolWriter writer(options);
        writer.Append(Lsn{1}, "B\xfe");
        writer.Append(Lsn{1}, std::string(compress ? 1000 : 1, 'I'));
        writer.Append(Lsn{1}, "C\xfe\xff");
        writer.Sync();
        end = writer.written();
    });
    if (opened && (!Succeeds([&] { ReadRecords(directory, identity, end); }) ||
                   ScanEnd(directory.path(), identity) != end)) {
        std::fputs("a spool that was opened cannot be read\n", stderr);
        std::abort();
    }
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const Directory directory;
    if (size == 0) {
        return 0;
    }
    const uint8_t choice = data[0];
    const std::string_view input(reinterpret_cast<const char *>(data) + 1, size - 1);
    const size_t divide = (choice & 2) != 0 ? input.size() * (choice >> 2) / 64 : input.size();
    std::vector<std::string> segments{std::string(input.substr(0, divide))};
    if ((choice & 2) != 0) {
        segments.emplace_back(input.substr(divide));
    }

    const SpoolIdentity identity{.token = {'f', 'u', 'z', 'z'}, .system_identifier = 1};
    directory.Clear();
    SegmentHeader header{.identity = identity, .segment = 1};
    for (std::string &segment : segments) {
        if ((choice & 1) != 0) {
            MakeChecksumsRight(segment, header);
        }
        directory.Write(header.segment, segment);
        ++header.segment;
        header.previous_size = segment.size();
    }

    SpoolPosition end;
    Succeeds([&] { end = ScanEnd(directory.path(), identity); });
    const bool read = Succeeds([&] { ReadRecords(directory, identity, end); });
    if (!read && segments.size() == 1) {
        std::fputs("what was scanned cannot be read\n", stderr);
        std::abort();
    }
    Succeeds([&] { ReadRecords(directory, identity, {segments.size(), segments.back().size()}); });
    ReadTransactions(directory, identity, end);
    OpenAndAppend(directory, identity, (size & 1) != 0);
    return 0;
}
