#include "pg/prelude.hpp"

#include "stage/copy.hpp"

#include "core/call_hint.hpp"
#include "core/retry_policy.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"
#include "pg/replica_role.hpp"
#include "pg/sql_row.hpp"
#include "pg/table_manager.hpp"
#include "pg/table_owner.hpp"
#include "pg/transaction.hpp"
#include "pg/truncation.hpp"
#include "pg/watched_table.hpp"
#include "pg/wait.hpp"
#include "stage/copy_format.hpp"
#include "stage/copy_statement.hpp"

#include <cstring>

extern "C" {
#include "parser/parse_relation.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
}

namespace livemigrate::stage {

namespace {

// Bytes of a table below which TRUNCATE and freezing are left out when it is empty.
constexpr uint64_t kWorthFreezing = 1 << 20;

// Where ReadCopyData takes its bytes from. PostgreSQL's callback has no argument, hence the
// pointer; a process runs one COPY at a time.
struct CopyStream {
    PGconn *connection;
    pg::InputWait *input_wait; // of the connection
    char *row;                 // from PQgetCopyData; null when used up
    int length;                // of row
    int position;              // used of row
    int longest;
    uint64 bytes;
    uint64 rows; // received; the end of a binary COPY counts as one
    CopyProgress progress;
    bool ended;
};

// Says since when the source owes an answer; 0: it does not.
void
SetSilence(const CopyProgress &progress, int64_t since) {
    if (progress.silent_since != nullptr) {
        progress.silent_since->store(since, std::memory_order_relaxed);
    }
}

CopyStream *active_stream = nullptr;

// Fetches the next row without waiting. False when none has arrived. C-like: called inside COPY.
bool
NextRow(CopyStream *stream) {
    stream->position = 0;
    stream->length = PQgetCopyData(stream->connection, &stream->row, 1);
    if (stream->length == -1) {
        stream->ended = true;
        return false;
    }
    if (stream->length == -2) {
        ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
                        errmsg("lost the connection to the source during COPY"),
                        errdetail("%s", PQerrorMessage(stream->connection))));
    }
    if (stream->length > 0) {
        stream->rows++;
        stream->longest = stream->longest < stream->length ? stream->length : stream->longest;
    }
    return stream->length > 0;
}

// Waits for the socket, however often the latch wakes it. C-like: called inside COPY, which an
// ereport may leave; whoever runs the COPY then clears the mark.
void
WaitForData(const CopyStream &stream) {
    SetSilence(stream.progress, GetCurrentTimestamp());
    while (!stream.input_wait->WaitRaw({}).readable) {
    }
    SetSilence(stream.progress, 0);
}

void
ReadSocket(const CopyStream &stream) {
    if (PQconsumeInput(stream.connection) == 0) {
        ereport(ERROR, (errcode(ERRCODE_CONNECTION_FAILURE),
                        errmsg("lost the connection to the source during COPY"),
                        errdetail("%s", PQerrorMessage(stream.connection))));
    }
}

// Fetches the next row that has arrived. More is often there already, and a wait costs several
// system calls.
bool
NextArrivedRow(CopyStream *stream) {
    if (NextRow(stream) || stream->ended) {
        return !stream->ended;
    }
    ReadSocket(*stream);
    return NextRow(stream);
}

// copy_data_source_cb: fills the buffer with what has arrived and waits only for `minread` bytes.
int
ReadCopyData(void *buffer, int minread, int maxread) {
    CopyStream *stream = active_stream;
    int filled = 0;
    while (filled < maxread && !stream->ended) {
        if (stream->row == nullptr) {
            if (!NextArrivedRow(stream)) {
                if (stream->ended || filled >= minread) {
                    break;
                }
                WaitForData(*stream);
                continue;
            }
        }
        const int rest = stream->length - stream->position;
        const int chunk = rest < maxread - filled ? rest : maxread - filled;
        memcpy(static_cast<char *>(buffer) + filled, stream->row + stream->position,
               static_cast<size_t>(chunk));
        stream->position += chunk;
        filled += chunk;
        if (stream->position == stream->length) {
            // Not kept while its values are made into a tuple: a row may have hundreds of
            // megabytes.
            PQfreemem(stream->row);
            stream->row = nullptr;
        }
    }
    stream->bytes += static_cast<uint64>(filled);
    if (stream->progress.bytes != nullptr) {
        stream->progress.bytes->store(stream->bytes, std::memory_order_relaxed);
    }
    // The last one is perhaps not used up, or the end of a binary COPY.
    if (stream->progress.rows != nullptr && stream->rows > 0) {
        stream->progress.rows->store(stream->rows - 1, std::memory_order_relaxed);
    }
    return filled;
}

