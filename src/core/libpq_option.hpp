// libpq's connection options: what of them may be shown, and who may give them.
#pragma once

#include <string_view>

namespace livemigrate {

struct LibpqOption {
    std::string_view name;
    bool is_secret;  // its value is not for messages, views and reports
    bool is_harmful; // reaches files, programs or credentials of the machine that connects
};

// What is known of the option; one that is not known (a later libpq's, or a misspelt one) counts as
// both secret and harmful. Names are as libpq has them, in lower case. Options are those of libpq
// 10 to 18 (PQconndefaults(), "Parameter Key Words" of its documentation).
LibpqOption KnowledgeOf(std::string_view name);

// Whether the option is in the list.
bool IsKnownLibpqOption(std::string_view name);

} // namespace livemigrate
