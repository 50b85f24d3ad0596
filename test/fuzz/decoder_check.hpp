// What must hold of any payload whatever, for both decoders.
#pragma once

#include "core/change.hpp"
#include "core/error.hpp"

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

// Decodes a copy of the payload that ends where its memory ends. Only Error may be thrown, and the
// receiver's mark must agree with what the decoder finds. Returns whether it was accepted.
inline bool
DecodeAndCheck(ChangeDecoder &decoder, TransactionMark (*mark_of)(std::string_view),
               std::string_view payload, Change &change) {
    const std::unique_ptr<char[]> copy(new char[payload.size()]);
    payload.copy(copy.get(), payload.size());
    const std::string_view exact(copy.get(), payload.size());
    std::optional<TransactionMark> mark;
    try {
        mark = mark_of(exact);
    } catch (const Error &) {
    }
    bool decoded = false;
    try {
        decoder.Decode(Lsn{1}, exact, change);
        decoded = true;
        CheckChange(change);
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
