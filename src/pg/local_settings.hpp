// Settings of the session for the life of a scope.
#pragma once

#include "pg/prelude.hpp"

#include <initializer_list>
#include <utility>

namespace livemigrate::pg {

// Sets parameters as a function's SET clause does; the destructor puts the earlier values back,
// also while an error unwinds. REQUIRES: an open transaction, which outlives the scope.
class LocalSettings {
  public:
    using Setting = std::pair<const char *, const char *>; // name, value

    explicit LocalSettings(std::initializer_list<Setting> settings);
    LocalSettings(const LocalSettings &) = delete;
    LocalSettings &operator=(const LocalSettings &) = delete;

  private:
    // A member of its own, so that a constructor that throws half-way restores as well.
    struct NestLevel {
        NestLevel();
        ~NestLevel();
        int value;
    };

    NestLevel level_;
};

} // namespace livemigrate::pg
