// What most files include, compiled once ahead of them (see the Makefile). No file includes it by
// name, and each still includes what it uses.
#include "pg/prelude.hpp"

#include <algorithm>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
