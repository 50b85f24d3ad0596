// Every difference between the PostgreSQL majors we build against, in one place. Included by
// pg/prelude.hpp, never on its own.
#pragma once

#if PG_VERSION_NUM < 140000
#error "livemigrate needs PostgreSQL 14 or newer on the target"
#endif

extern "C" {
#include "nodes/nodeFuncs.h"
#if PG_VERSION_NUM >= 150000
#include "common/pg_prng.h"
#endif
}

namespace livemigrate::pg {

// The server version this library is built for; the server loads no other.
inline constexpr int kBuiltForVersion = PG_VERSION_NUM;

// Privileges on parameters (GRANT SET ON PARAMETER) came with 15.
constexpr bool
HasParameterPrivileges() {
    return PG_VERSION_NUM >= 150000;
}

// Infinite intervals came with 17.
constexpr bool
HasInfiniteIntervals() {
    return PG_VERSION_NUM >= 170000;
}

// transaction_timeout came with 17.
constexpr bool
HasTransactionTimeout() {
    return PG_VERSION_NUM >= 170000;
}

// Locales of a database that are the server's own came with 17.
constexpr bool
HasBuiltInLocales() {
    return PG_VERSION_NUM >= 170000;
}

// The privilege of pg_has_role() that lets a role become another one: SET is a membership's option
// from 16 on.
constexpr const char *
BecomingPrivilege() {
    return PG_VERSION_NUM >= 160000 ? "SET" : "MEMBER";
}

// The parameter that limits how many replication origins can be in use; 18 has one for them alone.
constexpr const char *
OriginLimitSetting() {
    return PG_VERSION_NUM >= 180000 ? "max_active_replication_origins" : "max_replication_slots";
}

// replorigin_session_setup() learnt to be shared by several processes in 16.
inline void
ReplicationOriginSetup(RepOriginId origin) {
#if PG_VERSION_NUM >= 160000
    replorigin_session_setup(origin, 0);
#else
    replorigin_session_setup(origin);
#endif
}

// For as long as the process lives, unless it is freed. 17 has a resource owner in the place of the
// memory context.
inline WaitEventSet *
NewWaitEventSet(int most_events) {
#if PG_VERSION_NUM >= 170000
    return CreateWaitEventSet(nullptr, most_events);
#else
    return CreateWaitEventSet(TopMemoryContext, most_events);
#endif
}

// The local transaction id moved into a struct of its own in 17.
inline LocalTransactionId
TransactionOf(const PGPROC *process) {
#if PG_VERSION_NUM >= 170000
    return process->vxid.lxid;
#else
    return process->lxid;
#endif
}

// NULLS NOT DISTINCT came with 15.
inline bool
NullsNotDistinct(const Constraint *constraint) {
#if PG_VERSION_NUM >= 150000
    return constraint->nulls_not_distinct;
#else
    (void)constraint;
    return false;
#endif
}

// Whether a key constraint is one that a plain unique index can carry (18 adds WITHOUT OVERLAPS).
inline bool
HasPlainKey(const Constraint *constraint) {
#if PG_VERSION_NUM >= 180000
    return !constraint->without_overlaps;
#else
    (void)constraint;
    return true;
#endif
}

// A set-returning function that fills a tuplestore. The function had another name in 15 before
// 15.4, and none in 14.
inline void
InitResultSet(FunctionCallInfo fcinfo) {
#if PG_VERSION_NUM >= 150000
    InitMaterializedSRF(fcinfo, 0);
#else
    auto *info = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    if (info == nullptr || !IsA(info, ReturnSetInfo) ||
        (info->allowedModes & SFRM_Materialize) == 0) {
        ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                        errmsg("set-valued function called in context that cannot accept a set")));
    }
    const MemoryContext outer = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
    TupleDesc descriptor = nullptr;
    if (get_call_result_type(fcinfo, nullptr, &descriptor) != TYPEFUNC_COMPOSITE) {
        elog(ERROR, "return type must be a row type");
    }
    info->returnMode = SFRM_Materialize;
    info->setResult =
        tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0, false, work_mem);
    info->setDesc = descriptor;
    MemoryContextSwitchTo(outer);
#endif
}

// Whether the current role owns the schema: one check for all classes of objects came with 16.
inline bool
OwnsSchema(Oid schema) {
#if PG_VERSION_NUM >= 160000
    return object_ownercheck(NamespaceRelationId, schema, GetUserId());
#else
    return pg_namespace_ownercheck(schema, GetUserId());
#endif
}

// Settings of our prefix that are not defined are an error from now on.
inline void
ReserveSettingPrefix(const char *prefix) {
#if PG_VERSION_NUM >= 150000
    MarkGUCPrefixReserved(prefix);
#else
    EmitWarningsOnPlaceholders(prefix);
#endif
}

