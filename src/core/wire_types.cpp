#include "core/wire_types.hpp"

#include "core/byte_reader.hpp"

namespace livemigrate {

namespace {

void
PutU32(std::string &bytes, size_t offset, uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
        bytes[offset++] = static_cast<char>(value >> shift);
    }
}

} // namespace

std::string_view
WireTypes::Translate(std::string_view payload) {
    if (payload.empty()) {
        return payload;
    }
    switch (payload[0]) {
    case 'R':
        return TranslateRelation(payload);
    case 'S':
        in_chunk_ = true;
        return payload;
    case 'E':
        in_chunk_ = false;
        return payload;
    default:
        return payload;
    }
}

std::string_view
WireTypes::TranslateRelation(std::string_view payload) {
    ByteReader reader(payload);
    reader.ReadU8();
    if (in_chunk_) {
        reader.ReadU32(); // transaction
    }
    reader.ReadU32(); // relation
    const std::string_view schema = reader.ReadCString();
    const std::string_view name = reader.ReadCString();
    reader.ReadU8(); // replica identity
    translated_ = payload;
    for (uint16_t columns = reader.ReadU16(); columns > 0; columns--) {
        reader.ReadU8(); // flags
        const std::string_view column = reader.ReadCString();
        const size_t offset = reader.offset();
        const uint32_t type = reader.ReadU32();
        reader.ReadU32(); // modifier
        const auto found = types_.find(type);
        if (found == types_.end()) {
            throw Unknown{std::string(schema) + "." + std::string(name), std::string(column), type};
        }
        PutU32(translated_, offset, found->second);
    }
    reader.ExpectEnd();
    return translated_;
}

} // namespace livemigrate
