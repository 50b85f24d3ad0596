#include "core/timeline_history.hpp"

#include "core/error.hpp"

#include <algorithm>
#include <charconv>

namespace livemigrate {

namespace {

constexpr std::string_view kSpace = " \t\r";

// Takes the next word of a line.
std::string_view
NextWord(std::string_view &line) {
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    const std::string_view word = line.substr(0, line.find_first_of(kSpace));
    line.remove_prefix(word.size());
    return word;
}

[[noreturn]] void
ThrowUnreadable() {
    throw Error(sqlstate::kProtocolViolation,
                "the source's timeline history has a line that cannot be read");
}

Lsn
ParsePosition(std::string_view text) {
    try {
        return Lsn::Parse(text);
    } catch (const Error &) {
        ThrowUnreadable();
    }
}

// Calls `visit` with each timeline and where it was left, until that returns true.
template <typename Visit>
void
VisitTimelines(std::string_view history, const Visit &visit) {
    while (!history.empty()) {
        const size_t end = history.find('\n');
        std::string_view line = history.substr(0, end);
        history.remove_prefix(end == std::string_view::npos ? history.size() : end + 1);
        const std::string_view number = NextWord(line);
        if (number.empty() || number[0] == '#') {
            continue;
        }
        uint32_t timeline = 0;
        const auto [rest, error] =
            std::from_chars(number.data(), number.data() + number.size(), timeline);
        const std::string_view position = NextWord(line);
        if (error != std::errc() || rest != number.data() + number.size()) {
            ThrowUnreadable();
        }
        if (visit(timeline, ParsePosition(position))) {
            return;
        }
    }
}

} // namespace

std::optional<Lsn>
EndOfTimeline(std::string_view history, uint32_t timeline) {
    std::optional<Lsn> end;
    VisitTimelines(history, [&](uint32_t found, Lsn left) {
        if (found == timeline) {
            end = left;
        }
        return end.has_value();
    });
    return end;
}

Lsn
BeginOfTimeline(std::string_view history) {
    Lsn begin;
    VisitTimelines(history, [&](uint32_t, Lsn left) {
        begin = left;
        return false;
    });
    return begin;
}

} // namespace livemigrate
