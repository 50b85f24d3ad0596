#include "stage/target_relation.hpp"

#include "core/call_hint.hpp"
#include "core/sql_text.hpp"
#include "pg/equality_operator.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"
#include "pg/replica_role.hpp"
#include "pg/table_manager.hpp"
#include "pg/table_owner.hpp"
#include "stage/distribution.hpp"

#include <algorithm>

extern "C" {
#include "utils/inval.h"
#include "utils/plancache.h"
#include "utils/syscache.h"
}

namespace livemigrate::stage {

namespace {

// Citus's, with all rows in one shard on this node.
bool
IsCitusLocal(Oid relid) {
    const auto [schema, table] = pg::NameOf(relid);
    return DistributionOf(schema, table).kind == Distribution::Kind::kLocal;
}

// More kinds of changes to one table (which values are sent, which are NULL) are rare, and plans of
// wide tables are large.
constexpr size_t kMaxPlans = 64;

// Invalidations of this session. Any of them makes every TargetRelation look at the target's
// definition again, which is cheap and rare. Of the system caches those that make PostgreSQL plan a
// kept statement anew (InitPlanCache() of plancache.c): it would look the table's name up as the
// owner, see Run().
uint64 invalidations = 0;
bool callbacks_registered = false;

// A statement on a table with row security is planned anew for another role, and then its names are
// looked up as that. No policy is in the plan as it is: row_security is off, so that preparing it
// raises an error where one would be; and none binds the owner, see pg::AsOwner. C-like.
void
ForgetRowSecurity(SPIPlanPtr plan) {
    const ListCell *cell = nullptr;
    foreach (cell, SPI_plan_get_plan_sources(plan)) {
        static_cast<CachedPlanSource *>(lfirst(cell))->dependsOnRLS = false;
    }
}

void
CountRelationInvalidation(Datum, Oid) {
    invalidations++;
}

void
CountSystemInvalidation(Datum, int, uint32) {
    invalidations++;
}

void
RegisterCallbacks() {
    if (callbacks_registered) {
        return;
    }
    pg::Call([] {
        CacheRegisterRelcacheCallback(CountRelationInvalidation, 0);
        for (const int cache : {PROCOID, TYPEOID, NAMESPACEOID, OPEROID, AMOPOPID, FOREIGNSERVEROID,
                                FOREIGNDATAWRAPPEROID}) {
            CacheRegisterSyscacheCallback(cache, CountSystemInvalidation, 0);
        }
    });
    callbacks_registered = true;
}

} // namespace

TargetRelation::TargetRelation(std::shared_ptr<const RemoteRelation> remote,
                               std::pair<std::string, std::string> target,
                               const ValueFormat &format)
    : remote_(std::move(remote)), target_(std::move(target)), format_(format) {
    RegisterCallbacks();
    context_ = pg::Call([] {
        return AllocSetContextCreate(TopMemoryContext, "livemigrate target relation",
                                     ALLOCSET_SMALL_SIZES);
    });
    row_context_ = pg::Call([this] {
        return AllocSetContextCreate(context_, "livemigrate row", ALLOCSET_DEFAULT_SIZES);
    });
    Resolve();
}

TargetRelation::~TargetRelation() {
    ForgetPlans();
    MemoryContextDelete(context_);
}

void
TargetRelation::ForgetPlans() {
    for (auto &[key, plan] : plans_) {
        SPI_freeplan(plan.plan);
    }
    plans_.clear();
    last_plan_ = nullptr;
}

bool
TargetRelation::is_valid() const {
    return invalidations_seen_ == invalidations;
}

void
TargetRelation::Resolve() {
    const std::string name = QualifiedName(target_.first, target_.second);
    routed_ = target_.first != remote_->schema || target_.second != remote_->name;
    relid_ = pg::FindTable(target_.first, target_.second);
    if (!OidIsValid(relid_)) {
        throw Error(sqlstate::kUndefinedTable, "table " + name + " does not exist on the target")
            .Detail("The change stream has rows for it.")
            .Hint(MissingTableHint(target_.first, target_.second));
    }
    pg::Call([&] { LockRelationOid(relid_, RowExclusiveLock); });
    const Oid routing = pg::RoutingRelation(relid_);
    std::string target = name;
    if (routing != relid_) {
        relid_ = routing;
        pg::Call([&] { LockRelationOid(routing, RowExclusiveLock); });
        const auto [schema, table] = pg::NameOf(routing);
        target = QualifiedName(schema, table);
        routed_ = true;
    }
    sql_name_ = target;
    Relation relation = pg::Call([&] { return table_open(relid_, NoLock); });
    ignored_ = relation->rd_rel->relkind == RELKIND_MATVIEW;
    const bool is_table = relation->rd_rel->relkind == RELKIND_RELATION;
    const bool is_partitioned = relation->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
    fires_triggers_ = pg::FiresInReplicaRole(relation) ||
                      (is_partitioned && pg::PartitionsFireInReplicaRole(relid_));
    ReadColumns(relation);
    ReadKey(relation);
    pg::Call([&] { table_close(relation, NoLock); });
    const pg::TableManager manager = pg::ManagerOf(relid_);
    is_hypertable_ = manager == pg::TableManager::kTimescaledb;
    distributed_ = manager == pg::TableManager::kCitus;
    citus_local_ = distributed_ && IsCitusLocal(relid_);
    if (distributed_ && !pg::NodesAreJoined()) {
        throw Error(sqlstate::kObjectNotInPrerequisiteState,
                    "table " + target + " was distributed while changes were applied")
            .Hint("SELECT livemigrate.migration_resume();");
    }
    one_heap_ = is_table && (manager == pg::TableManager::kNone || citus_local_);
    target_name_ = (one_heap_ && !distributed_ ? "ONLY " : "") + target;
    owner_ = pg::OwnerToWriteAs(relid_);
    FixColumns(pg::PlacementColumns(relid_, manager));
    invalidations_seen_ = invalidations;
}

void
TargetRelation::ReadColumns(Relation relation) {
    TupleDesc descriptor = RelationGetDescr(relation);
    for (int i = 0; i < descriptor->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        const std::string name = NameStr(attribute->attname);
        if (!attribute->attisdropped && attribute->attgenerated == '\0' &&
            std::none_of(remote_->columns.begin(), remote_->columns.end(),
                         [&](const RemoteColumn &column) { return column.name == name; })) {
            other_columns_.push_back(name);
        }
    }
    for (const RemoteColumn &remote : remote_->columns) {
        Column column;
        column.name = remote.name;
        for (int i = 0; i < descriptor->natts; i++) {
            const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
            if (attribute->attisdropped || remote.name != NameStr(attribute->attname)) {
                continue;
            }
            column.type = attribute->atttypid;
            column.input.type_modifier = attribute->atttypmod;
            column.generated = attribute->attgenerated != '\0';
            column.fixed = attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
        }
        if (OidIsValid(column.type)) {
            pg::Call([&] {
                PrepareInput(column.input, column.type, column.input.type_modifier, remote,
                             remote_->binary, context_);
            });
            column.equality = pg::EqualityOperator(column.type);
        }
        columns_.push_back(std::move(column));
    }
}

// wal2json tells a table's key with the first UPDATE or DELETE only; errors before that show the
// target's. After ReadColumns().
void
TargetRelation::ReadKey(Relation relation) {
    if (std::any_of(remote_->columns.begin(), remote_->columns.end(),
                    [](const RemoteColumn &column) { return column.is_key; })) {
        return;
    }
    struct Key {
        int count;
        AttrNumber attributes[INDEX_MAX_KEYS];
    };
    const Key key = pg::Call([relation]() -> Key {
        Key found = {};
        const Oid identity = RelationGetReplicaIndex(relation);
        if (OidIsValid(identity)) {
            Relation index = index_open(identity, AccessShareLock);
            for (int i = 0; i < index->rd_index->indnkeyatts; i++) {
                found.attributes[found.count++] = index->rd_index->indkey.values[i];
            }
            index_close(index, AccessShareLock);
        }
        return found;
    });
    for (int i = 0; i < key.count; i++) {
        const char *name =
            NameStr(TupleDescAttr(RelationGetDescr(relation), key.attributes[i] - 1)->attname);
        for (Column &column : columns_) {
            column.is_key = column.is_key || column.name == name;
        }
    }
}

// After ReadColumns().
void
TargetRelation::FixColumns(const std::vector<std::string> &placement) {
    for (Column &column : columns_) {
        const bool places =
            std::find(placement.begin(), placement.end(), column.name) != placement.end();
        column.fixed = column.fixed || places;
        has_fixed_columns_ = has_fixed_columns_ || column.fixed;
    }
}

TargetRelation::Plan
TargetRelation::Prepare(const RowChange &change, Way way) const {
    Plan plan;
    const std::string sql = Sql(change, way, plan.parameters);
    std::vector<Oid> types;
    for (const Parameter &parameter : plan.parameters) {
        types.push_back(columns_[parameter.column].type);
    }
    // One plan for thousands of rows; but of a hypertable's, TimescaleDB needs the values: without,
    // it looks into every chunk, and decompresses all of those that are compressed.
    const bool needs_values = is_hypertable_ && change.kind != ChangeKind::kInsert;
    const int options = needs_values ? CURSOR_OPT_CUSTOM_PLAN : CURSOR_OPT_GENERIC_PLAN;
    plan.plan = pg::Call([&] {
        SPIPlanPtr prepared =
            SPI_prepare_cursor(sql.c_str(), static_cast<int>(types.size()), types.data(), options);
        if (prepared == nullptr) {
            elog(ERROR, "SPI_prepare: %s", SPI_result_code_string(SPI_result));
        }
        SPI_keepplan(prepared);
        ForgetRowSecurity(prepared);
        return prepared;
    });
    return plan;
}

const TargetRelation::Plan &
TargetRelation::PlanFor(const RowChange &change, Way way) {
    plan_key_.clear();
    plan_key_ += static_cast<char>('0' + static_cast<int>(change.kind));
    plan_key_ += change.old_tuple_is_full ? 'f' : 'k';
    plan_key_ += static_cast<char>(way);
    // A NULL in a condition makes another statement; elsewhere it is a parameter like any value.
    const bool by_new = change.old_tuple.empty();
    for (const ColumnValue &value : change.old_tuple) {
        plan_key_ += value.kind == ValueKind::kNull ? 'n' : IsSent(value) ? 'v' : '-';
    }
    plan_key_ += '|';
    for (size_t i = 0; i < change.new_tuple.size(); i++) {
        const ColumnValue &value = change.new_tuple[i];
        const bool by_null = value.kind == ValueKind::kNull && by_new && remote_->columns[i].is_key;
        plan_key_ += by_null ? 'n' : IsSent(value) ? 'v' : '-';
        if (change.kind == ChangeKind::kUpdate && NeedNotSet(change, i)) {
            plan_key_ += '=';
        }
    }
    if (last_plan_ != nullptr && plan_key_ == last_plan_key_) {
        return *last_plan_;
    }
    auto found = plans_.find(plan_key_);
    if (found == plans_.end()) {
        if (plans_.size() >= kMaxPlans) {
            ForgetPlans();
        }
        found = plans_.emplace(plan_key_, Prepare(change, way)).first;
    }
    last_plan_ = &found->second;
    last_plan_key_ = plan_key_;
    return found->second;
}

uint64
TargetRelation::Run(const RowChange &change, Way way) {
    // Prepared by ourselves: the owner of a table need not have rights on its schema.
    const Plan &plan = PlanFor(change, way);
    const pg::AsOwner owner(owner_);
    return pg::Call([&]() -> uint64 {
        const MemoryContext outer = MemoryContextSwitchTo(row_context_);
        const size_t count = plan.parameters.size();
        auto *values = static_cast<Datum *>(palloc(sizeof(Datum) * (count + 1)));
        auto *nulls = static_cast<char *>(palloc(count + 1));
        // For SPI, which wants one around it, and for domains, whose checks may run queries.
        PushActiveSnapshot(GetTransactionSnapshot());
        for (size_t i = 0; i < count; i++) {
            const Parameter &parameter = plan.parameters[i];
            const ColumnValue &value = parameter.from_old ? change.old_tuple[parameter.column]
                                                          : change.new_tuple[parameter.column];
            Column &column = columns_[parameter.column];
            nulls[i] = value.kind == ValueKind::kNull ? 'n' : ' ';
            values[i] = ReadValue(column.input, value, format_);
        }
        const int code = SPI_execute_plan(plan.plan, values, nulls, false, 0);
        if (code < 0) {
            elog(ERROR, "SPI_execute_plan: %s", SPI_result_code_string(code));
        }
        PopActiveSnapshot();
        const uint64 processed = SPI_processed;
        SPI_freetuptable(SPI_tuptable);
        MemoryContextSwitchTo(outer);
        MemoryContextReset(row_context_);
        return processed;
    });
}

// Not the key alone: an identity FULL is all of the row.
std::string
TargetRelation::ShowKey(const RowChange &change) {
    const TupleView tuple = change.old_tuple.empty() ? change.new_tuple : change.old_tuple;
    std::string names;
    std::string values;
    for (size_t i = 0; i < tuple.size(); i++) {
        const bool is_key = remote_->columns[i].is_key || columns_[i].is_key;
        if (!is_key || !IsSent(tuple[i])) {
            continue;
        }
        names += (names.empty() ? "" : ", ") + columns_[i].name;
        values += values.empty() ? "" : ", ";
        try {
            const char *shown = pg::Call([&] { return ShowValue(columns_[i].input, tuple[i]); });
            values += shown == nullptr ? "..." : shown;
        } catch (const Error &) {
            values += "...";
        }
    }
    return names.empty() ? "" : "(" + names + ")=(" + values + ")";
}

namespace {

// SQL that lets such changes through; empty where no trigger or rule can have left one out.
std::string
LetThrough(Oid relid, CmdType command) {
    const std::string silence = pg::SilenceRowFilters(relid, command);
    return silence.empty() ? "" : silence + " SELECT livemigrate.migration_resume();";
}

[[noreturn]] void
ThrowMissingRow(const RemoteRelation &remote, Oid relid, CmdType command) {
    const std::string let_through = LetThrough(relid, command);
    throw Error("P0002", std::string("row to ") + (command == CMD_UPDATE ? "update" : "delete") +
                             " is not on the target: table " +
                             QualifiedName(remote.schema, remote.name))
        .Detail("The target's rows are not what the change stream expects.")
        .Hint("Was the target written to? Compare it: SELECT * FROM livemigrate.compare_data() "
              "WHERE NOT equal;" +
              (let_through.empty()
                   ? ""
                   : " Has a trigger or rule of it left the change out? " + let_through));
}

// A key that no longer names one row, or never did, takes the others with it.
[[noreturn]] void
ThrowManyRows(const RemoteRelation &remote, uint64 rows) {
    const std::string table = QualifiedName(remote.schema, remote.name);
    throw Error("21000", std::to_string(rows) + " rows of the target have the key of one row of " +
                             "the source: table " + table)
        .Detail("None of them was changed: the key in the change stream does not tell them apart.")
        .Hint("Has the target lost a unique index, or was it written to? Compare it: SELECT * FROM "
              "livemigrate.compare_data() WHERE NOT equal;");
}

} // namespace

void
TargetRelation::Insert(const RowChange &change) {
    if (Run(change) == 0) {
        throw Error("27000", "row to insert was left out: table " +
                                 QualifiedName(remote_->schema, remote_->name))
            .Detail("A trigger or rule of the target that is ENABLE ALWAYS or REPLICA leaves rows "
                    "out.")
            .Hint(LetThrough(relid_, CMD_INSERT));
    }
}

// Whether the row was there.
bool
TargetRelation::RunForOneRow(const RowChange &change, Way way) {
    const uint64 rows = Run(change, way);
    if (rows > 1) {
        ThrowManyRows(*remote_, rows);
    }
    return rows == 1;
}

bool
TargetRelation::Replace(const RowChange &change) {
    if (!distributed_) {
        return RunForOneRow(change, Way::kReplace);
    }
    // Citus inserts nothing that another statement returns, so the whole row must be in the stream.
    if (!other_columns_.empty() || !IsWholeRow(change.new_tuple)) {
        const std::string table = QualifiedName(remote_->schema, remote_->name);
        throw Error(sqlstate::kFeatureNotSupported,
                    "a row of distributed table " + table + " cannot be moved to another shard")
            .Detail("The change stream does not have all of its columns: a value that is stored "
                    "out of line and did not change, or a column that only the target has.")
            .Hint("SELECT pg_catalog.undistribute_table(" + QuoteLiteral(table) +
                  ", cascade_via_foreign_keys => true); SELECT livemigrate.migration_resume();");
    }
    return RunForOneRow(change, Way::kDelete) && Run(change, Way::kInsert) > 0;
}

void
TargetRelation::Update(const RowChange &change) {
    const bool done =
        (!MustReplace(change) && RunForOneRow(change)) || (has_fixed_columns_ && Replace(change));
    if (!done) {
        ThrowMissingRow(*remote_, relid_, CMD_UPDATE);
    }
}

void
TargetRelation::Delete(const RowChange &change) {
    if (!RunForOneRow(change)) {
        ThrowMissingRow(*remote_, relid_, CMD_DELETE);
    }
}

void
TargetRelation::Write(const RowChange &change) {
    switch (change.kind) {
    case ChangeKind::kInsert:
        return Insert(change);
    case ChangeKind::kUpdate:
        return Update(change);
    default:
        return Delete(change);
    }
}

} // namespace livemigrate::stage
