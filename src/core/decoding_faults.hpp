// Which minor releases of PostgreSQL lose changes in logical decoding.
#pragma once

namespace livemigrate {

// By PostgreSQL's release notes, https://www.postgresql.org/docs/release/<version>/, corrected in
//   13.21, 14.18, 15.13, 16.9, 17.5 (2025-05-08): "Avoid data loss when DDL operations that don't
//     take a strong lock affect tables that are being logically replicated" (a publication or type
//     altered while transactions write: their changes are lost);
//   14.19, 15.14, 16.10, 17.6 (2025-08-14): "Avoid premature removal of old WAL during
//     checkpoints", which a slot needs after a crash;
//   14.21, 15.16, 16.12, 17.8, 18.2 (2026-02-12): "Prevent invalidation of newly created or newly
//     synced replication slots";
//   14.25, 15.20, 16.16, 17.12, 18.7 (2026-11-12): "Avoid race condition when building an initial
//     decoding snapshot" and "In logical replication, handle subtransaction aborts better" (one
//     that is rolled back behind a change of a catalog).
// 12 and older have the first of these to the end.
struct DecodingFaults {
    bool known = false;     // this release has some, and a later one of its major version has not
    int sound_minor = 0;    // that later release; 0: its major version has none
    bool corrected = false; // its major version still gets corrections (November 2026)
};

// `version_num` as server_version_num has it. A major version that is not known yet has no fault
// that is known.
DecodingFaults FindDecodingFaults(int version_num);

} // namespace livemigrate
