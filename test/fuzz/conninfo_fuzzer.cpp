// Redaction of connection strings: any bytes are survived, what comes out is not changed by a
// second pass, and a properly written password never remains.
#include "core/conninfo.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

namespace {

void
Require(bool condition) {
    if (!condition) {
        std::abort();
    }
}

std::string
QuotedValue(std::string_view password) {
    std::string quoted = "'";
    for (char byte : password) {
        if (byte == '\'' || byte == '\\') {
            quoted += '\\';
        }
        quoted += byte;
    }
    return quoted + "'";
}

std::string
PercentEncoded(std::string_view password) {
    std::string encoded;
    for (char byte : password) {
        const auto value = static_cast<unsigned char>(byte);
        encoded += '%';
        encoded += "0123456789ABCDEF"[value >> 4];
        encoded += "0123456789abcdef"[value & 0xf];
    }
    return encoded;
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    using livemigrate::RedactConninfo;
    const std::string_view text(reinterpret_cast<const char *>(data), size);

    for (const std::string &conninfo : {std::string(text), "postgresql://" + std::string(text)}) {
        const std::string redacted = RedactConninfo(conninfo);
        Require(redacted.size() <= conninfo.size());
        Require(RedactConninfo(redacted) == redacted);
    }
    if (text.find('\0') == text.npos) {
        Require(RedactConninfo("host=h password=" + QuotedValue(text) + " port=1") ==
                "host=h port=1");
        const std::string encoded = PercentEncoded(text);
        Require(RedactConninfo("postgresql://u:" + encoded + "@h?port=1&password=" + encoded) ==
                "postgresql://u@h?port=1");
    }
    return 0;
}
