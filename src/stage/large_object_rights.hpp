// Who owns large objects and who may use them, and their security labels: what pg_dump leaves out
// of a dump that has no large objects.
#pragma once

#include "source/connection.hpp"

#include <cstdint>

namespace livemigrate::stage {

// What of it is wanted: the options owner and privileges of the migration.
struct LargeObjectRights {
    bool owner = false;
    bool privileges = false;
};

// Brings it for the large objects of an inclusive range of OIDs, which must be on the target. Roles
// have to be there, too. REQUIRES: an open transaction on the target.
void CopyLargeObjectRights(source::Connection &source, uint32_t first_oid, uint32_t last_oid,
                           LargeObjectRights rights);

} // namespace livemigrate::stage
