#include "stage/plain_table.hpp"

#include "pg/guard.hpp"
#include "pg/index_entries.hpp"
#include "pg/table_manager.hpp"
#include "pg/update_room.hpp"
#include "pg/watched_table.hpp"

extern "C" {
#include "catalog/catalog.h"
#include "catalog/pg_am.h"
#include "commands/trigger.h"
#include "executor/nodeModifyTable.h"
#include "utils/rls.h"
}

namespace livemigrate::stage {

namespace {

// As COPY gathers rows before it writes them.
constexpr int kMaxInserts = 1000;
constexpr Size kMaxInsertBytes = 1 << 20;

bool
HasExclusionConstraint(Relation relation) {
    List *indexes = RelationGetIndexList(relation);
    bool found = false;
    ListCell *cell = nullptr;
    foreach (cell, indexes) {
        Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        found = found || index->rd_index->indisexclusion;
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return found;
}

bool
IsPlain(Relation relation) {
    const Form_pg_class form = relation->rd_rel;
    return form->relkind == RELKIND_RELATION && !pg::IsWatched(relation) &&
           !IsCatalogRelation(relation) && relation->rd_rules == nullptr &&
           !HasExclusionConstraint(relation) &&
           check_enable_rls(relation->rd_id, InvalidOid, true) != RLS_ENABLED &&
           pg_class_aclmask(relation->rd_id, GetUserId(),
                            ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_SELECT,
                            ACLMASK_ALL) == (ACL_INSERT | ACL_UPDATE | ACL_DELETE | ACL_SELECT);
}

[[noreturn]] void
ReportMissingRow(Relation relation) {
    ereport(ERROR, (errcode(ERRCODE_NO_DATA_FOUND), errmsg("row to change is not in table \"%s\"",
                                                           RelationGetRelationName(relation))));
    pg_unreachable();
}

void
CheckResult(TM_Result result) {
    if (result != TM_Ok) {
        ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                        errmsg("another session changes rows that are being applied"),
                        errhint("Nobody should write to the target during a migration.")));
    }
}

} // namespace

PlainTable::PlainTable(const RemoteRelation &remote, const ValueFormat &format)
    : remote_(remote), format_(format) {
    pg::Call([this] {
        context_ = AllocSetContextCreate(TopMemoryContext, "livemigrate plain table",
                                         ALLOCSET_SMALL_SIZES);
        write_context_ =
            AllocSetContextCreate(context_, "livemigrate write", ALLOCSET_DEFAULT_SIZES);
        row_context_ = AllocSetContextCreate(context_, "livemigrate rows", ALLOCSET_DEFAULT_SIZES);
    });
}

PlainTable::~PlainTable() {
    MemoryContextDelete(context_);
}

std::unique_ptr<PlainTable>
PlainTable::Open(Oid relid, const RemoteRelation &remote, const ValueFormat &format) {
    if (remote.replica_identity == 'f') {
        return nullptr; // rows are found by their whole image
    }
    std::unique_ptr<PlainTable> table(new PlainTable(remote, format));
    Relation relation = pg::Call([relid] { return table_open(relid, NoLock); });
    table->relid_ = relid;
    const bool suits = table->Resolve(relation);
    pg::Call([relation] { table_close(relation, NoLock); });
    if (!suits || pg::ManagerOf(relid) != pg::TableManager::kNone) {
        return nullptr;
    }
    return table;
}

bool
PlainTable::Resolve(Relation relation) {
    if (!pg::Call([relation] { return IsPlain(relation); }) || !MapColumns(relation)) {
        return false;
    }
    key_index_ = FindKeyIndex(relation);
    if (OidIsValid(key_index_)) {
        PrepareKey();
    }
    return true;
}

bool
PlainTable::MapColumns(Relation relation) {
    TupleDesc descriptor = RelationGetDescr(relation);
    size_t mapped = 0;
    for (int i = 0; i < descriptor->natts; i++) {
        const Form_pg_attribute attribute = TupleDescAttr(descriptor, i);
        source_column_.push_back(-1);
        inputs_.emplace_back();
        int column = -1;
        for (size_t j = 0; j < remote_.columns.size(); j++) {
            if (!attribute->attisdropped &&
                remote_.columns[j].name == NameStr(attribute->attname)) {
                column = static_cast<int>(j);
            }
        }
        mapped += column >= 0 ? 1 : 0;
        if (attribute->attisdropped || attribute->attgenerated != '\0') {
            continue;
        }
        if (column < 0) {
            return false; // its default is the executor's business
        }
        source_column_.back() = column;
        pg::Call([&] {
            PrepareInput(inputs_.back(), attribute->atttypid, attribute->atttypmod,
                         remote_.columns[static_cast<size_t>(column)], remote_.binary, context_);
        });
    }
    return mapped == remote_.columns.size();
}

