// Feeds a stream of messages to one Wal2jsonDecoder, and the same with a blank behind each message
// to another one: a blank keeps a row from the scanner, so the JSON parser must come to the same
// result by itself.
#include "core/wal2json_decoder.hpp"

#include "core/wal2json_transaction.hpp"
#include "decoder_check.hpp"
#include "wal2json_lines.hpp"

#include <string>

namespace livemigrate::fuzz {

bool
SameTuple(const Tuple &a, const Tuple &b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto &x, const auto &y) {
        return x.kind == y.kind && x.data == y.data;
    });
}

bool
SameRelation(const RemoteRelation &a, const RemoteRelation &b) {
    return a.schema == b.schema && a.name == b.name && a.columns == b.columns;
}

void
CheckSame(const Change &a, const Change &b) {
    Require(a.kind == b.kind);
    if (a.kind == ChangeKind::kTruncate) {
        Require(SameRelation(*a.truncated.at(0), *b.truncated.at(0)));
        return;
    }
    Require(SameRelation(*a.relation, *b.relation));
    Require(SameTuple(a.old_tuple, b.old_tuple));
    Require(SameTuple(a.new_tuple, b.new_tuple));
    Require(a.old_tuple_is_full == b.old_tuple_is_full);
}

bool
Accepts(ChangeDecoder &decoder, std::string_view payload, Change &change) {
    try {
        decoder.Decode(Lsn{1}, payload, change);
        return true;
    } catch (const Error &) {
        return false;
    }
}

// False once a message was refused: what the two remember of its columns may differ.
bool
CompareWithParser(ChangeDecoder &scanner, ChangeDecoder &parser, std::string_view payload) {
    const char action = Wal2jsonAction(payload);
    if (action == 0 || std::string_view("IUDT").find(action) == std::string_view::npos) {
        return true;
    }
    Change scanned;
    Change parsed;
    const std::string with_blank = std::string(payload) + " ";
    const bool accepted = Accepts(scanner, payload, scanned);
    Require(Accepts(parser, with_blank, parsed) == accepted);
    if (accepted) {
        CheckSame(scanned, parsed);
    }
    return accepted;
}

} // namespace livemigrate::fuzz

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    using namespace livemigrate;
    Wal2jsonDecoder scanner(fuzz::IsFullIdentity);
    Wal2jsonDecoder parser(fuzz::IsFullIdentity);
    fuzz::ForEachLine(data, size, [&](std::string_view payload) {
        return fuzz::CompareWithParser(scanner, parser, payload);
    });
    return 0;
}