// Clears the callback's source however the COPY ends.
class ActiveStream {
  public:
    explicit ActiveStream(CopyStream &stream) : stream_(stream) { active_stream = &stream; }
    ~ActiveStream() {
        active_stream = nullptr;
        SetSilence(stream_.progress, 0);
        if (stream_.row != nullptr) {
            PQfreemem(stream_.row);
        }
    }
    ActiveStream(const ActiveStream &) = delete;
    ActiveStream &operator=(const ActiveStream &) = delete;

  private:
    CopyStream &stream_;
};

std::string
ColumnList(const std::vector<CopyColumn> &columns) {
    std::string list;
    for (const CopyColumn &column : columns) {
        list += (list.empty() ? "" : ", ") + QuoteIdentifier(column.name);
    }
    return list;
}

std::string
CopyToCommand(const CopyTask &task, const std::vector<CopyColumn> &columns, bool binary) {
    const std::string table = QualifiedName(task.schema, task.name);
    const std::string to = binary ? " TO STDOUT (FORMAT binary)" : " TO STDOUT";
    if (task.condition.empty()) {
        // COPY of a table name never descends into inheritance children.
        return "COPY " + table + (columns.empty() ? "" : " (" + ColumnList(columns) + ")") + to;
    }
    return "COPY (SELECT " + ColumnList(columns) + " FROM ONLY " + table + " WHERE " +
           task.condition + ")" + to;
}

CopyFromState
BeginCopy(Relation relation, const char *const *columns, size_t count, bool binary, bool freeze) {
    ParseState *state = make_parsestate(nullptr);
    (void)addRangeTableEntryForRelation(state, relation, RowExclusiveLock, nullptr, false, false);
    List *names = NIL;
    for (size_t i = 0; i < count; i++) {
        names = lappend(names, makeString(pstrdup(columns[i])));
    }
    List *options = list_make1(
        makeDefElem(pstrdup("encoding"),
                    reinterpret_cast<Node *>(makeString(pstrdup(GetDatabaseEncodingName()))), -1));
    if (binary) {
        options = lappend(options,
                          makeDefElem(pstrdup("format"),
                                      reinterpret_cast<Node *>(makeString(pstrdup("binary"))), -1));
    }
    if (freeze) {
        options = lappend(options,
                          makeDefElem(pstrdup("freeze"),
                                      reinterpret_cast<Node *>(makeString(pstrdup("true"))), -1));
    }
    return BeginCopyFrom(state, relation, nullptr, nullptr, false, ReadCopyData, names, options);
}

// COPY FROM below SQL.
uint64
CopyFromRows(Oid relid, const std::vector<CopyColumn> &columns, bool binary, bool freeze) {
    std::vector<const char *> names;
    for (const CopyColumn &column : columns) {
        names.push_back(column.name.c_str());
    }
    return pg::Call([&] {
        Relation relation = table_open(relid, RowExclusiveLock);
        CopyFromState copy = BeginCopy(relation, names.data(), names.size(), binary, freeze);
        const uint64 rows = CopyFrom(copy);
        EndCopyFrom(copy);
        table_close(relation, NoLock);
        return rows;
    });
}

// Nothing was ever written to it.
bool
HasNoPages(Oid relid) {
    return pg::Call([&] {
        Relation relation = table_open(relid, AccessShareLock);
        const bool empty = RelationGetNumberOfBlocks(relation) == 0;
        table_close(relation, NoLock);
        return empty;
    });
}

