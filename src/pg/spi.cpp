#include "pg/spi.hpp"

#include "pg/guard.hpp"
#include "pg/transaction.hpp"

#include <unordered_map>

namespace livemigrate::pg {

namespace {

// Plans of statements that this process runs again and again: with ten thousand tables, planning
// the claims of work would take longer than the work. The number is bounded, since a statement may
// have names in its text.
constexpr size_t kMostKeptPlans = 100;

std::unordered_map<std::string, SPIPlanPtr> kept_plans; // null until the second run

// The result as C memory: filled under the guard, copied into C++ objects outside of it.
struct RawResult {
    uint64 processed;
    uint64 rows;
    int columns;
    char **values;
};

SPIPlanPtr
KeepPlan(const char *sql, int count, Oid *types) {
    SPIPlanPtr plan = SPI_prepare(sql, count, types);
    if (plan == nullptr) {
        elog(ERROR, "SPI_prepare: %s", SPI_result_code_string(SPI_result));
    }
    SPI_keepplan(plan);
    return plan;
}

// `plan` is null for a statement that runs once; otherwise its plan, made if there is none yet.
RawResult
RunRaw(const char *sql, int count, char *const *parameters, SPIPlanPtr *plan) {
    RawResult raw = {0, 0, 0, nullptr};
    Oid *types = static_cast<Oid *>(palloc(sizeof(Oid) * (count + 1)));
    Datum *values = static_cast<Datum *>(palloc(sizeof(Datum) * (count + 1)));
    char *nulls = static_cast<char *>(palloc(count + 1));
    for (int i = 0; i < count; i++) {
        types[i] = TEXTOID;
        nulls[i] = parameters[i] == nullptr ? 'n' : ' ';
        values[i] = parameters[i] == nullptr ? 0 : CStringGetTextDatum(parameters[i]);
    }
    const MemoryContext outer = CurrentMemoryContext;
    SPI_connect();
    const bool own_snapshot = !ActiveSnapshotSet();
    if (own_snapshot) {
        PushActiveSnapshot(GetTransactionSnapshot());
    }
    if (plan != nullptr && *plan == nullptr) {
        *plan = KeepPlan(sql, count, types);
    }
    const int code = plan == nullptr
                         ? SPI_execute_with_args(sql, count, types, values, nulls, false, 0)
                         : SPI_execute_plan(*plan, values, nulls, false, 0);
    if (code < 0) {
        elog(ERROR, "SPI_execute: %s", SPI_result_code_string(code));
    }
    raw.processed = SPI_processed;
    if (SPI_tuptable != nullptr) {
        raw.rows = SPI_tuptable->numvals;
        raw.columns = SPI_tuptable->tupdesc->natts;
        raw.values = static_cast<char **>(
            MemoryContextAllocHuge(outer, sizeof(char *) * (raw.rows * raw.columns + 1)));
        for (uint64 row = 0; row < raw.rows; row++) {
            for (int column = 0; column < raw.columns; column++) {
                char *text =
                    SPI_getvalue(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column + 1);
                raw.values[row * raw.columns + column] =
                    text == nullptr ? nullptr : MemoryContextStrdup(outer, text);
            }
        }
    }
    if (own_snapshot) {
        PopActiveSnapshot();
    }
    SPI_finish();
    return raw;
}

// Where to keep the statement's plan; null at its first run, and when there are too many.
SPIPlanPtr *
PlanOf(const std::string &sql) {
    const auto kept = kept_plans.find(sql);
    if (kept != kept_plans.end()) {
        return &kept->second;
    }
    if (kept_plans.size() < kMostKeptPlans) {
        kept_plans.emplace(sql, nullptr);
    }
    return nullptr;
}

} // namespace

SqlValue
SqlResult::Scalar() const {
    return rows.empty() || rows[0].empty() ? std::nullopt : rows[0][0];
}

SqlResult
Query(const std::string &sql, const std::vector<SqlValue> &parameters) {
    std::vector<char *> raw_parameters;
    raw_parameters.reserve(parameters.size());
    for (const SqlValue &parameter : parameters) {
        raw_parameters.push_back(parameter ? const_cast<char *>(parameter->c_str()) : nullptr);
    }
    // A context of its own, so that a long-lived caller does not gather results' memory.
    struct Scratch {
        MemoryContext context;
        MemoryContext outer;
        ~Scratch() {
            MemoryContextSwitchTo(outer);
            MemoryContextDelete(context);
        }
    };
    const MemoryContext outer = CurrentMemoryContext;
    const MemoryContext context = Call([] {
        return AllocSetContextCreate(CurrentMemoryContext, "livemigrate query",
                                     ALLOCSET_DEFAULT_SIZES);
    });
    const Scratch scratch{context, outer};
    MemoryContextSwitchTo(context);
    SPIPlanPtr *plan = parameters.empty() ? nullptr : PlanOf(sql);
    const RawResult raw = Call([&] {
        return RunRaw(sql.c_str(), static_cast<int>(raw_parameters.size()), raw_parameters.data(),
                      plan);
    });
    SqlResult result;
    result.processed = raw.processed;
    result.rows.resize(raw.rows);
    for (uint64 row = 0; row < raw.rows; row++) {
        for (int column = 0; column < raw.columns; column++) {
            const char *text = raw.values[row * raw.columns + column];
            result.rows[row].push_back(text == nullptr ? std::nullopt : SqlValue(text));
        }
    }
    return result;
}

void
Execute(const std::string &sql) {
    Call([&] {
        SPI_connect();
        const bool own_snapshot = !ActiveSnapshotSet();
        if (own_snapshot) {
            PushActiveSnapshot(GetTransactionSnapshot());
        }
        const int code = SPI_execute(sql.c_str(), false, 0);
        if (code < 0) {
            ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
                            errmsg_internal("SPI_execute: %s", SPI_result_code_string(code))));
        }
        if (own_snapshot && ActiveSnapshotSet()) {
            PopActiveSnapshot();
        }
        SPI_finish();
    });
}

void
SetConfig(const char *name, const char *value) {
    // superuser() looks into the catalog.
    std::optional<Transaction> transaction;
    if (!IsTransactionState()) {
        transaction.emplace();
    }
    Call([&] {
        SetConfigOption(name, value, superuser() ? PGC_SUSET : PGC_USERSET, PGC_S_OVERRIDE);
    });
    if (transaction) {
        transaction->Commit();
    }
}

} // namespace livemigrate::pg