// The index that identifies rows by just the stream's key columns.
Oid
PlainTable::FindKeyIndex(Relation relation) const {
    struct Indexes {
        const Oid *oids;
        int count;
    };
    const Indexes indexes = pg::Call([relation]() -> Indexes {
        const List *list = RelationGetIndexList(relation);
        auto *oids = static_cast<Oid *>(palloc(sizeof(Oid) * (list_length(list) + 1)));
        int count = 0;
        ListCell *cell = nullptr;
        foreach (cell, list) {
            oids[count++] = lfirst_oid(cell);
        }
        return {oids, count};
    });
    const Oid primary = pg::Call([relation] { return pg::PrimaryKeyIndex(relation); });
    if (OidIsValid(primary) && IsKeyIndex(primary)) {
        return primary;
    }
    for (int i = 0; i < indexes.count; i++) {
        if (IsKeyIndex(indexes.oids[i])) {
            return indexes.oids[i];
        }
    }
    return InvalidOid;
}

bool
PlainTable::IsKeyIndex(Oid index_oid) const {
    size_t key_columns = 0;
    for (const RemoteColumn &column : remote_.columns) {
        key_columns += column.is_key ? 1 : 0;
    }
    return pg::Call([&] {
        Relation index = index_open(index_oid, AccessShareLock);
        const Form_pg_index form = index->rd_index;
        bool fits = form->indisunique && form->indimmediate && form->indisvalid &&
                    index->rd_rel->relam == BTREE_AM_OID &&
                    RelationGetIndexPredicate(index) == NIL &&
                    form->indnkeyatts == static_cast<int>(key_columns);
        for (int i = 0; fits && i < form->indnkeyatts; i++) {
            const int attribute = form->indkey.values[i] - 1;
            const int column = attribute >= 0 ? source_column_[attribute] : -1;
            fits = column >= 0 && remote_.columns[static_cast<size_t>(column)].is_key;
        }
        index_close(index, AccessShareLock);
        return fits;
    });
}

// As build_replindex_scan_key() of PostgreSQL's execReplication.c finds the operators.
void
PlainTable::PrepareKey() {
    struct Found {
        int count;
        KeyPart *parts;
    };
    const Found found = pg::Call([this]() -> Found {
        Relation index = index_open(key_index_, AccessShareLock);
        const int count = index->rd_index->indnkeyatts;
        auto *parts = static_cast<KeyPart *>(palloc0(sizeof(KeyPart) * count));
        for (int i = 0; i < count; i++) {
            const Oid type = index->rd_opcintype[i];
            const Oid equality =
                get_opfamily_member(index->rd_opfamily[i], type, type, BTEqualStrategyNumber);
            if (!OidIsValid(equality)) {
                elog(ERROR, "no equality operator in operator family %u", index->rd_opfamily[i]);
            }
            parts[i].attribute = index->rd_index->indkey.values[i] - 1;
            parts[i].collation = index->rd_indcollation[i];
            fmgr_info_cxt(get_opcode(equality), &parts[i].equality, context_);
        }
        index_close(index, AccessShareLock);
        return {count, parts};
    });
    key_parts_.assign(found.parts, found.parts + found.count);
}

// One call of Write(). C-like: lives inside the guard, and an error leaves everything to the
// roll-back and to the memory contexts.
class PlainTable::Writer {
  public:
    void Open(PlainTable *table);
    void Delete(TupleView key);
    void Update(TupleView key, TupleView values);
    void Insert(TupleView values);
    void Finish();

  private:
    void FlushInserts();
    void OpenIndex();
    void Find(TupleView key);
    void Fill(TupleTableSlot *slot, TupleView values, TupleTableSlot *before);
    void Check(TupleTableSlot *slot, CmdType command);

    PlainTable *table_;
    Relation relation_;
    ResultRelInfo *result_;
    EState *estate_;
    pg::IndexEntries entries_;
    pg::UpdateRoom room_;
    CommandId command_;
    Relation index_;
    IndexScanDesc scan_;
    ScanKeyData keys_[INDEX_MAX_KEYS];
    TupleTableSlot *found_;
    TupleTableSlot *changed_;
    TupleTableSlot **inserts_;
    int insert_count_;
    Size insert_bytes_;
};

