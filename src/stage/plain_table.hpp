// A table of the target written below SQL: rows found through an index that is kept open, written
// by the table access method, entered in the indexes by the executor. Constraints, generated
// columns and partition bounds are checked as for any statement.
//
// For tables where SQL would do nothing else: see Suits(). The others go through TargetRelation.
#pragma once

#include "pg/prelude.hpp"

#include "core/change.hpp"
#include "stage/batch_table.hpp"
#include "stage/value_input.hpp"

#include <memory>
#include <vector>

namespace livemigrate::stage {

class PlainTable final : public BatchTable {
  public:
    // Null if the table must be written through SQL: not a heap of its own, rules, row security,
    // exclusion constraints, columns that the stream does not have, rights that the role lacks, or
    // a table that an extension watches over (hypertables, distributed tables). REQUIRES: an open
    // transaction; the table is locked; no trigger of it fires in replica role.
    static std::unique_ptr<PlainTable> Open(Oid relid, const RemoteRelation &remote,
                                            const ValueFormat &format);
    ~PlainTable() override;
    PlainTable(const PlainTable &) = delete;
    PlainTable &operator=(const PlainTable &) = delete;

    bool
    finds_rows() const override {
        return OidIsValid(key_index_);
    }
    void Write(const NetEffect &effect, const RowWriter &write_row) override;

  private:
    class Writer;

    PlainTable(const RemoteRelation &remote, const ValueFormat &format);
    bool Resolve(Relation relation);
    bool MapColumns(Relation relation);
    Oid FindKeyIndex(Relation relation) const;
    bool IsKeyIndex(Oid index) const;
    void PrepareKey();

    const RemoteRelation &remote_;
    ValueFormat format_;
    Oid relid_ = InvalidOid;
    // By attribute of the target: the stream's column, or -1 (dropped, generated).
    std::vector<int> source_column_;
    std::vector<ValueInput> inputs_; // by attribute
    Oid key_index_ = InvalidOid;
    struct KeyPart {
        int attribute = 0; // of the table, from 0
        Oid collation = InvalidOid;
        FmgrInfo equality = {};
    };
    std::vector<KeyPart> key_parts_; // by column of the index
    MemoryContext context_ = nullptr;
    MemoryContext write_context_ = nullptr;
    MemoryContext row_context_ = nullptr;
};

} // namespace livemigrate::stage
