#include "core/html_text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>

namespace livemigrate {

namespace {

constexpr double kChartWidth = 600;
constexpr double kChartHeight = 120;

// The code point at the start and its length; length 0 when it is not well-formed UTF-8.
struct Decoded {
    uint32_t code = 0;
    size_t length = 0;
};

Decoded
DecodeUtf8(std::string_view text) {
    const auto first = static_cast<unsigned char>(text[0]);
    const size_t length = first >= 0xf0 && first <= 0xf4   ? 4
                          : first >= 0xe0 && first <= 0xef ? 3
                          : first >= 0xc2 && first <= 0xdf ? 2
                                                           : 0;
    if (length == 0 || length > text.size()) {
        return {};
    }
    uint32_t code = first & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        const auto byte = static_cast<unsigned char>(text[i]);
        if ((byte & 0xc0) != 0x80) {
            return {};
        }
        code = code << 6 | (byte & 0x3f);
    }
    const bool surrogate = code >= 0xd800 && code <= 0xdfff;
    return surrogate || code > 0x10ffff ? Decoded{} : Decoded{code, length};
}

std::string
AsciiEntity(char byte) {
    switch (byte) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    case '\n':
    case '\t':
        return std::string(1, byte);
    default:
        return static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f ? "&#xfffd;"
                                                                       : std::string(1, byte);
    }
}

// The highest value of each pixel.
std::vector<std::optional<double>>
Reduce(const ChartLine &line, double last_x) {
    std::vector<std::optional<double>> pixels(static_cast<size_t>(kChartWidth) + 1);
    for (const auto &[x, y] : line.points) {
        const double share = last_x > 0 ? std::clamp(x / last_x, 0.0, 1.0) : 0;
        auto &pixel = pixels[static_cast<size_t>(share * kChartWidth)];
        if (y && std::isfinite(*y)) {
            pixel = std::max(pixel.value_or(0), *y);
        }
    }
    return pixels;
}

// Gaps of up to so many pixels are bridged: three times the usual one, because samples are thinned
// as they age. Of a short migration there are so few that none is usual: all are.
size_t
BridgeOf(const std::vector<std::optional<double>> &pixels) {
    constexpr size_t kLeast = 60;
    constexpr size_t kFewGaps = 20;
    std::vector<size_t> gaps;
    std::optional<size_t> last;
    for (size_t x = 0; x < pixels.size(); x++) {
        if (!pixels[x]) {
            continue;
        }
        if (last) {
            gaps.push_back(x - *last);
        }
        last = x;
    }
    if (gaps.size() < kFewGaps) {
        return pixels.size();
    }
    const auto middle = gaps.begin() + static_cast<std::ptrdiff_t>(gaps.size() / 2);
    std::nth_element(gaps.begin(), middle, gaps.end());
    return std::max(kLeast, 3 * *middle);
}

std::string
PathOf(const std::vector<std::optional<double>> &pixels, double top) {
    const size_t bridge = BridgeOf(pixels);
    std::string path;
    size_t last = 0;
    for (size_t x = 0; x < pixels.size(); x++) {
        if (!pixels[x]) {
            continue;
        }
        const bool joined = !path.empty() && x - last <= bridge;
        const double y = kChartHeight - *pixels[x] / top * kChartHeight;
        path += (joined ? "L" : "M") + std::to_string(x) + " " + HtmlNumber(y);
        if (!joined) {
            path += "h1"; // a single sample is seen, too
        }
        last = x;
    }
    return path;
}

std::string
Legend(const Chart &chart) {
    if (chart.lines.size() < 2) {
        return "";
    }
    std::string html = "<span class=\"legend\">";
    for (const ChartLine &line : chart.lines) {
        html += "<span><i class=\"" + line.css_class + "\"></i>" + HtmlText(line.name) + "</span>";
    }
    return html + "</span>";
}

} // namespace

std::string
HtmlText(std::string_view text) {
    std::string html;
    html.reserve(text.size());
    while (!text.empty()) {
        const Decoded decoded = DecodeUtf8(text);
        if (decoded.length == 0) {
            html += AsciiEntity(text[0]);
            text.remove_prefix(1);
            continue;
        }
        char reference[16];
        snprintf(reference, sizeof(reference), "&#x%x;",
                 decoded.code < 0xa0 ? 0xfffd : decoded.code);
        html += reference;
        text.remove_prefix(decoded.length);
    }
    return html;
}

std::string
HtmlNumber(double value) {
    const auto hundredths = static_cast<int64_t>(
        std::llround(std::clamp(std::isfinite(value) ? value : 0.0, -1e12, 1e12) * 100));
    const int64_t magnitude = hundredths < 0 ? -hundredths : hundredths;
    const int64_t rest = magnitude % 100;
    return (hundredths < 0 ? "-" : "") + std::to_string(magnitude / 100) +
           (rest == 0 ? "" : (rest < 10 ? ".0" : ".") + std::to_string(rest));
}

std::string
RenderChart(const Chart &chart) {
    std::vector<std::vector<std::optional<double>>> reduced;
    double top = 0;
    bool any = false;
    for (const ChartLine &line : chart.lines) {
        reduced.push_back(Reduce(line, chart.last_x));
        for (const std::optional<double> &value : reduced.back()) {
            any = any || value.has_value();
            top = std::max(top, value.value_or(0));
        }
    }
    std::string html = "<figure class=\"chart\"><figcaption>" + HtmlText(chart.title) +
                       Legend(chart) + "</figcaption>";
    if (!any) {
        return html + "<p class=\"none\">No samples.</p></figure>\n";
    }
    html += "<div class=\"plot\"><span class=\"top\">" +
            (top > 0 ? HtmlText(chart.format(top)) : "0 at every sample") +
            "</span><svg viewBox=\"0 0 600 120\" preserveAspectRatio=\"none\" role=\"img\" "
            "aria-label=\"" +
            HtmlText(chart.title) + "\"><path class=\"grid\" d=\"M0 0H600M0 60H600M0 120H600\"/>";
    for (size_t i = 0; i < reduced.size(); i++) {
        html += "<path class=\"line " + chart.lines[i].css_class + "\" d=\"" +
                PathOf(reduced[i], top > 0 ? top : 1) + "\"/>";
    }
    return html + "</svg><span class=\"ends\"><span>" + HtmlText(chart.from) + "</span><span>" +
           HtmlText(chart.to) + "</span></span></div></figure>\n";
}

} // namespace livemigrate
