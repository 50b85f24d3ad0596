// Reads what COPY ... TO STDOUT (FORMAT binary) sends (PostgreSQL docs, "COPY", "Binary Format"):
// a header, rows, a trailer. The server sends each row as a message of its own, the first one
// behind the header.
//
// Errors: 08P01, as ByteReader's, for anything else.
#pragma once

#include "core/byte_reader.hpp"

#include <span>
#include <string_view>

namespace livemigrate {

class BinaryCopyReader {
  public:
    // Reads one message: a row of `values.size()` columns, none of which may be null. The values
    // point into the message. False for the trailer.
    bool ReadRow(std::string_view message, std::span<std::string_view> values);

  private:
    bool header_read_ = false;
};

} // namespace livemigrate
