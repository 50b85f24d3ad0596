// Text and charts for the HTML report: everything that comes from outside passes through here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace livemigrate {

// `text` for element content and quoted attributes: the five characters that mean something are
// escaped, well-formed UTF-8 becomes character references, so that the page is right whatever
// encoding it is saved in, and control characters become U+FFFD. Other bytes pass as they are.
std::string HtmlText(std::string_view text);

// A number for an attribute, with two decimals and a point whatever the locale.
std::string HtmlNumber(double value);

// A line of a chart; points are (x, y), gaps are nullopt. `css_class` picks the colour.
struct ChartLine {
    std::string name;
    std::string css_class;
    std::vector<std::pair<double, std::optional<double>>> points;
};

struct Chart {
    std::string title;
    double last_x = 0;                       // x runs from 0 to here
    std::string (*format)(double) = nullptr; // of y, for the labels
    std::string from;                        // labels under the ends of the x axis
    std::string to;
    std::vector<ChartLine> lines;
};

// A <figure> with an inline SVG and its labels; one that says so when there is nothing to draw.
// More points than pixels are reduced to the highest of each pixel.
std::string RenderChart(const Chart &chart);

} // namespace livemigrate
