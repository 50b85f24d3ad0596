// Keeps a stream of pgoutput's binary values to types that the target can read.
//
// In binary mode pgoutput sends every type by its send function, also those whose form names OIDs
// of the source or differs from version to version. Which ones may come is known when the stream
// begins; a table may get a column of another type later.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

namespace livemigrate {

class WireTypes {
  public:
    // The source's types, by OID, and the built-in type whose binary form each one has: the type
    // itself, what a domain is made of, anyenum for an enum (its label).
    using ByOid = std::unordered_map<uint32_t, uint32_t>;

    explicit WireTypes(ByOid types) : types_(std::move(types)) {}

    struct Unknown {
        std::string relation; // schema and name
        std::string column;
        uint32_t type = 0; // the source's OID
    };

    // The payload as it is to be kept: in descriptions of relations the wire types stand in the
    // place of the columns' own, so that what is kept says how to read the values; all others are
    // as they came. Valid until the next call, or as long as the payload. Throws Unknown where a
    // column's type is not known, Error 08P01 for a malformed description.
    // REQUIRES: payloads in the order of the stream, from the start of a connection.
    std::string_view Translate(std::string_view payload);

  private:
    std::string_view TranslateRelation(std::string_view payload);

    ByOid types_;
    bool in_chunk_ = false; // of a streamed transaction
    std::string translated_;
};

} // namespace livemigrate
