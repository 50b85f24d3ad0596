#include "pg/index_entries.hpp"

#include <algorithm>

extern "C" {
#include "access/itup.h"
#include "catalog/index.h"
#include "catalog/pg_am.h"
#include "storage/smgr.h"
#include "utils/tuplesort.h"
}

namespace livemigrate::pg {

namespace {

// Rows that are entered at once. After them it also shows which index is filled at its end.
constexpr int64 kUnsortedRows = 100;
// In kB, for all indexes of a table together; what does not fit is sorted on disk.
constexpr int kSortMemory = 64 * 1024;
constexpr int kLeastSortMemory = 1024;

// Whether RelationGetIndexAttrBitmap() of PostgreSQL's relcache.c counts the columns as a key.
bool
IsKey(const IndexInfo *info) {
    return info->ii_Unique && info->ii_Expressions == NIL && info->ii_Predicate == NIL;
}

IndexUniqueCheck
UniqueCheck(Relation index, const IndexInfo *info, bool keys_unchanged) {
    if (!index->rd_index->indisunique || (keys_unchanged && IsKey(info))) {
        return UNIQUE_CHECK_NO;
    }
    // Deferrable constraints are off in replica role; the checks at cutover look after them.
    return index->rd_index->indimmediate ? UNIQUE_CHECK_YES : UNIQUE_CHECK_PARTIAL;
}

} // namespace

struct IndexEntries::Index {
    Relation relation;
    IndexInfo *info;
    Tuplesortstate *sort; // null: entries are made at once

    bool
    Wants(TupleTableSlot *slot, EState *estate) const {
        if (info->ii_Predicate == NIL) {
            return true;
        }
        if (info->ii_PredicateState == nullptr) {
            info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, estate);
        }
        ExprContext *context = GetPerTupleExprContext(estate);
        context->ecxt_scantuple = slot;
        return ExecQual(info->ii_PredicateState, context);
    }

    // nbtree remembers the last page of an index that is filled at its end, and then needs neither
    // a sort nor a descent (_bt_search_insert() of PostgreSQL's nbtinsert.c).
    bool
    GainsBySorting() const {
        return relation->rd_rel->relam == BTREE_AM_OID &&
               RelationGetTargetBlock(relation) == InvalidBlockNumber;
    }
};

void
IndexEntries::Open(ResultRelInfo *table, EState *estate) {
    table_ = table;
    estate_ = estate;
    rows_ = 0;
    indexes_ = static_cast<Index *>(
        palloc0(sizeof(Index) * (static_cast<Size>(table->ri_NumIndices) + 1)));
    for (int i = 0; i < table->ri_NumIndices; i++) {
        indexes_[i].relation = table->ri_IndexRelationDescs[i];
        indexes_[i].info = table->ri_IndexRelationInfo[i];
    }
}

void
IndexEntries::Insert(const Index &index, Datum *values, bool *is_null, ItemPointer row,
                     bool keys_unchanged) const {
    index_insert(index.relation, values, is_null, row, table_->ri_RelationDesc,
                 UniqueCheck(index.relation, index.info, keys_unchanged), false, index.info);
}

void
IndexEntries::BeginSorting() {
    const int memory = std::max(kSortMemory / std::max(table_->ri_NumIndices, 1), kLeastSortMemory);
    for (int i = 0; i < table_->ri_NumIndices; i++) {
        Index &index = indexes_[i];
        if (index.info->ii_ReadyForInserts && index.GainsBySorting()) {
            index.sort = BeginIndexSort(table_->ri_RelationDesc, index.relation, memory);
        }
    }
}

void
IndexEntries::EnterInserted(TupleTableSlot *slot) {
    if (rows_++ == kUnsortedRows) {
        BeginSorting();
    }
    EnterInEach(slot, true, false);
}

void
IndexEntries::EnterUpdated(TupleTableSlot *slot, bool keys_unchanged) {
    EnterInEach(slot, false, keys_unchanged);
}

void
IndexEntries::EnterInEach(TupleTableSlot *slot, bool sorted, bool keys_unchanged) {
    const MemoryContext outer = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate_));
    GetPerTupleExprContext(estate_)->ecxt_scantuple = slot;
    for (int i = 0; i < table_->ri_NumIndices; i++) {
        const Index &index = indexes_[i];
        if (!index.info->ii_ReadyForInserts || !index.Wants(slot, estate_)) {
            continue;
        }
        Datum values[INDEX_MAX_KEYS];
        bool is_null[INDEX_MAX_KEYS];
        FormIndexDatum(index.info, slot, estate_, values, is_null);
        if (sorted && index.sort != nullptr) {
            tuplesort_putindextuplevalues(index.sort, index.relation, &slot->tts_tid, values,
                                          is_null);
        } else {
            Insert(index, values, is_null, &slot->tts_tid, keys_unchanged);
        }
    }
    MemoryContextSwitchTo(outer);
    ResetPerTupleExprContext(estate_);
}

void
IndexEntries::Finish() {
    const MemoryContext outer = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate_));
    for (int i = 0; i < table_->ri_NumIndices; i++) {
        const Index &index = indexes_[i];
        if (index.sort == nullptr) {
            continue;
        }
        tuplesort_performsort(index.sort);
        while (IndexTuple entry = tuplesort_getindextuple(index.sort, true)) {
            CHECK_FOR_INTERRUPTS();
            Datum values[INDEX_MAX_KEYS];
            bool is_null[INDEX_MAX_KEYS];
            index_deform_tuple(entry, RelationGetDescr(index.relation), values, is_null);
            Insert(index, values, is_null, &entry->t_tid, false);
            ResetPerTupleExprContext(estate_);
        }
        tuplesort_end(index.sort);
    }
    MemoryContextSwitchTo(outer);
}

} // namespace livemigrate::pg
