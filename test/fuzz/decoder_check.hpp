// What must hold of any payload whatever, for both decoders.
#pragma once

#include "core/change.hpp"
#include "core/error.hpp"
#include "core/message_check.hpp"

#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>

namespace livemigrate::fuzz {

inline void
Require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

// Reads every byte that the change refers to, so that AddressSanitizer sees a stray view.
inline void
CheckTuple(const Tuple &tuple, const Change &change) {
    Require(tuple.empty() || tuple.size() == change.relation->columns.size());
    volatile unsigned sum = 0;
    for (const ColumnValue &value : tuple) {
        const bool has_data = value.kind == ValueKind::kText || value.kind == ValueKind::kBinary;
        Require(has_data || value.data.empty());
        for (const char byte : value.data) {
            sum = sum + static_cast<unsigned char>(byte);
        }
    }
}

inline void
CheckChange(const Change &change) {
    switch (change.kind) {
    case ChangeKind::kInsert:
        Require(change.old_tuple.empty() && !change.old_tuple_is_full);
        break;
    case ChangeKind::kUpdate:
        break;
    case ChangeKind::kDelete:
        Require(change.new_tuple.empty());
        break;
    case ChangeKind::kTruncate:
        for (const auto &relation : change.truncated) {
            Require(relation != nullptr);
        }
        return;
    case ChangeKind::kBegin:
    case ChangeKind::kCommit:
    case ChangeKind::kIgnored:
        return;
    }
    Require(change.relation != nullptr);
    CheckTuple(change.old_tuple, change);
    CheckTuple(change.new_tuple, change);
}

// A copy of a payload whose memory ends where it ends, and is freed before the next one comes.
class ExactCopy {
  public:
    explicit ExactCopy(std::string_view payload)
        : bytes_(new char[payload.size()]), size_(payload.copy(bytes_.get(), payload.size())) {}

    std::string_view
    view() const {
        return {bytes_.get(), size_};
    }

  private:
    std::unique_ptr<char[]> bytes_;
    size_t size_;
};

// A stream in which so many messages have been refused says nothing new.
inline constexpr int kManyRefusals = 2;

inline bool
PassesCheck(Plugin plugin, std::string_view payload, bool in_chunk) {
    try {
        CheckMessage(plugin, payload, in_chunk);
        return true;
    } catch (const Error &) {
        return false;
    }
}

// Only Error may be thrown, and the receiver's mark and check must agree with what the decoder
// finds. Returns whether the payload was accepted.
inline bool
DecodeAndCheck(ChangeDecoder &decoder, Plugin plugin, std::string_view payload, Change &change) {
    const ExactCopy copy(payload);
    std::optional<TransactionMark> mark;
    try {
        mark = MarkTransaction(plugin, copy.view());
    } catch (const Error &) {
    }
    bool decoded = false;
    try {
        decoder.Decode(Lsn{1}, copy.view(), change);
        decoded = true;
        CheckChange(change);
        Require(PassesCheck(plugin, copy.view(), false));
    } catch (const Error &error) {
        Require(!error.detail().empty());
    }
    using Kind = TransactionMark::Kind;
    const bool begins = decoded && change.kind == ChangeKind::kBegin;
    const bool commits = decoded && change.kind == ChangeKind::kCommit;
    Require(begins == (mark && mark->kind == Kind::kBegin));
    Require(commits == (mark && mark->kind == Kind::kCommit));
    Require(!begins || mark->commit_lsn == change.commit_lsn);
    Require(!commits || mark->end_lsn == change.end_lsn);
    return decoded;
}

} // namespace livemigrate::fuzz
