// A table of the target whose rows an extension keeps (pg/table_manager), written a batch at a time
// through SQL: one DELETE, UPDATE and INSERT for all rows that need it, the rows given as a table.
// So the extension sees statements like any client's, and they are few.
//
// Only for hypertables: Citus's planner does not know tables that are no relations.
#pragma once

#include "pg/prelude.hpp"

#include "core/change.hpp"
#include "stage/batch_table.hpp"
#include "stage/value_input.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace livemigrate::stage {

class ManagedTable final : public BatchTable {
  public:
    // Null if the table must be written change by change: no hypertable, replica identity FULL, or
    // a column of the stream is missing. REQUIRES: an open transaction; the table is locked.
    static std::unique_ptr<ManagedTable> Open(Oid relid, const RemoteRelation &remote,
                                              const ValueFormat &format);
    ~ManagedTable() override;
    ManagedTable(const ManagedTable &) = delete;
    ManagedTable &operator=(const ManagedTable &) = delete;

    bool
    finds_rows() const override {
        return !key_.empty();
    }
    void Write(const NetEffect &effect) override;

  private:
    struct Column {
        std::string name; // quoted
        ValueInput input;
        Oid collation = InvalidOid;
        std::string equality; // OPERATOR(schema.=), or empty where the type has none
        bool generated = false;
        bool fixed = false;   // UPDATE cannot set it
        bool ordered = false; // says where a row is kept, and its values can be ranged
    };
    // Rows that one statement writes, and how. A row has values for the same columns as the others.
    struct Statement;

    ManagedTable(const RemoteRelation &remote, const ValueFormat &format);
    bool Resolve(Oid relid);
    void ReadColumn(Column &column, Oid relid, AttrNumber attribute, const RemoteColumn &remote);
    Statement DeleteStatement() const;
    Statement UpdateStatement(const std::string &sent) const;
    Statement InsertStatement(const std::string &sent) const;
    std::string KeyCondition(Statement &statement) const;
    std::string Equality(Statement &statement, bool from_key, size_t index) const;
    bool IsMoved(const NetEffect::Row &row) const;
    [[noreturn]] void ThrowMissing() const;
    void Run(Statement &statement, const std::vector<NetEffect::Row> &rows);

    const RemoteRelation &remote_;
    ValueFormat format_;
    std::string name_;
    std::vector<Column> columns_; // aligned with remote_.columns
    std::vector<size_t> key_;
    MemoryContext context_ = nullptr;
};

} // namespace livemigrate::stage
