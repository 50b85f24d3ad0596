#include "pg/prelude.hpp"

#include "pg/bounds_condition.hpp"

#include "pg/guard.hpp"

extern "C" {
#include "parser/parse_type.h"
}

namespace livemigrate::pg {

namespace {

// The functions here are C-like: they run under the guard.
bool
IsServersOwn(const List *qualified_name) {
    return list_length(qualified_name) == 1 ||
           strcmp(strVal(linitial(qualified_name)), "pg_catalog") == 0;
}

// A domain's check may call anybody's function; a base type's functions are a superuser's.
bool
IsHarmless(const TypeName *name) {
    const Oid type = LookupTypeNameOid(nullptr, name, true);
    if (!OidIsValid(type)) {
        return false;
    }
    const Oid element = get_element_type(type);
    const char kind = get_typtype(OidIsValid(element) ? element : type);
    return kind == TYPTYPE_BASE || kind == TYPTYPE_ENUM;
}

// Whether anything else than a comparison with constants is in the tree, as walkers say it.
bool
HasMore(Node *node, void *context) {
    if (node == nullptr) {
        return false;
    }
    switch (nodeTag(node)) {
    case T_A_Const:
        return false;
    case T_ColumnRef:
        return list_length(reinterpret_cast<ColumnRef *>(node)->fields) != 1 ||
               !IsA(linitial(reinterpret_cast<ColumnRef *>(node)->fields), String);
    case T_TypeCast: {
        auto *cast = reinterpret_cast<TypeCast *>(node);
        return !IsHarmless(cast->typeName) || HasMore(cast->arg, context);
    }
    case T_A_Expr:
        return !IsServersOwn(reinterpret_cast<A_Expr *>(node)->name) ||
               WalkRawTree(node, HasMore, context);
    case T_BoolExpr:
    case T_NullTest:
    case T_A_ArrayExpr:
    case T_List:
        return WalkRawTree(node, HasMore, context);
    case T_CollateClause:
        return HasMore(reinterpret_cast<CollateClause *>(node)->arg, context);
    default:
        return true;
    }
}

// The only value of a SELECT that has nothing else.
Node *
OnlyValue(const List *statements) {
    if (list_length(statements) != 1) {
        return nullptr;
    }
    auto *select =
        reinterpret_cast<SelectStmt *>(static_cast<RawStmt *>(linitial(statements))->stmt);
    if (!IsA(select, SelectStmt) || select->op != SETOP_NONE ||
        list_length(select->targetList) != 1 || select->fromClause != NIL ||
        select->whereClause != nullptr || select->withClause != nullptr ||
        select->intoClause != nullptr || select->sortClause != NIL || select->groupClause != NIL ||
        select->havingClause != nullptr || select->windowClause != NIL ||
        select->limitCount != nullptr || select->limitOffset != nullptr) {
        return nullptr;
    }
    return static_cast<ResTarget *>(linitial(select->targetList))->val;
}

} // namespace

bool
IsBoundsCondition(const std::string &condition) {
    const std::string sql = "SELECT (" + condition + ")";
    return Call([&] {
        Node *value = OnlyValue(pg_parse_query(sql.c_str()));
        return value != nullptr && !HasMore(value, nullptr);
    });
}

} // namespace livemigrate::pg
