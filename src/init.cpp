// Loading the library: settings, and the launcher when it is preloaded.

#include "pg/prelude.hpp"

#include "control/drop_guard.hpp"
#include "pg/background_worker.hpp"
#include "pg/guard.hpp"
#include "pg/guc.hpp"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

void
_PG_init(void) {
    livemigrate::pg::Entry([] {
        livemigrate::pg::Call([] { livemigrate::pg::DefineSettings(); });
        livemigrate::control::InstallDropGuard();
        if (process_shared_preload_libraries_in_progress) {
            livemigrate::pg::RegisterLauncher();
        }
    });
}
