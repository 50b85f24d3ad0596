#include "pg/prelude.hpp"

#include "stage/schema.hpp"

#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "stage/left_out.hpp"
#include "stage/statement.hpp"

namespace livemigrate::stage {

namespace {

bool
SchemaExists(const char *name) {
    return pg::Call([&] { return OidIsValid(get_namespace_oid(name, true)); });
}

// pg_dump always has the comment of schema public, which the role need not own.
bool
IsCommentOnForeignSchema(const Node *node) {
    if (!IsA(node, CommentStmt)) {
        return false;
    }
    const auto *comment = reinterpret_cast<const CommentStmt *>(node);
    if (comment->objtype != OBJECT_SCHEMA) {
        return false;
    }
    return pg::Call([&] {
        const Oid schema = get_namespace_oid(strVal(comment->object), true);
        return OidIsValid(schema) && !pg::OwnsSchema(schema);
    });
}

// An extension that is not trusted was made by a superuser beforehand, and changes no owner.
bool
IsCommentOnForeignExtension(const Node *node) {
    if (!IsA(node, CommentStmt)) {
        return false;
    }
    const auto *comment = reinterpret_cast<const CommentStmt *>(node);
    return comment->objtype == OBJECT_EXTENSION &&
           pg::Query("SELECT NOT pg_catalog.pg_has_role(extowner, 'USAGE') "
                     "FROM pg_catalog.pg_extension WHERE extname = $1",
                     {std::string(strVal(comment->object))})
                   .Scalar() == "t";
}

// Reasons to pass over a statement; empty to execute it.
std::string
ReasonToSkip(const Node *node) {
    if (IsA(node, CreateSchemaStmt)) {
        const auto *create = reinterpret_cast<const CreateSchemaStmt *>(node);
        if (create->schemaname != nullptr && SchemaExists(create->schemaname)) {
            return std::string("schema \"") + create->schemaname + "\" exists already";
        }
    }
    if (IsCommentOnForeignSchema(node)) {
        return "the comment of a schema of somebody else is not taken along";
    }
    if (IsCommentOnForeignExtension(node)) {
        return "the comment of an extension of somebody else is not taken along";
    }
    return "";
}

} // namespace

SchemaReport
ExecuteSchema(const std::string &sql) {
    SchemaReport report;
    LeftOut left_out;
    for (const Statement &statement : SplitStatements(sql)) {
        if (IsIgnoredSetting(statement.node)) {
            continue;
        }
        const LeftOut::Reason missing = left_out.Of(statement.node);
        if (!missing.text.empty()) {
            if (missing.is_new) {
                report.notes.push_back(missing.text);
            }
            continue;
        }
        const std::string reason = ReasonToSkip(statement.node);
        if (!reason.empty()) {
            report.notes.push_back(reason);
            continue;
        }
        ExecuteStatement(statement.text);
        report.statements++;
    }
    pg::Execute("RESET default_tablespace"); // the dump sets it for each table
    return report;
}

} // namespace livemigrate::stage
