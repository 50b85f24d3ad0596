#include "core/message_check.hpp"

#include "core/byte_reader.hpp"
#include "core/wal2json_transaction.hpp"

#include <string>

namespace livemigrate {

namespace {

// Before the first value of a pgoutput row stand its type, relation, kind of tuple and number of
// columns; {"action":"I" is what every row of wal2json begins with.
constexpr size_t kShownOfPgoutput = 8;
constexpr size_t kShownOfWal2json = 13;

[[noreturn]] void
ThrowMalformed(const char *message) {
    throw Error(sqlstate::kProtocolViolation, message);
}

void
CheckTuple(ByteReader &reader) {
    for (size_t left = reader.ReadU16(); left > 0; left--) {
        switch (reader.ReadU8()) {
        case 'n':
        case 'u':
            break;
        case 't':
        case 'b':
            reader.ReadBytes(reader.ReadU32());
            break;
        default:
            ThrowMalformed("tuple has an unknown kind of value");
        }
    }
}

// An Insert, Update or Delete, behind the type.
void
CheckRow(ByteReader &reader, char type) {
    reader.ReadU32(); // relation
    uint8_t kind = reader.ReadU8();
    if (type != 'I' && (kind == 'K' || kind == 'O')) {
        CheckTuple(reader);
        kind = type == 'U' ? reader.ReadU8() : 'N';
    } else if (type == 'D') {
        ThrowMalformed("delete message lacks the old tuple");
    }
    if (kind != 'N') {
        ThrowMalformed("row message lacks the new tuple");
    }
    if (type != 'D') {
        CheckTuple(reader);
    }
    reader.ExpectEnd();
}

void
CheckTruncate(ByteReader &reader) {
    const size_t relations = reader.ReadU32();
    reader.ReadU8(); // options
    reader.ReadBytes(relations * sizeof(uint32_t));
    reader.ExpectEnd();
}

void
CheckRelation(ByteReader &reader) {
    reader.ReadU32(); // its OID
    reader.ReadCString();
    reader.ReadCString();
    reader.ReadU8(); // replica identity
    for (size_t left = reader.ReadU16(); left > 0; left--) {
        reader.ReadU8(); // flags
        reader.ReadCString();
        reader.ReadU32(); // type
        reader.ReadU32(); // modifier
    }
    reader.ExpectEnd();
}

void
CheckPgoutput(std::string_view payload, bool in_chunk) {
    ByteReader reader(payload);
    const uint8_t type = reader.ReadU8();
    switch (type) {
    case 'B':
    case 'C':
    case 'S':
    case 'E':
    case 'c':
    case 'A':
    case 'O':
        return;
    case 'I':
    case 'U':
    case 'D':
    case 'T':
    case 'R':
    case 'Y':
    case 'M':
        break;
    default:
        ThrowMalformed("unknown pgoutput message type");
    }
    if (in_chunk) {
        reader.ReadU32(); // transaction id
    }
    if (type == 'I' || type == 'U' || type == 'D') {
        CheckRow(reader, static_cast<char>(type));
    } else if (type == 'T') {
        CheckTruncate(reader);
    } else if (type == 'R') {
        CheckRelation(reader);
    }
}

void
CheckWal2json(std::string_view payload) {
    const char action = Wal2jsonAction(payload);
    if (action == 0) {
        ThrowMalformed("wal2json message does not begin with its action");
    }
    if (std::string_view("BCIUDTM").find(action) == std::string_view::npos) {
        ThrowMalformed("unknown wal2json action");
    }
    // wal2json writes nothing behind its object; blanks are what the decoder takes, too.
    const size_t last = payload.find_last_not_of(" \t\r\n");
    if (payload[last] != '}') {
        ThrowMalformed("wal2json message is truncated");
    }
}

} // namespace

void
CheckMessage(Plugin plugin, std::string_view payload, bool in_chunk) {
    if (plugin == Plugin::kPgoutput) {
        CheckPgoutput(payload, in_chunk);
    } else {
        CheckWal2json(payload);
    }
}

Error
WithMessage(const Error &error, Plugin plugin, Lsn lsn, std::string_view payload) {
    const size_t shown = plugin == Plugin::kPgoutput ? kShownOfPgoutput : kShownOfWal2json;
    return Error(error.sqlstate(), error.message())
        .Detail((error.detail().empty() ? "" : error.detail() + " ") + "The " +
                std::string(PluginName(plugin)) + " message at " + lsn.ToString() + " has " +
                std::to_string(payload.size()) + " bytes and begins with " +
                FirstBytes(payload, shown) + ".");
}

} // namespace livemigrate
