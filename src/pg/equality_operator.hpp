#pragma once

#include "pg/prelude.hpp"

#include <string>

namespace livemigrate::pg {

// The operator by which two values of the type are equal, as SQL: OPERATOR(schema.=). Empty where
// the type has none. REQUIRES: an open transaction.
std::string EqualityOperator(Oid type);

} // namespace livemigrate::pg
