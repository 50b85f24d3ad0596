#include "stage/index_constraint.hpp"

#include "core/sql_text.hpp"

namespace livemigrate::stage {

namespace {

std::string
OrEmpty(const char *text) {
    return text == nullptr ? "" : text;
}

std::string
NameList(const List *names) {
    std::string list;
    const ListCell *cell = nullptr;
    foreach (cell, names) {
        list += (list.empty() ? "" : ", ") + QuoteIdentifier(strVal(lfirst(cell)));
    }
    return list;
}

} // namespace

std::string
UniqueIndexSql(const RangeVar *relation, const Constraint *constraint) {
    std::string sql = "CREATE UNIQUE INDEX " + QuoteIdentifier(constraint->conname) + " ON ONLY " +
                      QualifiedName(OrEmpty(relation->schemaname), relation->relname) + " (" +
                      NameList(constraint->keys) + ")";
    if (constraint->including != NIL) {
        sql += " INCLUDE (" + NameList(constraint->including) + ")";
    }
    if (pg::NullsNotDistinct(constraint)) {
        sql += " NULLS NOT DISTINCT";
    }
    return sql;
}

std::string
UsingIndexSql(const RangeVar *relation, const Constraint *constraint) {
    const std::string name = QuoteIdentifier(constraint->conname);
    std::string sql = "ALTER TABLE ONLY " +
                      QualifiedName(OrEmpty(relation->schemaname), relation->relname) +
                      " ADD CONSTRAINT " + name +
                      (constraint->contype == CONSTR_PRIMARY ? " PRIMARY KEY" : " UNIQUE") +
                      " USING INDEX " + name;
    if (constraint->deferrable) {
        sql += " DEFERRABLE";
    }
    if (constraint->initdeferred) {
        sql += " INITIALLY DEFERRED";
    }
    return sql;
}

} // namespace livemigrate::stage
