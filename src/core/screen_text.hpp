// Text for a terminal of fixed width: names that may hold anything, and progress bars.
#pragma once

#include <string>
#include <string_view>

namespace livemigrate {

// `text` in exactly `width` columns: control characters and, for `ascii`, all that is not ASCII
// become '?', what is too long ends in "~", what is too short is padded. UTF-8; East Asian wide
// characters take two columns.
std::string FitColumns(std::string_view text, size_t width, bool ascii);

// The same without padding.
std::string CutColumns(std::string_view text, size_t width, bool ascii);

// Columns that `text` takes.
size_t ColumnWidth(std::string_view text);

// "[#####-----]", or blocks where `ascii` is false; `width` columns with the brackets. `done` is
// brought into 0 to 1; only 1 itself fills the bar.
std::string ProgressBar(double done, size_t width, bool ascii);

} // namespace livemigrate
