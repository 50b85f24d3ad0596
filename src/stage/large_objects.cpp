// NOTES
//   Large objects are read with lo_get() in SQL: unlike libpq's lo_* functions it takes one round
//   trip for many objects, obeys the snapshot, and needs no right on pg_largeobject. A first
//   statement brings the beginning of a hundred objects; whatever is longer follows by itself in
//   pieces of 1 MB. Results are binary, so nothing is decoded and a zero byte is a zero byte.
#include "stage/large_objects.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/spi.hpp"
#include "pg/sql_row.hpp"
#include "pg/wait.hpp"

#include <algorithm>
#include <string>
#include <string_view>

extern "C" {
#include "utils/fmgrprotos.h"
}

namespace livemigrate::stage {

namespace {

// Objects in one round trip, and how much of each: 6.4 MB at most.
constexpr size_t kObjectsPerBatch = 100;
constexpr uint64_t kFirstBytes = 64 * 1024;
constexpr uint64_t kChunkBytes = 1024 * 1024;

using Oids = std::vector<uint32_t>;

// Memory of PostgreSQL's functions for one batch.
class ScratchContext {
  public:
    ScratchContext()
        : outer_(CurrentMemoryContext), context_(pg::Call([] {
              return AllocSetContextCreate(CurrentMemoryContext, "livemigrate large objects",
                                           ALLOCSET_DEFAULT_SIZES);
          })) {
        MemoryContextSwitchTo(context_);
    }
    ~ScratchContext() {
        MemoryContextSwitchTo(outer_);
        MemoryContextDelete(context_);
    }
    ScratchContext(const ScratchContext &) = delete;
    ScratchContext &operator=(const ScratchContext &) = delete;

  private:
    MemoryContext outer_;
    MemoryContext context_;
};

std::string
OidArray(const Oids &oids) {
    std::vector<std::string> texts;
    texts.reserve(oids.size());
    for (const uint32_t oid : oids) {
        texts.push_back(std::to_string(oid));
    }
    return TextArrayLiteral(texts);
}

// A SELECT whose values come as the types' binary output.
pg::SqlResult
QueryBinary(source::Connection &source, const std::string &sql) {
    PQsetnonblocking(source.raw(), 1);
    if (PQsendQueryParams(source.raw(), sql.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 1) ==
        0) {
        source.ThrowConnectionError("could not send a query to the source");
    }
    source.Flush();
    return source.FinishQuery();
}

Oids
ReadOids(source::Connection &source, uint32_t first_oid, uint32_t last_oid) {
    const pg::SqlResult result = source.Query(
        "SELECT oid FROM pg_catalog.pg_largeobject_metadata WHERE oid >= " +
        std::to_string(first_oid) + " AND oid <= " + std::to_string(last_oid) + " ORDER BY oid");
    Oids oids;
    for (const auto &row : result.rows) {
        oids.push_back(static_cast<uint32_t>(std::stoul(row.at(0).value())));
    }
    return oids;
}

void
Unlink(uint32_t oid) {
    pg::Call([&] { DirectFunctionCall1(be_lo_unlink, ObjectIdGetDatum(oid)); });
}

// Makes room for the objects, or refuses to.
void
PrepareTarget(const Oids &oids, bool replace) {
    const pg::SqlResult existing = pg::Query("SELECT oid FROM pg_catalog.pg_largeobject_metadata"
                                             " WHERE oid = ANY ($1::pg_catalog.oid[]) ORDER BY oid",
                                             {OidArray(oids)});
    if (existing.rows.empty()) {
        return;
    }
    if (!replace) {
        const std::string &first = existing.rows.front().at(0).value();
        throw Error(sqlstate::kDuplicateObject,
                    "large object " + first + " already exists on the target")
            .Detail("It is one of " + std::to_string(existing.rows.size()) +
                    " that the source has as well.")
            .Hint("If it is not needed, run on the target: SELECT pg_catalog.lo_unlink(" + first +
                  ");");
    }
    for (const auto &row : existing.rows) {
        Unlink(static_cast<uint32_t>(std::stoul(row.at(0).value())));
    }
}

bytea *
MakeBytea(std::string_view bytes) {
    auto *result = static_cast<bytea *>(palloc(VARHDRSZ + bytes.size()));
    SET_VARSIZE(result, VARHDRSZ + bytes.size());
    memcpy(VARDATA(result), bytes.data(), bytes.size());
    return result;
}

// lo_from_bytea(): creates the object with its first bytes, which may be none.
void
CreateObject(uint32_t oid, std::string_view bytes) {
    pg::Call([&] {
        DirectFunctionCall2(be_lo_from_bytea, ObjectIdGetDatum(oid),
                            PointerGetDatum(MakeBytea(bytes)));
    });
}

void
WriteChunk(uint32_t oid, uint64_t offset, std::string_view bytes) {
    const ScratchContext scratch;
    pg::Call([&] {
        DirectFunctionCall3(be_lo_put, ObjectIdGetDatum(oid),
                            Int64GetDatum(static_cast<int64>(offset)),
                            PointerGetDatum(MakeBytea(bytes)));
    });
}

std::string
LoGet(const std::string &oid, uint64_t offset, uint64_t length) {
    return "pg_catalog.lo_get(" + oid + ", " + std::to_string(offset) + ", " +
           std::to_string(length) + ")";
}

// Copies one range, keeping count.
class RangeCopy {
  public:
    RangeCopy(source::Connection &source, const LargeObjectProgress &progress)
        : source_(source), progress_(progress) {}

    void CopyBatch(const Oids &oids);
    LargeObjectCopied
    copied() const {
        return copied_;
    }