// As TRUNCATE locks it. Nobody who reads the table is waited for.
bool
IsLockedAtOnce(Oid relid) {
    return pg::Call([&] { return ConditionalLockRelationOid(relid, AccessExclusiveLock); });
}

// For a table that is more than one heap: whose rows lie in chunks, shards or partitions.
void
EmptyWholeTable(Oid relid, const std::string &table) {
    if (pg::Query("SELECT EXISTS (SELECT 1 FROM " + table + " LIMIT 1)").Scalar() == "t") {
        pg::TruncateTables({relid});
    }
}

Oid
TargetRelation(const CopyTask &task) {
    const Oid relid = pg::FindTable(task.target_schema, task.target_name);
    if (!OidIsValid(relid)) {
        throw Error(sqlstate::kUndefinedTable,
                    "table " + QualifiedName(task.target_schema, task.target_name) +
                        " does not exist on the target")
            .Hint(MissingTableHint(task.target_schema, task.target_name));
    }
    return relid;
}

} // namespace

source::Connection
OpenSnapshotSession(const std::string &conninfo, const std::string &snapshot,
                    std::atomic<int64_t> *silent_since) {
    source::Connection source = source::Connection::Open(conninfo, source::ConnectionKind::kSql);
    source.ShowSilenceIn(silent_since);
    source.Query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    try {
        source.Query("SET TRANSACTION SNAPSHOT " + QuoteLiteral(snapshot));
    } catch (const Error &error) {
        // Its session may end at any moment; a new snapshot is then taken.
        if (IsTransient(error.sqlstate())) {
            throw;
        }
        throw Error(sqlstate::kConnectionFailure, "the source's snapshot was lost")
            .Detail(error.message());
    }
    return source;
}

