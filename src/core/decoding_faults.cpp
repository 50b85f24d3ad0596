#include "core/decoding_faults.hpp"

#include <algorithm>
#include <array>

namespace livemigrate {

namespace {

struct SoundRelease {
    int major;
    int minor; // as sound as its major version has become
    bool corrected;
};

constexpr auto kSoundReleases = std::to_array<SoundRelease>({
    {13, 21, false},
    {14, 25, false},
    {15, 20, true},
    {16, 16, true},
    {17, 12, true},
    {18, 7, true},
});

} // namespace

DecodingFaults
FindDecodingFaults(int version_num) {
    const int major = version_num / 10000;
    const int minor = version_num % 10000;
    const auto *found =
        std::find_if(kSoundReleases.begin(), kSoundReleases.end(),
                     [major](const SoundRelease &release) { return release.major == major; });
    if (found == kSoundReleases.end()) {
        return {false, 0, major > kSoundReleases.back().major};
    }
    return {minor < found->minor, found->minor, found->corrected};
}

} // namespace livemigrate
