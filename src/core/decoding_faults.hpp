// Which minor releases of PostgreSQL lose changes in logical decoding.
#pragma once

namespace livemigrate {

// Sources: the release notes of 13.21, 14.18 and 15.13 (a publication or type altered without a
// strong lock while transactions write: their changes are lost), 15.14 (WAL removed too early),
// 15.16 (a slot invalidated while it is taken), 14.25 and 15.20 (a slot's first snapshot,
// subtransactions rolled back behind a change of a catalog).
struct DecodingFaults {
    bool known = false;     // this release has some, and a later one of its major version has not
    int sound_minor = 0;    // that later release; 0: its major version has none
    bool corrected = false; // its major version still gets corrections (November 2026)
};

// `version_num` as server_version_num has it. A major version that is not known yet has no fault
// that is known.
DecodingFaults FindDecodingFaults(int version_num);

} // namespace livemigrate
