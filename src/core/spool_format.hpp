// The bytes of the spool: segment names, segment headers, records. doc/spool_format.md has the
// grammar and the reasons.
//
// All integers are little-endian. Offsets and lengths are in bytes.
#pragma once

#include "core/lsn.hpp"
#include "core/output_plugin.hpp"

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace livemigrate {

// A place in the spool: a byte of a segment file. Segments are numbered from 1, so the default is
// "nowhere", which lies before every place.
struct SpoolPosition {
    uint64_t segment = 0;
    uint64_t offset = 0;

    friend constexpr auto operator<=>(const SpoolPosition &, const SpoolPosition &) = default;
};

// Whose changes a spool holds. Every segment carries it, and a table of the target holds it too: a
// spool that came with a clone or an old backup does not match and is refused.
struct SpoolIdentity {
    std::array<uint8_t, 16> token{}; // random, made with the migration's spool
    uint64_t system_identifier = 0;  // of the source
    Plugin plugin = Plugin::kPgoutput;

    friend bool operator==(const SpoolIdentity &, const SpoolIdentity &) = default;
};

enum class RecordKind : uint8_t {
    kMessage = 1,  // a payload of the output plugin, unchanged
    kReset = 2,    // the transaction that is open comes again from its beginning: forget it
    kPosition = 3, // between transactions: everything that commits before the LSN has been received
    kBlock = 4,    // some of the others, compressed (core/spool_block); not in every segment
};

inline constexpr std::string_view kSegmentSuffix = ".spool";
inline constexpr size_t kSegmentHeaderSize = 72;
inline constexpr size_t kRecordHeaderSize = 17;
// What StringInfo can hold on the source, rounded up. A longer length is damage, not data.
inline constexpr uint32_t kMaxPayloadSize = 0x7fffffff - kRecordHeaderSize;

struct SegmentHeader {
    SpoolIdentity identity{};
    uint64_t segment = 0;
    // What the stream was at when the segment was begun: the end of the last whole transaction, and
    // whether the first record continues another.
    Lsn base_lsn{};
    bool in_transaction = false;
    // Whether streamed transactions were open that may end in this segment or later.
    bool streamed = false;
    // Whether there may be blocks: format version 2, and 1 otherwise.
    bool blocks = false;
    // Where the segment before ends, so that a file cut short is noticed; 0 for the first.
    uint64_t previous_size = 0;
};

struct RecordHeader {
    uint32_t crc = 0;
    uint32_t length = 0;
    Lsn lsn;
    uint8_t kind = 0; // a RecordKind if the record is intact
};

// "000000000000002a.spool"; and back, nothing for any other name.
std::string SegmentName(uint64_t segment);
std::optional<uint64_t> ParseSegmentName(std::string_view name);

using SegmentHeaderBytes = std::array<char, kSegmentHeaderSize>;
SegmentHeaderBytes EncodeSegmentHeader(const SegmentHeader &header);

enum class HeaderState : uint8_t { kValid, kDamaged, kOtherVersion };
HeaderState DecodeSegmentHeader(const SegmentHeaderBytes &bytes, SegmentHeader &header);

// What every record CRC of a segment starts from: the header's CRC. So a record counts only in the
// segment, and in the spool, that it was written for.
uint32_t RecordSeed(const SegmentHeaderBytes &bytes);

// Writes kRecordHeaderSize bytes for a record at `offset`. payload.size() <= kMaxPayloadSize.
void EncodeRecordHeader(uint32_t seed, uint64_t offset, RecordKind kind, Lsn lsn,
                        std::string_view payload, char *out);

// The same for a record that will stand in a block, which has the checksum, or that SealRecord will
// complete. `length` is the payload's.
void EncodeUnsealedHeader(RecordKind kind, Lsn lsn, size_t length, char *out);

// Makes a record of one that is unsealed: header at `record`, payload behind it.
void SealRecord(uint32_t seed, uint64_t offset, size_t length, char *record);

// Reads kRecordHeaderSize bytes and believes nothing yet.
RecordHeader DecodeRecordHeader(const char *bytes);

// Whether the header alone can be that of a record: worth reading `length` bytes for.
bool IsPlausible(const RecordHeader &header);

// Whether the CRC confirms header and payload; `bytes` is the start of the record.
bool IsIntact(uint32_t seed, uint64_t offset, const char *bytes, std::string_view payload);

} // namespace livemigrate
