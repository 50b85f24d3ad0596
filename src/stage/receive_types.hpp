// Whether the source may send the values of the change stream in binary form.
#pragma once

#include "core/wire_types.hpp"
#include "source/connection.hpp"

#include <optional>
#include <string>
#include <vector>

namespace livemigrate::stage {

// pgoutput sends either all values in binary form or none: only where every published column's type
// is known to have the same form on both servers, by the rule for COPY (stage/copy_format). The
// types then, with all others for which that is known: columns may be added. nullopt, told to the
// server's log, where text it must be.
std::optional<WireTypes> TypesForBinary(source::Connection &source,
                                        const std::vector<std::string> &publications);

// Tells the log that a table has got a column of a type that was not expected. Everything since the
// last transaction that is complete in the spool comes again, as text.
void LogUnknownType(const WireTypes::Unknown &unknown);

} // namespace livemigrate::stage
