// Built-in types whose binary form means the same to every server.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// Whether the type's binary form has been the same since PostgreSQL 10 and says nothing of the
// server it comes from. Left out on purpose: reg* and other names of objects, which travel as OIDs;
// money, whose digits depend on lc_monetary; xml, whose form depends on the encoding; internal
// types; oidvector and int2vector, which send an empty one in a form that they do not receive.
// interval only between servers that agree on 'infinity', which 17 has made of what were the
// outermost values. `element` is that of an array, InvalidOid for others: arrays name its OID.
// `sender` is the version that it comes from, such as 150004.
bool HasPortableBinaryForm(Oid type, Oid element, int sender);

} // namespace livemigrate::pg
