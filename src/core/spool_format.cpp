#include "core/spool_format.hpp"

#include "core/crc32c.hpp"

#include <bit>
#include <concepts>
#include <cstring>

namespace livemigrate {

namespace {

constexpr std::string_view kMagic{"LMSPOOL\n", 8};
constexpr uint32_t kFormatVersion = 1;
constexpr uint32_t kFormatVersionWithBlocks = 2;
constexpr size_t kSegmentDigits = 16;
constexpr uint8_t kFlagInTransaction = 1;
constexpr uint8_t kFlagStreamed = 2;

// Offsets in a segment header.
constexpr size_t kVersionAt = 8;
constexpr size_t kPluginAt = 12;
constexpr size_t kFlagsAt = 13;
constexpr size_t kTokenAt = 16;
constexpr size_t kSystemIdentifierAt = 32;
constexpr size_t kSegmentAt = 40;
constexpr size_t kBaseLsnAt = 48;
constexpr size_t kPreviousSizeAt = 56;
constexpr size_t kHeaderCrcAt = 68;

// Offsets in a record header.
constexpr size_t kRecordCrcAt = 0;
constexpr size_t kLengthAt = 4;
constexpr size_t kLsnAt = 8;
constexpr size_t kKindAt = 16;

uint32_t
LittleEndian(uint32_t value) {
    return std::endian::native == std::endian::little ? value : __builtin_bswap32(value);
}

uint64_t
LittleEndian(uint64_t value) {
    return std::endian::native == std::endian::little ? value : __builtin_bswap64(value);
}

template <std::unsigned_integral T>
void
Store(char *at, T value) {
    value = LittleEndian(value);
    std::memcpy(at, &value, sizeof(value));
}

template <std::unsigned_integral T>
T
Load(const char *at) {
    T value;
    std::memcpy(&value, at, sizeof(value));
    return LittleEndian(value);
}

// Over length, LSN, kind and payload, starting from the place. A CRC never maps two starts to one
// value, so another offset is always noticed, and another segment or spool as surely as any damage.
uint32_t
RecordCrc(uint32_t seed, uint64_t offset, const char *header, std::string_view payload) {
    const uint32_t start =
        seed ^ static_cast<uint32_t>(offset) ^ static_cast<uint32_t>(offset >> 32);
    const char *covered = header + kLengthAt;
    const size_t of_header = kRecordHeaderSize - kLengthAt;
    if (payload.data() == header + kRecordHeaderSize) {
        return ExtendCrc32c(start, std::string_view(covered, of_header + payload.size()));
    }
    return ExtendCrc32c(ExtendCrc32c(start, std::string_view(covered, of_header)), payload);
}

} // namespace

std::string
SegmentName(uint64_t segment) {
    std::string name(kSegmentDigits, '0');
    for (size_t i = kSegmentDigits; i > 0; --i) {
        name[i - 1] = "0123456789abcdef"[segment & 0xf];
        segment >>= 4;
    }
    return name.append(kSegmentSuffix);
}

std::optional<uint64_t>
ParseSegmentName(std::string_view name) {
    if (name.size() != kSegmentDigits + kSegmentSuffix.size() || !name.ends_with(kSegmentSuffix)) {
        return std::nullopt;
    }
    uint64_t segment = 0;
    for (char digit : name.substr(0, kSegmentDigits)) {
        const size_t value = std::string_view("0123456789abcdef").find(digit);
        if (value == std::string_view::npos) {
            return std::nullopt;
        }
        segment = segment << 4 | value;
    }
    return segment;
}

SegmentHeaderBytes
EncodeSegmentHeader(const SegmentHeader &header) {
    SegmentHeaderBytes bytes{};
    char *at = bytes.data();
    std::memcpy(at, kMagic.data(), kMagic.size());
    Store(at + kVersionAt, header.blocks ? kFormatVersionWithBlocks : kFormatVersion);
    at[kPluginAt] = static_cast<char>(header.identity.plugin);
    at[kFlagsAt] = static_cast<char>((header.in_transaction ? kFlagInTransaction : 0) |
                                     (header.streamed ? kFlagStreamed : 0));
    std::memcpy(at + kTokenAt, header.identity.token.data(), header.identity.token.size());
    Store(at + kSystemIdentifierAt, header.identity.system_identifier);
    Store(at + kSegmentAt, header.segment);
    Store(at + kBaseLsnAt, header.base_lsn.value);
    Store(at + kPreviousSizeAt, header.previous_size);
    Store(at + kHeaderCrcAt, Crc32c(std::string_view(at, kHeaderCrcAt)));
    return bytes;
}

HeaderState
DecodeSegmentHeader(const SegmentHeaderBytes &bytes, SegmentHeader &header) {
    const char *at = bytes.data();
    if (std::string_view(at, kMagic.size()) != kMagic ||
        Load<uint32_t>(at + kHeaderCrcAt) != Crc32c(std::string_view(at, kHeaderCrcAt))) {
        return HeaderState::kDamaged;
    }
    const auto version = Load<uint32_t>(at + kVersionAt);
    if (version != kFormatVersion && version != kFormatVersionWithBlocks) {
        return HeaderState::kOtherVersion;
    }
    header.blocks = version == kFormatVersionWithBlocks;
    header.identity.plugin = static_cast<Plugin>(at[kPluginAt]);
    header.in_transaction = (at[kFlagsAt] & kFlagInTransaction) != 0;
    header.streamed = (at[kFlagsAt] & kFlagStreamed) != 0;
    std::memcpy(header.identity.token.data(), at + kTokenAt, header.identity.token.size());
    header.identity.system_identifier = Load<uint64_t>(at + kSystemIdentifierAt);
    header.segment = Load<uint64_t>(at + kSegmentAt);
    header.base_lsn.value = Load<uint64_t>(at + kBaseLsnAt);
    header.previous_size = Load<uint64_t>(at + kPreviousSizeAt);
    return HeaderState::kValid;
}

uint32_t
RecordSeed(const SegmentHeaderBytes &bytes) {
    return Load<uint32_t>(bytes.data() + kHeaderCrcAt);
}

void
EncodeRecordHeader(uint32_t seed, uint64_t offset, RecordKind kind, Lsn lsn,
                   std::string_view payload, char *out) {
    EncodeUnsealedHeader(kind, lsn, payload.size(), out);
    Store(out + kRecordCrcAt, RecordCrc(seed, offset, out, payload));
}

void
EncodeUnsealedHeader(RecordKind kind, Lsn lsn, size_t length, char *out) {
    Store(out + kRecordCrcAt, uint32_t{0});
    Store(out + kLengthAt, static_cast<uint32_t>(length));
    Store(out + kLsnAt, lsn.value);
    out[kKindAt] = static_cast<char>(kind);
}

void
SealRecord(uint32_t seed, uint64_t offset, size_t length, char *record) {
    const std::string_view payload(record + kRecordHeaderSize, length);
    Store(record + kRecordCrcAt, RecordCrc(seed, offset, record, payload));
}

RecordHeader
DecodeRecordHeader(const char *bytes) {
    return {.crc = Load<uint32_t>(bytes + kRecordCrcAt),
            .length = Load<uint32_t>(bytes + kLengthAt),
            .lsn = Lsn{Load<uint64_t>(bytes + kLsnAt)},
            .kind = static_cast<uint8_t>(bytes[kKindAt])};
}

bool
IsPlausible(const RecordHeader &header) {
    switch (static_cast<RecordKind>(header.kind)) {
    case RecordKind::kMessage:
    case RecordKind::kBlock:
        return header.length <= kMaxPayloadSize;
    case RecordKind::kReset:
    case RecordKind::kPosition:
        return header.length == 0;
    }
    return false;
}

bool
IsIntact(uint32_t seed, uint64_t offset, const char *bytes, std::string_view payload) {
    return Load<uint32_t>(bytes + kRecordCrcAt) == RecordCrc(seed, offset, bytes, payload);
}

} // namespace livemigrate