void
PlainTable::Writer::Open(PlainTable *table) {
    table_ = table;
    relation_ = table_open(table->relid_, NoLock);
    estate_ = CreateExecutorState();
    result_ = makeNode(ResultRelInfo);
    // No range table: it would serve permissions, which were looked at, and hints on indexes.
    InitResultRelInfo(result_, relation_, 0, nullptr, 0);
    ExecOpenIndices(result_, false);
    entries_.Open(result_, estate_);
    room_.Open(relation_);
    PushActiveSnapshot(GetTransactionSnapshot());
    command_ = GetCurrentCommandId(true);
    index_ = nullptr;
    scan_ = nullptr;
    found_ = nullptr;
    changed_ = nullptr;
    inserts_ = nullptr;
    insert_count_ = 0;
    insert_bytes_ = 0;
}

void
PlainTable::Writer::Finish() {
    FlushInserts();
    entries_.Finish();
    if (scan_ != nullptr) {
        index_endscan(scan_);
        index_close(index_, NoLock);
    }
    for (TupleTableSlot *slot : {found_, changed_}) {
        if (slot != nullptr) {
            ExecDropSingleTupleTableSlot(slot);
        }
    }
    for (int i = 0; inserts_ != nullptr && i < kMaxInserts && inserts_[i] != nullptr; i++) {
        ExecDropSingleTupleTableSlot(inserts_[i]);
    }
    PopActiveSnapshot();
    ExecCloseIndices(result_);
    FreeExecutorState(estate_);
    table_close(relation_, NoLock);
    CommandCounterIncrement();
}

void
PlainTable::Writer::OpenIndex() {
    const size_t count = table_->key_parts_.size();
    index_ = index_open(table_->key_index_, RowExclusiveLock);
    scan_ = pg::BeginIndexScan(relation_, index_, GetActiveSnapshot(), static_cast<int>(count));
    found_ = table_slot_create(relation_, nullptr);
    for (size_t i = 0; i < count; i++) {
        KeyPart &part = table_->key_parts_[i];
        ScanKeyEntryInitializeWithInfo(&keys_[i], 0, static_cast<AttrNumber>(i + 1),
                                       BTEqualStrategyNumber, InvalidOid, part.collation,
                                       &part.equality, Datum(0));
    }
}

// The row with the key in found_. What the scan allocates lives as long as it does.
void
PlainTable::Writer::Find(TupleView key) {
    if (scan_ == nullptr) {
        OpenIndex();
    }
    const MemoryContext outer = MemoryContextSwitchTo(table_->row_context_);
    for (size_t i = 0; i < table_->key_parts_.size(); i++) {
        const auto attribute = static_cast<size_t>(table_->key_parts_[i].attribute);
        const auto column = static_cast<size_t>(table_->source_column_[attribute]);
        keys_[i].sk_argument = ReadValue(table_->inputs_[attribute], key[column], table_->format_);
    }
    MemoryContextSwitchTo(outer);
    index_rescan(scan_, keys_, static_cast<int>(table_->key_parts_.size()), nullptr, 0);
    if (!index_getnext_slot(scan_, ForwardScanDirection, found_)) {
        ReportMissingRow(relation_);
    }
}

// `before` gives what the stream left out: it stays pinned until the row is written.
void
PlainTable::Writer::Fill(TupleTableSlot *slot, TupleView values, TupleTableSlot *before) {
    ExecClearTuple(slot);
    const int count = slot->tts_tupleDescriptor->natts;
    for (int i = 0; i < count; i++) {
        const int column = table_->source_column_[static_cast<size_t>(i)];
        if (column < 0) {
            slot->tts_values[i] = Datum(0);
            slot->tts_isnull[i] = true;
            continue;
        }
        const ColumnValue &value = values[static_cast<size_t>(column)];
        if (IsSent(value)) {
            slot->tts_values[i] =
                ReadValue(table_->inputs_[static_cast<size_t>(i)], value, table_->format_);
            slot->tts_isnull[i] = value.kind == ValueKind::kNull;
        } else {
            slot->tts_values[i] = slot_getattr(before, i + 1, &slot->tts_isnull[i]);
        }
    }
    ExecStoreVirtualTuple(slot);
}

// What the executor does before it gives a row to the table: ExecInsert(), ExecUpdate().
void
PlainTable::Writer::Check(TupleTableSlot *slot, CmdType command) {
    slot->tts_tableOid = table_->relid_;
    const TupleConstr *constraints = RelationGetDescr(relation_)->constr;
    if (constraints != nullptr) {
        if (constraints->has_generated_stored) {
            ExecComputeStoredGenerated(result_, estate_, slot, command);
        }
        ExecConstraints(result_, slot, estate_);
    }
    if (relation_->rd_rel->relispartition) {
        ExecPartitionCheck(result_, slot, estate_, true);
    }
}

