#include "core/version.hpp"

#include <algorithm>

namespace livemigrate {

namespace {

// Cuts the part before the first dot off, without leading zeros, so that the longer number is the
// larger one.
std::string_view
TakePart(std::string_view &version) {
    const size_t dot = std::min(version.find('.'), version.size());
    std::string_view part = version.substr(0, dot);
    version.remove_prefix(std::min(dot + 1, version.size()));
    part.remove_prefix(std::min(part.find_first_not_of('0'), part.size()));
    return part;
}

} // namespace

int
CompareVersions(std::string_view left, std::string_view right) {
    while (!left.empty() || !right.empty()) {
        const std::string_view a = TakePart(left);
        const std::string_view b = TakePart(right);
        if (a.size() != b.size()) {
            return a.size() < b.size() ? -1 : 1;
        }
        if (const int order = a.compare(b); order != 0) {
            return order;
        }
    }
    return 0;
}

} // namespace livemigrate
