// Entries in all indexes of a table for many new versions of its rows.
//
// Those of inserted rows are sorted, index by index, where an index is not filled at its end:
// neighbours then go to the same page while it is in the processor's cache, or in memory at all. Of
// a series, the first rows are entered at once, so short ones never pay for a sort. Updates mostly
// come near one another already: sorting theirs costs as much as it saves.
//
// What ExecInsertIndexTuples() of PostgreSQL's execIndexing.c does, for tables without exclusion
// constraints, and without its hint that an update leaves indexed values as they are: in the middle
// of a batch there is nothing yet that an index could delete bottom-up, and looking for it costs a
// fifth. Nor is a row that keeps its key looked for among others with that key.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// C-like: may ereport, and leaves everything to the roll-back and to the memory contexts then.
class IndexEntries {
  public:
    // The indexes of `table` are open. What is kept lives in the current memory context.
    void Open(ResultRelInfo *table, EState *estate);

    // For a row that has been written, with its place in slot->tts_tid. Both reset the per-tuple
    // context of the executor state. EnterInserted() may do its work, and see duplicates, as late
    // as Finish().
    void EnterInserted(TupleTableSlot *slot);
    // `keys_unchanged`: the row took the place of one with the same bytes in every column that
    // RelationGetIndexAttrBitmap() counts as a key, as table_tuple_update() tells by its lock mode.
    void EnterUpdated(TupleTableSlot *slot, bool keys_unchanged);

    // To be called once, after the last row.
    void Finish();

  private:
    struct Index;

    void EnterInEach(TupleTableSlot *slot, bool sorted, bool keys_unchanged);
    void Insert(const Index &index, Datum *values, bool *is_null, ItemPointer row,
                bool keys_unchanged) const;
    void BeginSorting();

    ResultRelInfo *table_;
    EState *estate_;
    Index *indexes_;
    int64 rows_; // given to EnterInserted()
};

} // namespace livemigrate::pg
