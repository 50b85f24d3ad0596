#include "stage/target_relation.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"

extern "C" {
#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/typcache.h"
}

namespace livemigrate::stage {

namespace {

// Relation cache invalidations of this session. Any of them makes every TargetRelation look at the
// target's definition again, which is cheap and rare.
uint64 invalidations = 0;
bool callback_registered = false;

void
CountInvalidation(Datum, Oid) {
    invalidations++;
}

std::string
QualifiedOperator(Oid operator_oid) {
    if (!OidIsValid(operator_oid)) {
        return "";
    }
    struct Names {
        const char *schema;
        const char *name;
    };
    const Names names = pg::Call([&]() -> Names {
        HeapTuple tuple = SearchSysCache1(OPEROID, ObjectIdGetDatum(operator_oid));
        if (!HeapTupleIsValid(tuple)) {
            elog(ERROR, "cache lookup failed for operator %u", operator_oid);
        }
        const auto *form = reinterpret_cast<Form_pg_operator>(GETSTRUCT(tuple));
        const Names found = {get_namespace_name(form->oprnamespace),
                             pstrdup(NameStr(form->oprname))};
        ReleaseSysCache(tuple);
        return found;
    });
    return std::string("OPERATOR(") + QuoteIdentifier(names.schema) + "." + names.name + ")";
}

bool
IsPresent(const ColumnValue &value) {
    return value.kind == ValueKind::kText || value.kind == ValueKind::kNull ||
           value.kind == ValueKind::kBinary;
}

// The type of a source column as the target writes it; only types that every server has the same.
std::string
TypeName(const RemoteColumn &column) {
    if (column.type_oid == InvalidOid || column.type_oid >= FirstGenbkiObjectId) {
        return "... /* as on the source */";
    }
    return pg::Call([&]() -> const char * {
        return format_type_extended(column.type_oid, column.type_modifier,
                                    FORMAT_TYPE_TYPEMOD_GIVEN);
    });
}

bool
FiresTriggers(Relation relation) {
    const TriggerDesc *triggers = relation->trigdesc;
    for (int i = 0; triggers != nullptr && i < triggers->numtriggers; i++) {
        const char enabled = triggers->triggers[i].tgenabled;
        if (enabled == TRIGGER_FIRES_ALWAYS || enabled == TRIGGER_FIRES_ON_REPLICA) {
            return true;
        }
    }
    return false;
}

} // namespace

TargetRelation::TargetRelation(std::shared_ptr<const RemoteRelation> remote,
                               const ValueFormat &format)
    : remote_(std::move(remote)), format_(format) {
    if (!callback_registered) {
        pg::Call([] { CacheRegisterRelcacheCallback(CountInvalidation, 0); });
        callback_registered = true;
    }
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
    for (auto &[key, plan] : plans_) {
        SPI_freeplan(plan.plan);
    }
    MemoryContextDelete(context_);
}

bool
TargetRelation::is_valid() const {
    return invalidations_seen_ == invalidations;
}

void
TargetRelation::Resolve() {
    const std::string name = QualifiedName(remote_->schema, remote_->name);
    relid_ = pg::Call([&]() -> Oid {
        const Oid schema = get_namespace_oid(remote_->schema.c_str(), true);
        if (!OidIsValid(schema)) {
            return InvalidOid;
        }
        const Oid relid = get_relname_relid(remote_->name.c_str(), schema);
        if (OidIsValid(relid)) {
            LockRelationOid(relid, RowExclusiveLock);
        }
        return relid;
    });
    if (!OidIsValid(relid_)) {
        throw Error(sqlstate::kUndefinedTable, "table " + name + " does not exist on the target")
            .Detail("The change stream has rows for it.")
            .Hint("Create it as it is on the source, then run: SELECT "
                  "livemigrate.migration_resume();");
    }
    const Oid routing = pg::RoutingRelation(relid_);
    std::string target = name;
    if (routing != relid_) {
        relid_ = routing;
        struct Names {
            const char *schema;
            const char *name;
        };
        const Names names = pg::Call([&]() -> Names {
            LockRelationOid(routing, RowExclusiveLock);
            return {get_namespace_name(get_rel_namespace(routing)), get_rel_name(routing)};
        });
        target = QualifiedName(names.schema, names.name);
        routed_ = true;
    }
    sql_name_ = target;
    Relation relation = pg::Call([&] { return table_open(relid_, NoLock); });
    ignored_ = relation->rd_rel->relkind == RELKIND_MATVIEW;
    const bool only = relation->rd_rel->relkind == RELKIND_RELATION;
    target_name_ = (only ? "ONLY " : "") + target;
    fires_triggers_ = FiresTriggers(relation);
    ReadColumns(relation);
    pg::Call([&] { table_close(relation, NoLock); });
    invalidations_seen_ = invalidations;
}

void
TargetRelation::ReadColumns(Relation relation) {
    TupleDesc descriptor = RelationGetDescr(relation);
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
            column.always_identity = attribute->attidentity == ATTRIBUTE_IDENTITY_ALWAYS;
        }
        lacks_columns_ = lacks_columns_ || !OidIsValid(column.type);
        if (OidIsValid(column.type)) {
            const Oid equality = pg::Call([&] {
                PrepareInput(column.input, column.type, column.input.type_modifier, context_);
                return lookup_type_cache(column.type, TYPECACHE_EQ_OPR)->eq_opr;
            });
            column.equality = QualifiedOperator(equality);
        }
        columns_.push_back(std::move(column));
    }
}

