#include "core/spool_reader.hpp"

#include "core/error.hpp"
#include "core/interrupt_check.hpp"

#include <utility>

namespace livemigrate {

namespace {

// Of a segment listed, which a prune may remove before it is opened.
constexpr int kOpenAttempts = 5;

} // namespace

SpoolReader::SpoolReader(std::string directory, const SpoolIdentity &identity, SpoolPosition from)
    : directory_(std::move(directory)), identity_(identity), position_(from) {}

bool
SpoolReader::Next(SpoolPosition limit, SpoolRecord &record) {
    if (!segment_) {
        if (limit.segment == 0) {
            return false;
        }
        OpenFirst();
    }
    while (segment_->segment() <= limit.segment) {
        const bool complete = segment_->segment() < limit.segment;
        if (complete && complete_size_ == 0) {
            complete_size_ = segment_->file().Size();
        }
        switch (segment_->Next(complete ? complete_size_ : limit.offset, record)) {
        case SegmentReader::Result::kRecord:
            position_.offset = segment_->offset();
            return true;
        case SegmentReader::Result::kDamaged:
            if (const uint64_t size = segment_->file().Size(); !complete && size < limit.offset) {
                ThrowCutOff(size);
            }
            ThrowDamaged();
        case SegmentReader::Result::kEnd:
            if (!complete) {
                return false;
            }
            OpenNext();
        }
    }
    return false;
}

void
SpoolReader::Rewind(SpoolPosition position) {
    if (!segment_ || segment_->segment() != position.segment) {
        Open(position.segment);
    }
    segment_->Seek(position.offset);
    position_ = position;
}

void
SpoolReader::OpenFirst() {
    const SpoolPosition from = position_;
    if (from.segment != 0) {
        Open(from.segment);
    }
    for (int attempt = 1; !segment_; ++attempt) {
        const std::vector<uint64_t> segments = directory_.Segments();
        if (segments.empty()) {
            throw Error(sqlstate::kDataCorrupted,
                        "spool directory \"" + directory_.path() + "\" holds no segment");
        }
        if (!TryOpen(segments.front()) && attempt == kOpenAttempts) {
            ThrowMissing(segments.front());
        }
    }
    if (from.offset > kSegmentHeaderSize) {
        segment_->Seek(from.offset);
        position_.offset = from.offset;
    } else {
        began_inside_transaction_ = segment_->header().in_transaction;
    }
}

bool
SpoolReader::TryOpen(uint64_t segment) {
    std::optional<File> file = directory_.OpenForReading(segment);
    if (!file) {
        return false;
    }
    SegmentReader reader(std::move(*file), segment);
    reader.Require(identity_);
    segment_ = std::move(reader);
    position_ = {segment, kSegmentHeaderSize};
    complete_size_ = 0;
    return true;
}

void
SpoolReader::Open(uint64_t segment) {
    if (!TryOpen(segment)) {
        ThrowMissing(segment);
    }
}

void
SpoolReader::OpenNext() {
    const uint64_t end = segment_->offset();
    const std::string path = segment_->file().path();
    Open(segment_->segment() + 1);
    if (segment_->header().previous_size != end) {
        throw Error(sqlstate::kDataCorrupted,
                    "spool segment \"" + path + "\" is damaged at offset " + std::to_string(end))
            .Detail("It ended at " + std::to_string(segment_->header().previous_size) +
                    " when the next segment was begun.")
            .Hint(kDamageHint);
    }
}

void
SpoolReader::ThrowMissing(uint64_t segment) const {
    throw Error(sqlstate::kDataCorrupted,
                "spool segment \"" + directory_.SegmentPath(segment) + "\" is missing")
        .Hint(kDamageHint);
}

// By the writer, whose error says why and stops the migration: this one must not come before it.
void
SpoolReader::ThrowCutOff(uint64_t size) const {
    throw Error(sqlstate::kSerializationFailure, "spool segment \"" + segment_->file().path() +
                                                     "\" has been cut off at offset " +
                                                     std::to_string(size))
        .Detail("After a sync that failed, what is in doubt is taken out, and the source sends it "
                "again; if something else has cut the file, the receiver says so.")
        .Hint(kDamageHint);
}

void
SpoolReader::ThrowDamaged() const {
    throw Error(sqlstate::kDataCorrupted, "spool segment \"" + segment_->file().path() +
                                              "\" is damaged at offset " +
                                              std::to_string(segment_->offset()))
        .Detail("No intact record begins there.")
        .Hint(kDamageHint);
}

SpoolPosition
ScanEnd(const std::string &directory, const SpoolIdentity &identity, void (*check_interrupts)()) {
    const SpoolDirectory spool(directory);
    std::vector<uint64_t> segments = spool.Segments();
    for (; !segments.empty(); segments.pop_back()) {
        std::optional<File> file = spool.OpenForReading(segments.back());
        if (!file) {
            continue;
        }
        SegmentReader reader(std::move(*file), segments.back());
        if (reader.IsTornCreation()) {
            continue;
        }
        reader.Require(identity);
        const uint64_t size = reader.file().Size();
        InterruptCheck check(check_interrupts);
        SpoolRecord record;
        while (reader.Next(size, record) == SegmentReader::Result::kRecord) {
            check.Step(record.payload.size());
        }
        return {reader.segment(), reader.offset()};
    }
    return {};
}

} // namespace livemigrate
