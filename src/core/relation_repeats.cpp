#include "core/relation_repeats.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

namespace livemigrate {

namespace {

// Where a pgoutput message (outside streamed transactions) names relations: behind the type byte,
// for Truncate behind the number of relations and the options.
constexpr size_t kRelationAt = 1;
constexpr size_t kTruncateRelationsAt = 6;
// Inside a chunk a transaction id comes before that.
constexpr size_t kXidSize = sizeof(uint32_t);

// A message too short to have it is the decoder's to complain about.
std::optional<uint32_t>
ReadU32(std::string_view payload, size_t at) {
    if (payload.size() < at + sizeof(uint32_t)) {
        return std::nullopt;
    }
    uint32_t value;
    std::memcpy(&value, payload.data() + at, sizeof(value));
    return std::endian::native == std::endian::big ? value : __builtin_bswap32(value);
}

bool
IsDescription(std::string_view payload) {
    return payload.starts_with('R') && payload.size() >= kRelationAt + sizeof(uint32_t);
}

} // namespace

void
RelationRepeats::Clear() {
    descriptions_.clear();
    streamed_.clear();
    last_description_ = nullptr;
}

void
RelationRepeats::Remember(std::string_view payload) {
    if (plugin_ == Plugin::kPgoutput && IsDescription(payload)) {
        Store(payload, 0);
    }
}

void
RelationRepeats::Store(std::string_view payload, uint64_t segment) {
    descriptions_[*ReadU32(payload, kRelationAt)] = {std::string(payload), segment, ++described_};
}

void
RelationRepeats::RememberStreamed(uint32_t xid, std::string_view payload) {
    if (plugin_ != Plugin::kPgoutput || !payload.starts_with('R')) {
        return;
    }
    if (const auto relation = ReadU32(payload, kRelationAt + kXidSize)) {
        // As it stands outside a chunk.
        std::string plain = "R" + std::string(payload.substr(kRelationAt + kXidSize));
        streamed_[xid][*relation] = {std::move(plain), 0, ++described_};
    }
}

void
RelationRepeats::StreamCommitted(uint32_t xid) {
    const auto found = streamed_.find(xid);
    if (found == streamed_.end()) {
        return;
    }
    for (auto &[relation, description] : found->second) {
        Description &known = descriptions_[relation];
        if (known.number < description.number) {
            known = std::move(description);
        }
    }
    streamed_.erase(found);
}

void
RelationRepeats::StreamAborted(uint32_t xid) {
    streamed_.erase(xid);
}

const std::vector<std::string_view> &
RelationRepeats::Missing(std::string_view payload, uint64_t segment) {
    missing_.clear();
    VisitUsed(payload, [&](Description &description) {
        const std::string_view text = description.payload;
        if (description.segment != segment &&
            std::find(missing_.begin(), missing_.end(), text) == missing_.end()) {
            missing_.push_back(text);
        }
    });
    return missing_;
}

void
RelationRepeats::Written(std::string_view payload, uint64_t segment) {
    if (plugin_ == Plugin::kPgoutput && IsDescription(payload)) {
        Store(payload, segment);
    }
    if (!missing_.empty()) {
        VisitUsed(payload, [&](Description &description) { description.segment = segment; });
    }
}

// Calls visit(Description &) for each known relation that `payload` has changes of.
template <typename Visit>
void
RelationRepeats::VisitUsed(std::string_view payload, Visit &&visit) {
    if (plugin_ != Plugin::kPgoutput || payload.empty()) {
        return;
    }
    size_t first = kRelationAt;
    size_t count = 1;
    switch (payload.front()) {
    case 'I':
    case 'U':
    case 'D':
        break;
    case 'T':
        first = kTruncateRelationsAt;
        count = ReadU32(payload, kRelationAt).value_or(0);
        break;
    default:
        return;
    }
    for (size_t i = 0; i < count; ++i) {
        const auto relation = ReadU32(payload, first + i * sizeof(uint32_t));
        if (!relation) {
            return;
        }
        if (Description *description = Find(*relation)) {
            visit(*description);
        }
    }
}

RelationRepeats::Description *
RelationRepeats::Find(uint32_t relation) {
    if (last_description_ == nullptr || last_relation_ != relation) {
        const auto found = descriptions_.find(relation);
        if (found == descriptions_.end()) {
            return nullptr;
        }
        last_relation_ = relation;
        last_description_ = &found->second;
    }
    return last_description_;
}

} // namespace livemigrate