// wal2json's description of a table keeps columns that have been dropped or renamed since: only a
// value for a column needs the column.
void
TargetRelation::CheckColumns(TupleView tuple) const {
    for (size_t i = 0; i < tuple.size(); i++) {
        if (OidIsValid(columns_[i].type) || tuple[i].kind == ValueKind::kAbsent) {
            continue;
        }
        const RemoteColumn &remote = remote_->columns[i];
        const std::string table = QualifiedName(remote_->schema, remote_->name);
        throw Error(sqlstate::kUndefinedColumn, "column " + QuoteIdentifier(remote.name) +
                                                    " of table " + table +
                                                    " does not exist on the target")
            .Detail("The change stream has values for it: the source's table was changed.")
            .Hint("On the target run: ALTER TABLE " + table + " ADD COLUMN " +
                  QuoteIdentifier(remote.name) + " " + TypeName(remote) +
                  "; SELECT livemigrate.migration_resume();");
    }
}

std::string
TargetRelation::AddParameter(bool from_old, size_t column,
                             std::vector<Parameter> &parameters) const {
    parameters.push_back({from_old, static_cast<uint16_t>(column)});
    return "$" + std::to_string(parameters.size());
}

std::string
TargetRelation::InsertSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string names;
    std::string values;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (columns_[i].generated || !IsPresent(change.new_tuple[i])) {
            continue;
        }
        names += (names.empty() ? "" : ", ") + QuoteIdentifier(columns_[i].name);
        values += (values.empty() ? "" : ", ") + AddParameter(false, i, parameters);
    }
    const std::string &table = sql_name_;
    if (names.empty()) {
        return "INSERT INTO " + table + " DEFAULT VALUES";
    }
    return "INSERT INTO " + table + " (" + names + ") OVERRIDING SYSTEM VALUE VALUES (" + values +
           ")";
}

// For replica identity FULL: exactly one of the rows whose image is the old row's.
std::string
TargetRelation::FullCondition(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string columns;
    std::string values;
    std::string equalities;
    for (size_t i = 0; i < columns_.size(); i++) {
        const ColumnValue &value = change.old_tuple[i];
        if (columns_[i].generated || !IsPresent(value)) {
            continue;
        }
        const std::string name = QuoteIdentifier(columns_[i].name);
        const std::string parameter = AddParameter(true, i, parameters);
        columns += (columns.empty() ? "" : ", ") + name;
        values += (values.empty() ? "" : ", ") + parameter;
        // Equality lets an index be used; the image below decides.
        if (value.kind == ValueKind::kNull) {
            equalities += " AND " + name + " IS NULL";
        } else if (!columns_[i].equality.empty()) {
            equalities += " AND " + name + " " + columns_[i].equality + " " + parameter;
        }
    }
    // The casts keep the parser from comparing column by column, which not every type can.
    const std::string image =
        columns.empty() ? "true"
                        : "ROW(" + columns + ")::pg_catalog.record OPERATOR(pg_catalog.*=) ROW(" +
                              values + ")::pg_catalog.record";
    return "ctid = (SELECT ctid FROM " + target_name_ + " WHERE " + image + equalities +
           " LIMIT 1)";
}

std::string
TargetRelation::RowCondition(const RowChange &change, std::vector<Parameter> &parameters) const {
    const bool from_old = !change.old_tuple.empty();
    if (from_old && change.old_tuple_is_full) {
        return FullCondition(change, parameters);
    }
    const TupleView tuple = from_old ? change.old_tuple : change.new_tuple;
    std::string condition;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (!remote_->columns[i].is_key || !IsPresent(tuple[i])) {
            continue;
        }
        const std::string name = QuoteIdentifier(columns_[i].name);
        condition += condition.empty() ? "" : " AND ";
        if (tuple[i].kind == ValueKind::kNull) {
            condition += name + " IS NULL";
        } else {
            condition += name + " " + (columns_[i].equality.empty() ? "=" : columns_[i].equality) +
                         " " + AddParameter(from_old, i, parameters);
        }
    }
    if (condition.empty()) {
        throw Error(sqlstate::kProtocolViolation, "the change stream has no key for a row of " +
                                                      QualifiedName(remote_->schema, remote_->name))
            .Hint("On the source run: ALTER TABLE " +
                  QualifiedName(remote_->schema, remote_->name) + " REPLICA IDENTITY FULL;");
    }
    return condition;
}

