#include "core/operator_text.hpp"

#include "core/sql_text.hpp"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>

namespace livemigrate {

namespace {

// "4 min 05 s" of a number of the smaller unit.
std::string
TwoUnits(uint64_t value, uint64_t per_unit, const char *unit, const char *smaller) {
    char text[64];
    snprintf(text, sizeof(text), "%llu %s %02llu %s",
             static_cast<unsigned long long>(value / per_unit), unit,
             static_cast<unsigned long long>(value % per_unit), smaller);
    return text;
}

std::string
HintWhileRunning(Stage stage, bool has_endpos) {
    if (stage != Stage::kStreaming) {
        return "Nothing to do; to watch it: SELECT * FROM livemigrate.dashboard();";
    }
    return has_endpos ? "CALL livemigrate.migration_wait();"
                      : "Stop the application's writes to the source, then run: "
                        "SELECT livemigrate.set_endpos();";
}

} // namespace

std::string
Counted(uint64_t count, std::string_view noun) {
    return std::to_string(count) + ' ' + std::string(noun) + (count == 1 ? "" : "s");
}

std::string
FormatSeconds(double seconds) {
    constexpr double kMinute = 60;
    constexpr double kHour = 60 * kMinute;
    constexpr double kDay = 24 * kHour;
    seconds = std::isfinite(seconds) ? std::max(0.0, seconds) : 0.0;
    if (seconds < 1) {
        return std::to_string(std::lround(seconds * 1000)) + " ms";
    }
    if (seconds < kMinute) {
        char text[32];
        snprintf(text, sizeof(text), "%.1f s", seconds);
        return text;
    }
    if (seconds < kHour) {
        return TwoUnits(static_cast<uint64_t>(seconds), 60, "min", "s");
    }
    if (seconds < kDay) {
        return TwoUnits(static_cast<uint64_t>(seconds / kMinute), 60, "h", "min");
    }
    return TwoUnits(static_cast<uint64_t>(std::min(seconds, 1e12) / kHour), 24, "d", "h");
}

std::string
FormatByteRate(double bytes_per_second) {
    const double rate = std::isfinite(bytes_per_second) ? bytes_per_second : 0;
    return FormatBytes(static_cast<uint64_t>(std::clamp(rate, 0.0, 1e18))) + "/s";
}

std::string
FormatCount(uint64_t count) {
    std::string text = std::to_string(count);
    for (size_t at = text.size(); at > 3; at -= 3) {
        text.insert(at - 3, " ");
    }
    return text;
}

std::string
DefaultHint(Stage stage, State state, bool has_endpos, bool cleaned_up) {
    switch (state) {
    case State::kRunning:
        return HintWhileRunning(stage, has_endpos);
    case State::kRetrying:
        return "Nothing to do if the cause passes by itself; to try again at once: "
               "SELECT livemigrate.migration_resume();";
    case State::kPaused:
        return "SELECT livemigrate.migration_resume();";
    case State::kFailed:
        return "Remove the cause, then run: SELECT livemigrate.migration_resume();";
    case State::kDone:
    case State::kAborted:
        break;
    }
    return cleaned_up ? "Nothing is left to do." : "SELECT livemigrate.migration_cleanup();";
}

} // namespace livemigrate
