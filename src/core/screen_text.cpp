#include "core/screen_text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace livemigrate {

namespace {

struct Character {
    std::string_view bytes;
    uint32_t code = 0; // 0 for a control character or a malformed byte
};

// The length its first byte announces; 1 for what cannot be one.
size_t
SequenceLength(unsigned char first) {
    if (first >= 0xf0) {
        return first <= 0xf4 ? 4 : 1;
    }
    if (first >= 0xe0) {
        return 3;
    }
    return first >= 0xc2 ? 2 : 1;
}

Character
NextCharacter(std::string_view text) {
    const auto first = static_cast<unsigned char>(text[0]);
    if (first < 0x80) {
        const bool control = first < 0x20 || first == 0x7f;
        return {text.substr(0, 1), control ? 0U : first};
    }
    const size_t length = SequenceLength(first);
    if (length == 1 || length > text.size()) {
        return {text.substr(0, 1), 0};
    }
    uint32_t code = first & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte & 0xc0) != 0x80) {
            return {text.substr(0, 1), 0};
        }
        code = code << 6 | (byte & 0x3f);
    }
    const bool control =
        code < 0xa0 || (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return {text.substr(0, length), control ? 0 : code};
}

size_t
WidthOf(uint32_t code) {
    const bool wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) ||
                      (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) ||
                      (code >= 0xfe30 && code <= 0xfe6f) || (code >= 0xff00 && code <= 0xff60) ||
                      (code >= 0x1f300 && code <= 0x1faff) || (code >= 0x20000 && code <= 0x3fffd);
    return wide ? 2 : 1;
}

} // namespace

size_t
ColumnWidth(std::string_view text) {
    size_t width = 0;
    while (!text.empty()) {
        const Character next = NextCharacter(text);
        width += WidthOf(next.code);
        text.remove_prefix(next.bytes.size());
    }
    return width;
}

std::string
CutColumns(std::string_view text, size_t width, bool ascii) {
    std::string result;
    size_t columns = 0;
    size_t cut_at = 0; // where "~" would go
    while (!text.empty()) {
        const Character next = NextCharacter(text);
        const bool shown = next.code != 0 && (!ascii || next.code < 0x80);
        const size_t taken = shown ? WidthOf(next.code) : 1;
        if (columns + taken > width) {
            result.resize(cut_at);
            return width == 0 ? "" : result + '~';
        }
        result += shown ? next.bytes : std::string_view("?");
        columns += taken;
        if (columns < width) {
            cut_at = result.size();
        }
        text.remove_prefix(next.bytes.size());
    }
    return result;
}

std::string
FitColumns(std::string_view text, size_t width, bool ascii) {
    std::string result = CutColumns(text, width, ascii);
    const size_t columns = ColumnWidth(result);
    return result + std::string(width - std::min(width, columns), ' ');
}

std::string
ProgressBar(double done, size_t width, bool ascii) {
    const size_t cells = width > 2 ? width - 2 : 0;
    const double share = std::isfinite(done) ? std::clamp(done, 0.0, 1.0) : 0.0;
    const auto full = static_cast<size_t>(share * static_cast<double>(cells));
    std::string bar = "[";
    for (size_t i = 0; i < cells; i++) {
        bar += i < full ? (ascii ? "#" : "\u2588") : (ascii ? "-" : "\u2591");
    }
    return bar + ']';
}

} // namespace livemigrate