  private:
    void CopyRest(uint32_t oid);
    pg::SqlResult Read(const std::string &sql, const std::string &which);
    void Report();

    source::Connection &source_;
    const LargeObjectProgress &progress_;
    LargeObjectCopied copied_;
};

void
RangeCopy::Report() {
    pg::CheckInterrupts();
    if (progress_) {
        progress_(copied_.bytes, copied_.objects);
    }
}

pg::SqlResult
RangeCopy::Read(const std::string &sql, const std::string &which) {
    try {
        return QueryBinary(source_, sql);
    } catch (const Error &error) {
        std::string hint = error.hint();
        if (error.sqlstate() == sqlstate::kInsufficientPrivilege && hint.empty()) {
            hint = "Run on the source as a superuser or the owner, for each large object: GRANT "
                   "SELECT ON LARGE OBJECT ... TO " +
                   QuoteIdentifier(PQuser(source_.raw())) + ";";
        }
        throw Error(error.sqlstate(), error.message())
            .Detail(error.detail())
            .Hint(std::move(hint))
            .Context("copying large object " + which);
    }
}

void
RangeCopy::CopyBatch(const Oids &oids) {
    // unnest() keeps the order, so results are matched by position: binary OIDs need no decoding.
    const pg::SqlResult heads =
        Read("SELECT " + LoGet("o.oid", 0, kFirstBytes) + " FROM pg_catalog.unnest(" +
                 QuoteLiteral(OidArray(oids)) +
                 "::pg_catalog.oid[]) WITH ORDINALITY AS o(oid, n) ORDER BY o.n",
             std::to_string(oids.front()) + " to " + std::to_string(oids.back()));
    if (heads.rows.size() != oids.size()) {
        throw Error(sqlstate::kInternalError, "the source sent a wrong number of large objects");
    }
    Oids longer;
    {
        const ScratchContext scratch;
        for (size_t i = 0; i < oids.size(); i++) {
            const std::string &head = heads.rows[i].at(0).value();
            CreateObject(oids[i], head);
            copied_.bytes += head.size();
            if (head.size() < kFirstBytes) {
                copied_.objects++;
            } else {
                longer.push_back(oids[i]);
            }
        }
    }
    Report();
    for (const uint32_t oid : longer) {
        CopyRest(oid);
    }
}

// Pieces of zeros are not written, since that is how holes of a sparse object look; what is never
// written reads as zeros on the target too.
void
RangeCopy::CopyRest(uint32_t oid) {
    const std::string name = std::to_string(oid);
    uint64_t length = kFirstBytes;
    uint64_t written = kFirstBytes;
    for (bool more = true; more;) {
        const pg::SqlResult chunk = Read("SELECT " + LoGet(name, length, kChunkBytes), name);
        const std::string &bytes = chunk.rows.at(0).at(0).value();
        if (bytes.find_first_not_of('\0') != std::string::npos) {
            WriteChunk(oid, length, bytes);
            written = length + bytes.size();
        }
        length += bytes.size();
        copied_.bytes += bytes.size();
        more = bytes.size() == kChunkBytes;
        Report();
    }
    if (written < length) {
        WriteChunk(oid, length - 1, std::string_view("\0", 1)); // gives it its length
    }
    copied_.objects++;
    Report();
}

void
CopyComments(source::Connection &source, uint32_t first_oid, uint32_t last_oid) {
    const pg::SqlResult comments =
        source.Query("SELECT d.objoid, d.description FROM pg_catalog.pg_description d"
                     " WHERE d.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass"
                     " AND d.objoid >= " +
                     std::to_string(first_oid) + " AND d.objoid <= " + std::to_string(last_oid));
    for (const auto &row : comments.rows) {
        pg::Execute("COMMENT ON LARGE OBJECT " + std::to_string(pg::Number<Oid>(row, 0)) + " IS " +
                    QuoteLiteral(row.at(1).value()));
    }
}

} // namespace

std::vector<std::pair<uint32_t, uint32_t>>
PlanLargeObjects(source::Connection &source, uint32_t objects_per_range) {
    const pg::SqlResult result = source.Query(
        "SELECT pg_catalog.min(o.oid), pg_catalog.max(o.oid) FROM ("
        "SELECT m.oid, (pg_catalog.row_number() OVER (ORDER BY m.oid) - 1) / " +
        std::to_string(std::max(objects_per_range, 1u)) +
        " AS range FROM pg_catalog.pg_largeobject_metadata m) o GROUP BY o.range ORDER BY 1");
    std::vector<std::pair<uint32_t, uint32_t>> ranges;
    for (const auto &row : result.rows) {
        ranges.emplace_back(static_cast<uint32_t>(std::stoul(row.at(0).value())),
                            static_cast<uint32_t>(std::stoul(row.at(1).value())));
    }
    return ranges;
}

LargeObjectCopied
CopyLargeObjects(source::Connection &source, uint32_t first_oid, uint32_t last_oid,
                 const LargeObjectProgress &progress, bool replace) {
    const Oids oids = ReadOids(source, first_oid, last_oid);
    RangeCopy copy(source, progress);
    for (size_t begin = 0; begin < oids.size(); begin += kObjectsPerBatch) {
        const size_t end = std::min(begin + kObjectsPerBatch, oids.size());
        const Oids batch(oids.begin() + static_cast<ptrdiff_t>(begin),
                         oids.begin() + static_cast<ptrdiff_t>(end));
        PrepareTarget(batch, replace);
        copy.CopyBatch(batch);
    }
    CopyComments(source, first_oid, last_oid);
    return copy.copied();
}

} // namespace livemigrate::stage