// The server's random numbers, which are seeded for each process; 15 has a generator of its own.
inline uint64
RandomBits() {
#if PG_VERSION_NUM >= 150000
    return pg_prng_uint64(&pg_global_prng_state);
#else
    return static_cast<uint64>(random()) << 32 ^ static_cast<uint64>(random());
#endif
}

// The position up to which local WAL is flushed; 15 added the out parameter for the timeline.
inline XLogRecPtr
LocalFlushPosition() {
#if PG_VERSION_NUM >= 150000
    return GetFlushRecPtr(nullptr);
#else
    return GetFlushRecPtr();
#endif
}

// 16 tells summarizing indexes apart, which an update of a heap-only tuple must still reach.
#if PG_VERSION_NUM >= 160000
using IndexUpdate = TU_UpdateIndexes;
#else
using IndexUpdate = bool;
#endif

// Whether the new version of an updated row needs entries in any index.
inline bool
NeedsIndexEntries(IndexUpdate update) {
#if PG_VERSION_NUM >= 160000
    return update != TU_None;
#else
    return update;
#endif
}

// Whether only the summarizing indexes need an entry for it.
inline bool
IsSummarizing([[maybe_unused]] IndexUpdate update) {
#if PG_VERSION_NUM >= 160000
    return update == TU_Summarizing;
#else
    return false;
#endif
}

// Entries for the new version of an updated row in the summarizing indexes alone.
inline void
InsertSummaries([[maybe_unused]] ResultRelInfo *table, [[maybe_unused]] TupleTableSlot *slot,
                [[maybe_unused]] EState *estate) {
#if PG_VERSION_NUM >= 160000
    list_free(ExecInsertIndexTuples(table, slot, estate, true, false, nullptr, NIL, true));
#endif
}

// Sorts what goes into a B-tree; uniqueness is looked after where it is entered. `memory` is in kB.
inline Tuplesortstate *
BeginIndexSort(Relation table, Relation index, int memory) {
#if PG_VERSION_NUM >= 150000
    return tuplesort_begin_index_btree(table, index, false, false, memory, nullptr, TUPLESORT_NONE);
#else
    return tuplesort_begin_index_btree(table, index, false, memory, nullptr, false);
#endif
}

// A new page at the end of a table, empty and not logged: whoever puts the first row there logs it,
// as for the pages that RelationGetBufferForTuple() of PostgreSQL's hio.c adds.
inline BlockNumber
ExtendTable(Relation table) {
#if PG_VERSION_NUM >= 160000
    const Buffer buffer = ExtendBufferedRel(BMR_REL(table), MAIN_FORKNUM, nullptr, EB_LOCK_FIRST);
#else
    LockRelationForExtension(table, ExclusiveLock);
    const Buffer buffer =
        ReadBufferExtended(table, MAIN_FORKNUM, P_NEW, RBM_ZERO_AND_LOCK, nullptr);
    UnlockRelationForExtension(table, ExclusiveLock);
#endif
    PageInit(BufferGetPage(buffer), BufferGetPageSize(buffer), 0);
    MarkBufferDirty(buffer);
    const BlockNumber block = BufferGetBlockNumber(buffer);
    UnlockReleaseBuffer(buffer);
    return block;
}

inline IndexScanDesc
BeginIndexScan(Relation table, Relation index, Snapshot snapshot, int keys) {
#if PG_VERSION_NUM >= 180000
    return index_beginscan(table, index, snapshot, nullptr, keys, 0);
#else
    return index_beginscan(table, index, snapshot, keys, 0);
#endif
}

// 18 can look at a deferrable primary key when asked to.
inline Oid
PrimaryKeyIndex(Relation relation) {
#if PG_VERSION_NUM >= 180000
    return RelationGetPrimaryKeyIndex(relation, false);
#else
    return RelationGetPrimaryKeyIndex(relation);
#endif
}

// Whether the session's role may become another one. SET is a membership's option from 16 on.
inline bool
MayBecome(Oid role) {
#if PG_VERSION_NUM >= 160000
    return member_can_set_role(GetUserId(), role);
#else
    return is_member_of_role(GetUserId(), role);
#endif
}

// The walker of a raw parse tree has its arguments declared since 16. C-like.
inline bool
WalkRawTree(Node *node, bool (*walker)(Node *, void *), void *context) {
#if PG_VERSION_NUM >= 160000
    return raw_expression_tree_walker(node, walker, context);
#else
    // By way of the type that the compiler takes for any function's.
    return raw_expression_tree_walker(
        node, reinterpret_cast<bool (*)()>(reinterpret_cast<void (*)()>(walker)), context);
#endif
}

} // namespace livemigrate::pg