namespace {

// For the error's reader: what was asked of the source, and how far it came.
struct CopyTrace {
    std::string command;
    uint64_t rows = 0;
    bool source_failed = false;
};

// Only the command's own end says that the source sent everything; and if it ended early, its error
// is the one to show, not that the data is incomplete. Returns how many rows it has sent.
uint64_t
FinishSource(source::Connection &source, const CopyStream &stream, CopyTrace &trace) {
    trace.rows = stream.rows;
    trace.source_failed = true;
    const uint64_t sent = source.FinishCopy();
    trace.source_failed = false;
    return sent;
}

// Nothing else tells that a trigger has left rows out.
void
CheckWritten(Oid relid, uint64_t sent, uint64_t written) {
    if (written == sent) {
        return;
    }
    const std::string silence = pg::SilenceRowFilters(relid, CMD_INSERT);
    throw Error("27000", "the target has written " + std::to_string(written) + " of " +
                             std::to_string(sent) + " rows")
        .Detail("A trigger of the target that is ENABLE ALWAYS or REPLICA leaves rows out.")
        .Hint((silence.empty() ? "When the cause is gone: " : silence + " ") +
              "SELECT livemigrate.migration_resume();");
}

CopiedPart
CopyRows(source::Connection &source, const CopyTask &task, const std::vector<CopyColumn> &columns,
         Freeze emptying, const CopyProgress &progress, CopyTrace &trace) {
    const Oid named = TargetRelation(task);
    const Oid relid = pg::RoutingRelation(named);
    const pg::TableManager manager = pg::ManagerOf(relid);
    const bool is_watched = manager != pg::TableManager::kNone || pg::IsWatched(relid);
    const bool one_heap = pg::IsOneHeap(relid);
    const bool is_alone = relid == named && !task.through_root(); // no other part's rows are there
    if (emptying == Freeze::kOurs && is_alone && !one_heap) {
        EmptyWholeTable(relid, QualifiedName(task.schema, task.name));
    }
    // A new file costs more than a small table is worth, and its rows are frozen as well later.
    const bool freeze =
        emptying != Freeze::kNo && is_alone && one_heap && !is_watched &&
        (emptying == Freeze::kOurs || (pg::CanBeTruncatedAlone(relid) && IsLockedAtOnce(relid))) &&
        (task.bytes >= kWorthFreezing || !HasNoPages(relid));
    if (freeze) {
        pg::TruncateTables({relid});
    }
    const bool binary = CanCopyBinary(columns, relid, source.server_version());
    const std::string statement =
        is_watched && !columns.empty() ? CopyFromCommand(relid, columns, binary) : "";
    trace.command = CopyToCommand(task, columns, binary);
    source.StartCopy(trace.command, PGRES_COPY_OUT);
    CopyStream stream = {source.raw(), &source.input_wait(), nullptr, 0, 0, 0, 0, 0, progress,
                         false};
    CopiedPart copied;
    {
        const ActiveStream active(stream);
        const pg::ActiveSnapshot snapshot;
        try {
            const pg::AsOwner owner(pg::OwnerToWriteAs(relid));
            copied.rows = statement.empty() ? CopyFromRows(relid, columns, binary, freeze)
                                            : CopyFromStatement(statement, ReadCopyData);
        } catch (const Error &) {
            if (stream.ended) {
                FinishSource(source, stream, trace);
            }
            throw;
        }
        copied.bytes = stream.bytes;
        copied.longest_row = static_cast<uint64_t>(stream.longest);
    }
    const uint64_t sent = FinishSource(source, stream, trace);
    if (manager == pg::TableManager::kCitus) {
        pg::FlushCommitBeforeNodes();
    }
    CheckWritten(relid, sent, copied.rows);
    if (progress.rows != nullptr) {
        progress.rows->store(copied.rows, std::memory_order_relaxed);
    }
    return copied;
}

// A value or row that has more than 1 GB in the form in which it travels: the source's memory ends
// there. bytea takes twice its length as text.
bool
IsTooLarge(const Error &error) {
    return error.sqlstate() == sqlstate::kProgramLimitExceeded ||
           error.message().find("invalid memory alloc request size") != std::string::npos;
}

std::string
HintAtLargestRows(const CopyTask &task, const std::vector<CopyColumn> &columns) {
    std::string size;
    for (const CopyColumn &column : columns) {
        const bool has_length = column.base_type == BYTEAOID || column.base_type == TEXTOID;
        size += (size.empty() ? "" : " + ") + std::string("COALESCE(") +
                (has_length ? "octet_length(" : "pg_column_size(") + QuoteIdentifier(column.name) +
                "), 0)";
    }
    return "Make the row smaller, or leave the table's rows out with exclude_table_data and take "
           "them along by other means. To find it, run on the source: SELECT ctid, " +
           size + " AS bytes FROM ONLY " + QualifiedName(task.schema, task.name) +
           " ORDER BY bytes DESC LIMIT 5; then on the target: SELECT "
           "livemigrate.migration_resume();";
}

} // namespace

CopiedPart
CopyPartData(source::Connection &source, const CopyTask &task,
             const std::vector<CopyColumn> &columns, Freeze freeze, const CopyProgress &progress) {
    CopyTrace trace;
    try {
        return CopyRows(source, task, columns, freeze, progress, trace);
    } catch (const Error &error) {
        if (IsTransient(error.sqlstate()) || error.sqlstate() == sqlstate::kDiskFull) {
            throw; // of all tables
        }
        // Which row, which statement: of the target's errors the context says so.
        std::string where = error.detail();
        const std::string lines[] = {
            error.context(),
            trace.source_failed ? "The source had sent " + std::to_string(trace.rows) + " rows."
                                : "",
            trace.command.empty() ? "" : "Statement on the source: " + trace.command};
        for (const std::string &line : lines) {
            where += (where.empty() || line.empty() ? "" : "\n") + line;
        }
        throw Error(error.sqlstate(), "table " + QualifiedName(task.schema, task.name) +
                                          " could not be copied: " + error.message())
            .Detail(where)
            .Hint(IsTooLarge(error) ? HintAtLargestRows(task, columns) : error.hint());
    }
}

} // namespace livemigrate::stage