std::string
TargetRelation::UpdateSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    std::string assignments;
    for (size_t i = 0; i < columns_.size(); i++) {
        if (columns_[i].generated || columns_[i].always_identity ||
            !IsPresent(change.new_tuple[i])) {
            continue;
        }
        assignments += (assignments.empty() ? "" : ", ") + QuoteIdentifier(columns_[i].name) +
                       " = " + AddParameter(false, i, parameters);
    }
    const std::string condition = RowCondition(change, parameters);
    if (assignments.empty()) {
        // Nothing that may be written changed; the row must be there all the same.
        return "SELECT FROM " + target_name_ + " WHERE " + condition;
    }
    return "UPDATE " + target_name_ + " SET " + assignments + " WHERE " + condition;
}

std::string
TargetRelation::DeleteSql(const RowChange &change, std::vector<Parameter> &parameters) const {
    return "DELETE FROM " + target_name_ + " WHERE " + RowCondition(change, parameters);
}

TargetRelation::Plan
TargetRelation::Prepare(const RowChange &change) {
    Plan plan;
    std::string sql;
    switch (change.kind) {
    case ChangeKind::kInsert:
        sql = InsertSql(change, plan.parameters);
        break;
    case ChangeKind::kUpdate:
        sql = UpdateSql(change, plan.parameters);
        break;
    default:
        sql = DeleteSql(change, plan.parameters);
        break;
    }
    std::vector<Oid> types;
    for (const Parameter &parameter : plan.parameters) {
        types.push_back(columns_[parameter.column].type);
    }
    plan.plan = pg::Call([&] {
        SPIPlanPtr prepared =
            SPI_prepare(sql.c_str(), static_cast<int>(types.size()), types.data());
        if (prepared == nullptr) {
            elog(ERROR, "SPI_prepare: %s", SPI_result_code_string(SPI_result));
        }
        SPI_keepplan(prepared);
        return prepared;
    });
    return plan;
}

const TargetRelation::Plan &
TargetRelation::PlanFor(const RowChange &change) {
    plan_key_.clear();
    plan_key_ += static_cast<char>('0' + static_cast<int>(change.kind));
    plan_key_ += change.old_tuple_is_full ? 'f' : 'k';
    auto add = [this](TupleView tuple) {
        plan_key_ += '|';
        for (const ColumnValue &value : tuple) {
            // A NULL in the key or old row changes the condition; elsewhere it is a parameter.
            plan_key_ += static_cast<char>('0' + static_cast<int>(value.kind));
        }
    };
    add(change.old_tuple);
    add(change.new_tuple);
    if (last_plan_ != nullptr && plan_key_ == last_plan_key_) {
        return *last_plan_;
    }
    auto found = plans_.find(plan_key_);
    if (found == plans_.end()) {
        found = plans_.emplace(plan_key_, Prepare(change)).first;
    }
    last_plan_ = &found->second;
    last_plan_key_ = plan_key_;
    return found->second;
}

uint64
TargetRelation::Run(const RowChange &change) {
    if (lacks_columns_ && !ignored_) {
        CheckColumns(change.old_tuple);
        CheckColumns(change.new_tuple);
    }
    const Plan &plan = PlanFor(change);
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

void
TargetRelation::CheckIdentityColumns(const RowChange &change) const {
    // A GENERATED ALWAYS identity cannot be SET. On the source it changes only through
    // UPDATE ... SET column = DEFAULT, which shows as a changed key.
    for (size_t i = 0; i < columns_.size(); i++) {
        if (columns_[i].always_identity && !change.old_tuple.empty() &&
            IsPresent(change.old_tuple[i]) && IsPresent(change.new_tuple[i]) &&
            change.old_tuple[i].data != change.new_tuple[i].data) {
            throw Error(sqlstate::kFeatureNotSupported,
                        "an update changed the GENERATED ALWAYS identity column " +
                            QuoteIdentifier(columns_[i].name) + " of " +
                            QualifiedName(remote_->schema, remote_->name))
                .Hint("On the target run: ALTER TABLE " +
                      QualifiedName(remote_->schema, remote_->name) + " ALTER COLUMN " +
                      QuoteIdentifier(columns_[i].name) +
                      " SET GENERATED BY DEFAULT; SELECT livemigrate.migration_resume();");
        }
    }
}

void
TargetRelation::Insert(const RowChange &change) {
    Run(change);
}

namespace {

[[noreturn]] void
ThrowMissingRow(const RemoteRelation &remote, const char *command) {
    throw Error("P0002", std::string("row to ") + command + " is not on the target: table " +
                             QualifiedName(remote.schema, remote.name))
        .Detail("The target's rows are not what the change stream expects.")
        .Hint("Was the target written to? Compare it: SELECT * FROM livemigrate.compare_data() "
              "WHERE NOT equal;");
}

} // namespace

void
TargetRelation::Update(const RowChange &change) {
    CheckIdentityColumns(change);
    if (Run(change) == 0) {
        ThrowMissingRow(*remote_, "update");
    }
}

void
TargetRelation::Delete(const RowChange &change) {
    if (Run(change) == 0) {
        ThrowMissingRow(*remote_, "delete");
    }
}

} // namespace livemigrate::stage
