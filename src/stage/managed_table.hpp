// A table of the target whose rows an extension keeps (pg/table_manager), written a batch at a time
// through SQL: one DELETE, UPDATE and INSERT for all rows that need it, or a few, each for the rows
// of one place. So the extension sees statements like any client's, and they are few.
#pragma once

#include "pg/prelude.hpp"

#include "core/change.hpp"
#include "stage/batch_table.hpp"
#include "stage/value_input.hpp"

#include <memory>
#include <string>
#include <vector>

namespace livemigrate::stage {

class ManagedTable : public BatchTable {
  public:
    // Null if the table must be written change by change: nobody keeps its rows, replica identity
    // FULL, or a column of the stream is missing. REQUIRES: an open transaction; the table is
    // locked.
    static std::unique_ptr<ManagedTable> Open(Oid relid, const RemoteRelation &remote,
                                              const ValueFormat &format);
    ~ManagedTable() override;
    ManagedTable(const ManagedTable &) = delete;
    ManagedTable &operator=(const ManagedTable &) = delete;

    bool
    finds_rows() const final {
        return !key_.empty();
    }
    void Write(const NetEffect &effect, const RowWriter &write_row) final;

  protected:
    using Rows = std::vector<NetEffect::Row>;

    struct Column {
        std::string name; // quoted
        ValueInput input;
        Oid collation = InvalidOid;
        std::string equality; // OPERATOR(schema.=), or empty where the type has none
        bool generated = false;
        bool not_null = false;
        bool places = false; // says where a row is kept
        bool fixed = false;  // UPDATE cannot set it
    };

    // What one statement has of each row: a value that finds it, or one that it gets.
    struct Source {
        bool from_key = false;
        size_t column = 0;
    };

    // Rows that statements of the same text write, and how.
    struct Statement {
        ChangeKind kind = ChangeKind::kInsert;
        std::string before; // the item of FROM that is the rows
        std::string behind; // with a WHERE, unless it inserts
        std::vector<Source> sources;
        std::vector<size_t> placed; // the sources by which rows are found and placed
        Rows rows;
    };

    ManagedTable(Oid relid, const RemoteRelation &remote, const ValueFormat &format);

    // How SQL has the value of a source.
    virtual std::string Value(const Statement &statement, size_t source) const = 0;

    // Rows of a statement that are to be written together, or else better each for itself.
    struct Part {
        Rows rows;
        bool together = true;
    };

    // From how many rows on a statement for all of them, planned anew, costs less than kept ones
    // for each.
    static constexpr size_t kManyRows = 8;

    // Divides all of the statement's rows. REQUIRES: kManyRows or more.
    virtual std::vector<Part> Divide(const Statement &statement) = 0;

    // Executes the statement for rows of one part, and returns how many it has found or inserted.
    virtual uint64 Execute(const Statement &statement, const Rows &rows) = 0;

    // The same of SQL that has been put together. C-like. REQUIRES: an SPI connection.
    static uint64 Run(const char *sql, int count, Oid *types, Datum *values, const char *nulls);

    const ColumnValue &
    ValueOf(const Statement &statement, size_t source, const NetEffect::Row &row) const {
        const Source &from = statement.sources[source];
        return from.from_key ? row.key[from.column] : row.values[from.column];
    }
    Column &
    ColumnOf(const Statement &statement, size_t source) {
        return columns_[statement.sources[source].column];
    }
    const Column &
    ColumnOf(const Statement &statement, size_t source) const {
        return columns_[statement.sources[source].column];
    }
    Oid
    relid() const {
        return relid_;
    }
    const ValueFormat &
    format() const {
        return format_;
    }

  private:
    bool Resolve();
    bool ReadColumn(Column &column, const RemoteColumn &remote);
    std::string WrittenColumns(const NetEffect::Row &row) const;
    std::string Add(Statement &statement, bool from_key, size_t column) const;
    std::string Equality(Statement &statement, bool from_key, size_t column) const;
    std::string KeyCondition(Statement &statement) const;
    Statement DeleteStatement() const;
    Statement UpdateStatement(const std::string &written) const;
    Statement InsertStatement(const std::string &written) const;
    bool IsMoved(const NetEffect::Row &row) const;
    Tuple KeyOf(const NetEffect::Row &row) const;
    [[noreturn]] void ThrowMissing() const;
    void WritePart(const Statement &statement, const Part &part, const RowWriter &write_row);

    Oid relid_;
    const RemoteRelation &remote_;
    ValueFormat format_;
    std::string name_;
    std::vector<Column> columns_; // aligned with remote_.columns
    std::vector<size_t> key_;
    MemoryContext context_ = nullptr;
};

} // namespace livemigrate::stage
