#include "spool_input.hpp"

#include "core/crc32c.hpp"
#include "core/spool_directory.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace livemigrate::fuzz {

namespace {

uint8_t
ByteAt(std::string_view payload, size_t index) {
    if (index >= payload.size()) {
        throw Error(sqlstate::kProtocolViolation, "short message");
    }
    return static_cast<uint8_t>(payload[index]);
}

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

} // namespace

SpoolPosition
MakeSpool(const uint8_t *data, size_t size) {
    const SpoolDirectory directory(kSpoolPath);
    for (const uint64_t segment : directory.Segments()) {
        directory.Remove(segment);
    }
    const uint8_t choice = data[0];
    const std::string_view input(reinterpret_cast<const char *>(data) + 1, size - 1);
    const size_t divide = (choice & 2) != 0 ? input.size() * (choice >> 2) / 64 : input.size();
    std::vector<std::string> segments{std::string(input.substr(0, divide))};
    if ((choice & 2) != 0) {
        segments.emplace_back(input.substr(divide));
    }
    SegmentHeader header{.identity = kSpoolIdentity, .segment = 1};
    for (std::string &segment : segments) {
        if ((choice & 1) != 0) {
            MakeChecksumsRight(segment, header);
        }
        directory.Create(header.segment).WriteAt(0, segment);
        ++header.segment;
        header.previous_size = segment.size();
    }
    return {segments.size(), segments.back().size()};
}

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

void
Decoder::Decode(Lsn lsn, std::string_view payload, Change &change) {
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
Decoder::MarkStreamed(std::string_view payload) const {
    const bool streamed = !payload.empty() && payload.front() != '\0' &&
                          std::strchr("seca", payload.front()) != nullptr;
    return streamed ? MarkOf(payload) : TransactionMark{};
}

void
ReadRecords(SpoolPosition limit) {
    SpoolReader reader(kSpoolPath, kSpoolIdentity);
    SpoolRecord record;
    while (reader.Next(limit, record)) {
        Crc32c(record.payload); // reads every byte
    }
}

void
Fail(const char *what) {
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

} // namespace livemigrate::fuzz
