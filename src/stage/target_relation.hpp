// A table of the target as apply writes to it: columns matched by name with the stream's relation,
// values converted by the target's input functions, statements prepared once and kept.
//
// Everything goes through SPI, so that whatever other extensions hook (hypertables, distributed
// tables) works as for any client.
#pragma once

#include "pg/prelude.hpp"

#include "core/change.hpp"
#include "stage/value_input.hpp"

#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace livemigrate::stage {

class TargetRelation {
  public:
    // Looks the table up, which has the name `target` (schema, table): the stream's, or that of the
    // root of a partition. Throws Error 42P01, naming it, when the target does not have it.
    // REQUIRES: an open transaction.
    TargetRelation(std::shared_ptr<const RemoteRelation> remote,
                   std::pair<std::string, std::string> target, const ValueFormat &format);
    ~TargetRelation();
    TargetRelation(const TargetRelation &) = delete;
    TargetRelation &operator=(const TargetRelation &) = delete;

    // Applies one row change inside the open transaction and SPI connection. Throws Error
    // P0002 when the row to update or delete is not there, 21000 when it is several, 27000 when a
    // trigger or rule has left out the row to insert, 42703 when the target lacks a column that has
    // a value, and what the statement raises. Values must be followed by a NUL byte, see
    // ChangeBatch.
    void Write(const RowChange &change);

    // What identifies the row, "(id)=(5)", as the server's own messages show keys. Looks nothing
    // up, so that it can be called after an error.
    std::string ShowKey(const RowChange &change);

    const RemoteRelation &
    remote() const {
        return *remote_;
    }
    Oid
    relid() const {
        return relid_;
    }
    // SQL name with ONLY where rows of children must not be touched: not where an extension keeps
    // the rows, see pg/table_manager.
    const std::string &
    target_name() const {
        return target_name_;
    }
    // A partition whose rows go through its ancestor: target_name() is that, see
    // pg/partition_routing; or the target has not the same partition.
    bool
    is_routed() const {
        return routed_;
    }
    // A materialized view: its contents come from its query, not from the stream.
    bool
    is_ignored() const {
        return ignored_;
    }
    // Triggers or rules that fire in replica role: they may look at other tables.
    bool
    fires_triggers() const {
        return fires_triggers_;
    }
    // Who its rows are written as, see pg/table_owner.
    Oid
    owner() const {
        return owner_;
    }
    // False once the target's definition changed: make a new object.
    bool is_valid() const;

  private:
    struct Column {
        std::string name;
        Oid type = InvalidOid;
        bool generated = false;
        bool fixed = false; // UPDATE cannot set it
        ValueInput input;
        std::string equality; // OPERATOR(schema.=), or empty where the type has none
        bool is_key = false;  // of the target's replica identity; only if the stream tells no key
    };
    // What a prepared statement expects: for each parameter the tuple and column it comes from.
    struct Parameter {
        bool from_old = false;
        uint16_t column = 0;
    };
    struct Plan {
        SPIPlanPtr plan = nullptr;
        std::vector<Parameter> parameters;
    };

    enum class ColumnState : uint8_t { kKept, kChanged, kUnknown };

    void Resolve();
    void ReadColumns(Relation relation);
    void ReadKey(Relation relation);
    void FixColumns(const std::vector<std::string> &placement);
    // How a change is written: by the statement of its kind; or an update as a replacement, in one
    // statement, or by these two.
    enum class Way : char { kPlain = '-', kReplace = 'r', kDelete = 'd', kInsert = 'i' };

    const Plan &PlanFor(const RowChange &change, Way way);
    Plan Prepare(const RowChange &change, Way way) const;
    std::string Sql(const RowChange &change, Way way, std::vector<Parameter> &parameters) const;
    void ForgetPlans();
    std::string InsertSql(const RowChange &change, std::vector<Parameter> &parameters) const;
    std::string UpdateSql(const RowChange &change, std::vector<Parameter> &parameters) const;
    std::string ReplaceSql(const RowChange &change, std::vector<Parameter> &parameters) const;
    std::string DeleteSql(const RowChange &change, std::vector<Parameter> &parameters) const;
    std::string RowCondition(const RowChange &change, std::vector<Parameter> &parameters) const;
    std::string ImageCondition(const std::string &one, const std::string &other) const;
    std::string FullCondition(const RowChange &change, std::vector<Parameter> &parameters) const;
    std::string AddParameter(bool from_old, size_t column,
                             std::vector<Parameter> &parameters) const;
    bool IsWholeRow(TupleView tuple) const;
    bool NamesWholeRow(const RowChange &change) const;
    std::string KeepOthers(const RowChange &change) const;
    std::vector<std::string> WrittenColumns() const;
    ColumnState StateOf(const RowChange &change, size_t column) const;
    bool NeedNotSet(const RowChange &change, size_t column) const;
    bool MustReplace(const RowChange &change) const;
    bool Replace(const RowChange &change);
    // Returns the number of rows.
    uint64 Run(const RowChange &change, Way way = Way::kPlain);
    void Insert(const RowChange &change);
    void Update(const RowChange &change);
    void Delete(const RowChange &change);
    bool RunForOneRow(const RowChange &change, Way way = Way::kPlain);

    std::shared_ptr<const RemoteRelation> remote_;
    std::pair<std::string, std::string> target_;
    ValueFormat format_;
    Oid relid_ = InvalidOid;
    Oid owner_ = InvalidOid;
    bool ignored_ = false;
    bool routed_ = false;
    bool one_heap_ = false; // all rows lie in it alone
    bool is_hypertable_ = false;
    bool distributed_ = false; // by Citus, which writes no row by what another statement returns
    bool citus_local_ = false; // that, and its rows lie in one shard on this node
    bool fires_triggers_ = false;
    std::string sql_name_; // without ONLY
    std::string target_name_;
    std::vector<Column> columns_;            // aligned with remote_->columns
    std::vector<std::string> other_columns_; // that only the target has, and may be written
    bool has_fixed_columns_ = false;
    MemoryContext context_ = nullptr;
    MemoryContext row_context_ = nullptr;
    std::unordered_map<std::string, Plan> plans_;
    std::string plan_key_;
    const Plan *last_plan_ = nullptr;
    std::string last_plan_key_;
    uint64 invalidations_seen_ = 0;
};

} // namespace livemigrate::stage
