#include "pg/equality_operator.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"

extern "C" {
#include "utils/typcache.h"
}

namespace livemigrate::pg {

std::string
EqualityOperator(Oid type) {
    struct Names {
        const char *schema;
        const char *name;
    };
    const Names names = Call([type]() -> Names {
        const Oid equality = lookup_type_cache(type, TYPECACHE_EQ_OPR)->eq_opr;
        if (!OidIsValid(equality)) {
            return {nullptr, nullptr};
        }
        HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(equality));
        if (!HeapTupleIsValid(tuple)) {
            elog(ERROR, "cache lookup failed for operator %u", equality);
        }
        const auto *form = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple));
        const Names found = {get_namespace_name(form->oprnamespace),
                             pstrdup(NameStr(form->oprname))};
        ReleaseSysCache(tuple);
        return found;
    });
    if (names.name == nullptr) {
        return "";
    }
    return std::string("OPERATOR(") + QuoteIdentifier(names.schema) + "." + names.name + ")";
}

} // namespace livemigrate::pg
