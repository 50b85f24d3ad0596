// How large buffers are that hold more than the record at hand.
#pragma once

#include <cstddef>

namespace livemigrate {

// `usual`, but in fuzz targets little enough for short inputs to meet the ends of buffers; there,
// making and checking large ones would take most of the time.
constexpr size_t
BufferSize(size_t usual) {
#ifdef LIVEMIGRATE_FUZZING
    constexpr size_t kSmall = 1024;
    return usual < kSmall ? usual : kSmall;
#else
    return usual;
#endif
}

} // namespace livemigrate