void
PlainTable::Writer::Delete(TupleView key) {
    Find(key);
    TM_FailureData failure;
    CheckResult(table_tuple_delete(relation_, &found_->tts_tid, command_, GetActiveSnapshot(),
                                   InvalidSnapshot, true, &failure, false));
    MemoryContextReset(table_->row_context_);
}

void
PlainTable::Writer::Update(TupleView key, TupleView values) {
    if (changed_ == nullptr) {
        changed_ = table_slot_create(relation_, nullptr);
    }
    Find(key);
    const MemoryContext outer = MemoryContextSwitchTo(table_->row_context_);
    Fill(changed_, values, found_);
    Check(changed_, CMD_UPDATE);
    MemoryContextSwitchTo(outer);
    TM_FailureData failure;
    LockTupleMode lock_mode = LockTupleNoKeyExclusive;
    pg::IndexUpdate indexes = {};
    CheckResult(table_tuple_update(relation_, &found_->tts_tid, changed_, command_,
                                   GetActiveSnapshot(), InvalidSnapshot, true, &failure, &lock_mode,
                                   &indexes));
    room_.Updated(ItemPointerGetBlockNumber(&found_->tts_tid),
                  ItemPointerGetBlockNumber(&changed_->tts_tid));
    if (pg::IsSummarizing(indexes)) {
        pg::InsertSummaries(result_, changed_, estate_);
    } else if (pg::NeedsIndexEntries(indexes)) {
        entries_.EnterUpdated(changed_, lock_mode == LockTupleNoKeyExclusive);
    }
    ExecClearTuple(changed_);
    ResetPerTupleExprContext(estate_);
    MemoryContextReset(table_->row_context_);
}

void
PlainTable::Writer::Insert(TupleView values) {
    if (inserts_ == nullptr) {
        inserts_ = static_cast<TupleTableSlot **>(palloc0(sizeof(TupleTableSlot *) * kMaxInserts));
    }
    TupleTableSlot *&slot = inserts_[insert_count_];
    if (slot == nullptr) {
        slot = table_slot_create(relation_, nullptr);
    }
    const MemoryContext outer = MemoryContextSwitchTo(table_->row_context_);
    Fill(slot, values, nullptr);
    Check(slot, CMD_INSERT);
    MemoryContextSwitchTo(outer);
    insert_count_++;
    for (const ColumnValue &value : values) {
        insert_bytes_ += value.data.size();
    }
    if (insert_count_ == kMaxInserts || insert_bytes_ >= kMaxInsertBytes) {
        FlushInserts();
    }
}

void
PlainTable::Writer::FlushInserts() {
    if (insert_count_ == 0) {
        return;
    }
    const MemoryContext outer = MemoryContextSwitchTo(table_->row_context_);
    table_multi_insert(relation_, inserts_, insert_count_, command_, 0, nullptr);
    MemoryContextSwitchTo(outer);
    for (int i = 0; i < insert_count_; i++) {
        entries_.EnterInserted(inserts_[i]);
        ExecClearTuple(inserts_[i]);
    }
    MemoryContextReset(table_->row_context_);
    insert_count_ = 0;
    insert_bytes_ = 0;
}

// Deletes first, then updates, then inserts: a value that a unique index holds is given up before
// another row takes it. Where that is not enough, the caller goes through the changes in order.
void
PlainTable::Write(const NetEffect &effect, const RowWriter & /*write_row*/) {
    pg::Call([this, &effect] {
        MemoryContextReset(write_context_);
        MemoryContextReset(row_context_);
        const MemoryContext outer = MemoryContextSwitchTo(write_context_);
        auto *writer = static_cast<Writer *>(palloc(sizeof(Writer)));
        writer->Open(this);
        effect.ForEachDelete([writer](const NetEffect::Row &row) {
            CHECK_FOR_INTERRUPTS();
            writer->Delete(row.key);
        });
        effect.ForEachUpdate([writer](const NetEffect::Row &row) {
            CHECK_FOR_INTERRUPTS();
            writer->Update(row.key, row.values);
        });
        effect.ForEachInsert([writer](const NetEffect::Row &row) {
            CHECK_FOR_INTERRUPTS();
            writer->Insert(row.values);
        });
        writer->Finish();
        MemoryContextSwitchTo(outer);
        MemoryContextReset(write_context_);
    });
}

} // namespace livemigrate::stage
