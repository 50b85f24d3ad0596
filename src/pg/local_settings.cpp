#include "pg/local_settings.hpp"

#include "pg/guard.hpp"

#include <exception>

namespace livemigrate::pg {

LocalSettings::NestLevel::NestLevel() : value(NewGUCNestLevel()) {}

LocalSettings::NestLevel::~NestLevel() {
    try {
        // "Commit" of the nest level restores what GUC_ACTION_SAVE saved, as at a function's end.
        Call([this] { AtEOXact_GUC(true, value); });
    } catch (const std::exception &error) {
        ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
                        errmsg("could not restore settings: %s", error.what())));
    }
}

LocalSettings::LocalSettings(std::initializer_list<Setting> settings) {
    for (const Setting &setting : settings) {
        Call([&] {
            set_config_option(setting.first, setting.second, superuser() ? PGC_SUSET : PGC_USERSET,
                              PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
        });
    }
}

} // namespace livemigrate::pg
