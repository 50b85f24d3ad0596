// Keeps DROP EXTENSION from taking away the tables of a migration that has not ended: its slot on
// the source would stay, unknown to anybody, and hold WAL back there.
#pragma once

namespace livemigrate::control {

// Installs the guard for this server process and its children; from _PG_init. Without preloading it
// works in sessions that have called the extension.
void InstallDropGuard();

} // namespace livemigrate::control
