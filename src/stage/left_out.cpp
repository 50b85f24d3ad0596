#include "pg/prelude.hpp"

#include "stage/left_out.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"

extern "C" {
#include "parser/parse_type.h"
}

namespace livemigrate::stage {

namespace {

struct Found {
    List *relations = nullptr; // RangeVars
};

// C-like: runs under the guard. Names without a schema are those of WITH queries, and pg_catalog's:
// a dump qualifies all others. NOTIFY, a rule's action, refers to nothing.
bool
GatherRelations(Node *node, void *context) {
    if (node == nullptr || IsA(node, NotifyStmt)) {
        return false;
    }
    auto *found = static_cast<Found *>(context);
    if (IsA(node, RangeVar) && reinterpret_cast<RangeVar *>(node)->schemaname != nullptr) {
        found->relations = lappend(found->relations, node);
    }
    if (IsA(node, ReturnStmt)) { // a function's body, which the server's walker does not know
        return GatherRelations(reinterpret_cast<ReturnStmt *>(node)->returnval, context);
    }
    return pg::WalkRawTree(node, GatherRelations, context);
}

std::string
NameOf(const RangeVar *relation) {
    return QualifiedName(relation->schemaname == nullptr ? "" : relation->schemaname,
                         relation->relname);
}

std::string
NameOf(const List *names) {
    std::string name;
    const ListCell *cell = nullptr;
    foreach (cell, names) {
        name += (name.empty() ? "" : ".") + QuoteIdentifier(strVal(lfirst(cell)));
    }
    return name;
}

// Names as lists, "schema, table, policy", to tell objects apart.
std::string
KeyOf(const char *kind, const List *names) {
    std::string key = kind;
    const ListCell *cell = nullptr;
    foreach (cell, names) {
        key += " " + QuoteIdentifier(strVal(lfirst(cell)));
    }
    return key;
}

std::string
KeyOf(const char *kind, const RangeVar *relation, const char *name) {
    return std::string(kind) + " " +
           (relation->schemaname == nullptr ? "" : QuoteIdentifier(relation->schemaname) + " ") +
           QuoteIdentifier(relation->relname) + " " + QuoteIdentifier(name);
}

std::string
TypeText(const TypeName *type) {
    return pg::Call([&] { return TypeNameToString(type); });
}

std::string
KeyOf(const ObjectWithArgs *routine) {
    std::string key = KeyOf("routine", routine->objname) + " (";
    const ListCell *cell = nullptr;
    foreach (cell, routine->objargs) {
        key += TypeText(static_cast<const TypeName *>(lfirst(cell))) + ",";
    }
    return key;
}

std::string
KeyOf(const CreateFunctionStmt *create) {
    std::string key = KeyOf("routine", create->funcname) + " (";
    const ListCell *cell = nullptr;
    foreach (cell, create->parameters) {
        const auto *parameter = static_cast<const FunctionParameter *>(lfirst(cell));
        if (parameter->mode != FUNC_PARAM_OUT && parameter->mode != FUNC_PARAM_TABLE) {
            key += TypeText(parameter->argType) + ",";
        }
    }
    return key;
}

// What a comment or owner is given to; empty for kinds that are never left out.
std::string
KeyOf(ObjectType type, const Node *object) {
    switch (type) {
    case OBJECT_POLICY:
        return KeyOf("policy", reinterpret_cast<const List *>(object));
    case OBJECT_RULE:
        return KeyOf("rule", reinterpret_cast<const List *>(object));
    case OBJECT_FUNCTION:
    case OBJECT_PROCEDURE:
    case OBJECT_ROUTINE:
        return KeyOf(reinterpret_cast<const ObjectWithArgs *>(object));
    default:
        return "";
    }
}

// The rule that ALTER TABLE enables or disables.
std::string
KeyOf(const AlterTableStmt *alter) {
    const auto *command = static_cast<const AlterTableCmd *>(linitial(alter->cmds));
    switch (command->subtype) {
    case AT_EnableRule:
    case AT_EnableAlwaysRule:
    case AT_EnableReplicaRule:
    case AT_DisableRule:
        return KeyOf("rule", alter->relation, command->name);
    default:
        return "";
    }
}

// What a statement says something about, if it creates nothing.
std::string
SubjectOf(const Node *node) {
    switch (nodeTag(node)) {
    case T_CommentStmt: {
        const auto *comment = reinterpret_cast<const CommentStmt *>(node);
        return KeyOf(comment->objtype, comment->object);
    }
    case T_AlterOwnerStmt: {
        const auto *alter = reinterpret_cast<const AlterOwnerStmt *>(node);
        return KeyOf(alter->objectType, alter->object);
    }
    case T_GrantStmt: {
        const auto *grant = reinterpret_cast<const GrantStmt *>(node);
        return grant->targtype == ACL_TARGET_OBJECT && list_length(grant->objects) == 1
                   ? KeyOf(grant->objtype, static_cast<const Node *>(linitial(grant->objects)))
                   : "";
    }
    case T_AlterTableStmt:
        return KeyOf(reinterpret_cast<const AlterTableStmt *>(node));
    default:
        return "";
    }
}

const Node *
AsNode(const List *list) {
    return reinterpret_cast<const Node *>(list);
}

} // namespace

void
LeftOut::NoteCreated(const std::vector<Statement> &statements) {
    for (const Statement &statement : statements) {
        if (IsA(statement.node, CreateTableAsStmt)) {
            const auto *create = reinterpret_cast<const CreateTableAsStmt *>(statement.node);
            created_.insert(NameOf(create->into->rel));
        } else if (IsA(statement.node, ViewStmt)) {
            created_.insert(NameOf(reinterpret_cast<const ViewStmt *>(statement.node)->view));
        }
    }
}

// The first relation that a part of a statement refers to and the target does not have.
std::string
LeftOut::Missing(const Node *node) const {
    const Found found = pg::Call([&] {
        Found all;
        GatherRelations(const_cast<Node *>(node), &all);
        return all;
    });
    const ListCell *cell = nullptr;
    foreach (cell, found.relations) {
        const auto *relation = static_cast<const RangeVar *>(lfirst(cell));
        const bool exists =
            pg::Call([&] { return OidIsValid(RangeVarGetRelid(relation, NoLock, true)); });
        if (!exists && !created_.contains(NameOf(relation))) {
            return NameOf(relation);
        }
    }
    return "";
}

LeftOut::Reason
LeftOut::OfCreation(const std::string &what, std::string key, const Node *first,
                    const Node *second) {
    std::string missing = Missing(first);
    if (missing.empty()) {
        missing = Missing(second);
    }
    if (missing.empty()) {
        return {};
    }
    keys_.insert(std::move(key));
    return {what + " is left out: it refers to " + missing + ", which is not migrated",
            true,
            false,
            {}};
}

LeftOut::Reason
LeftOut::Of(const Node *node) {
    switch (nodeTag(node)) {
    case T_CreatePolicyStmt: {
        const auto *create = reinterpret_cast<const CreatePolicyStmt *>(node);
        Reason reason = OfCreation(
            "policy " + QuoteIdentifier(create->policy_name) + " of " + NameOf(create->table),
            KeyOf("policy", create->table, create->policy_name), create->qual, create->with_check);
        reason.is_warning = !reason.text.empty();
        if (reason.is_warning && !create->permissive) {
            // Without it people could see more rows: rather none, until somebody makes it anew.
            reason.stand_in = "CREATE POLICY " + QuoteIdentifier(create->policy_name) + " ON " +
                              NameOf(create->table) + " AS RESTRICTIVE USING (false)";
            reason.text += "; until it is made anew, one of that name lets nobody see any row";
        }
        return reason;
    }
    case T_RuleStmt: {
        const auto *create = reinterpret_cast<const RuleStmt *>(node);
        Reason reason = OfCreation("rule " + QuoteIdentifier(create->rulename) + " of " +
                                       NameOf(create->relation),
                                   KeyOf("rule", create->relation, create->rulename),
                                   create->whereClause, AsNode(create->actions));
        reason.is_warning = !reason.text.empty() && create->instead;
        return reason;
    }
    case T_CreateFunctionStmt: {
        const auto *create = reinterpret_cast<const CreateFunctionStmt *>(node);
        return OfCreation("function " + NameOf(create->funcname), KeyOf(create), create->sql_body,
                          nullptr);
    }
    default:
        return {keys_.contains(SubjectOf(node)) ? "what it is about is left out" : "",
                false,
                false,
                {}};
    }
}

} // namespace livemigrate::stage
