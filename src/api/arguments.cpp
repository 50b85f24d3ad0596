#include "api/arguments.hpp"

#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

extern "C" {
#include "utils/array.h"
}

namespace livemigrate::api {

std::optional<std::string>
TextArgument(FunctionCallInfo fcinfo, int index) {
    if (index >= PG_NARGS() || PG_ARGISNULL(index)) {
        return std::nullopt;
    }
    const char *value = pg::Call([&]() -> char * {
        const Oid type = get_fn_expr_argtype(fcinfo->flinfo, index);
        if (type == NAMEOID) {
            return pstrdup(NameStr(*PG_GETARG_NAME(index)));
        }
        if (type == JSONBOID || type == INTERVALOID) {
            Oid output = InvalidOid;
            bool varlena = false;
            getTypeOutputInfo(type, &output, &varlena);
            return OidOutputFunctionCall(output, PG_GETARG_DATUM(index));
        }
        return text_to_cstring(PG_GETARG_TEXT_PP(index));
    });
    return std::string(value);
}

std::optional<std::vector<std::string>>
TextArrayArgument(FunctionCallInfo fcinfo, int index) {
    if (index >= PG_NARGS() || PG_ARGISNULL(index)) {
        return std::nullopt;
    }
    struct Elements {
        char **texts;
        int count;
    };
    const Elements elements = pg::Call([&]() -> Elements {
        Datum *values = nullptr;
        bool *nulls = nullptr;
        int count = 0;
        deconstruct_array(PG_GETARG_ARRAYTYPE_P(index), TEXTOID, -1, false, TYPALIGN_INT, &values,
                          &nulls, &count);
        auto **texts = static_cast<char **>(palloc(sizeof(char *) * (count + 1)));
        for (int i = 0; i < count; i++) {
            if (nulls[i]) {
                ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
                                errmsg("array element %d must not be null", i + 1)));
            }
            texts[i] = TextDatumGetCString(values[i]);
        }
        return {texts, count};
    });
    return std::vector<std::string>(elements.texts, elements.texts + elements.count);
}

std::optional<int>
IntArgument(FunctionCallInfo fcinfo, int index) {
    if (index >= PG_NARGS() || PG_ARGISNULL(index)) {
        return std::nullopt;
    }
    return PG_GETARG_INT32(index);
}

std::optional<bool>
BoolArgument(FunctionCallInfo fcinfo, int index) {
    if (index >= PG_NARGS() || PG_ARGISNULL(index)) {
        return std::nullopt;
    }
    return PG_GETARG_BOOL(index);
}

std::optional<Lsn>
LsnArgument(FunctionCallInfo fcinfo, int index) {
    if (index >= PG_NARGS() || PG_ARGISNULL(index)) {
        return std::nullopt;
    }
    return Lsn{PG_GETARG_LSN(index)};
}

namespace {

const char *
HintFor(std::string_view name) {
    if (name == "source") {
        return "Give a libpq string such as 'host=src port=5432 dbname=app user=migrator'.";
    }
    if (name == "lsn") {
        return "SELECT end_lsn, message FROM livemigrate.conflicts; shows the position.";
    }
    return "Leave it out for its default.";
}

template <typename T>
T
Required(std::optional<T> value, const char *name) {
    if (!value) {
        throw Error(sqlstate::kNullValueNotAllowed,
                    std::string("argument \"") + name + "\" must not be null")
            .Hint(HintFor(name));
    }
    return *std::move(value);
}

} // namespace

std::string
RequiredText(FunctionCallInfo fcinfo, int index, const char *name) {
    return Required(TextArgument(fcinfo, index), name);
}

std::vector<std::string>
RequiredTextArray(FunctionCallInfo fcinfo, int index, const char *name) {
    return Required(TextArrayArgument(fcinfo, index), name);
}

int
RequiredInt(FunctionCallInfo fcinfo, int index, const char *name) {
    return Required(IntArgument(fcinfo, index), name);
}

Lsn
RequiredLsn(FunctionCallInfo fcinfo, int index, const char *name) {
    return Required(LsnArgument(fcinfo, index), name);
}

bool
RequiredBool(FunctionCallInfo fcinfo, int index, const char *name) {
    return Required(BoolArgument(fcinfo, index), name);
}

namespace {

char **
Pointers(const std::vector<pg::SqlValue> &row, int columns, std::vector<char *> &pointers) {
    pointers.assign(static_cast<size_t>(columns), nullptr);
    for (size_t i = 0; i < row.size() && i < pointers.size(); i++) {
        pointers[i] = row[i] ? const_cast<char *>(row[i]->c_str()) : nullptr;
    }
    return pointers.data();
}

} // namespace

Datum
ReturnRows(FunctionCallInfo fcinfo, const std::vector<std::vector<pg::SqlValue>> &rows) {
    pg::Call([&] { pg::InitResultSet(fcinfo); });
    auto *info = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    AttInMetadata *metadata = pg::Call([&] { return TupleDescGetAttInMetadata(info->setDesc); });
    std::vector<char *> pointers;
    for (const std::vector<pg::SqlValue> &row : rows) {
        char **values = Pointers(row, info->setDesc->natts, pointers);
        pg::Call([&] {
            tuplestore_puttuple(info->setResult, BuildTupleFromCStrings(metadata, values));
        });
    }
    return 0;
}

Datum
ReturnLines(FunctionCallInfo fcinfo, const std::vector<std::string> &lines) {
    auto *info = reinterpret_cast<ReturnSetInfo *>(fcinfo->resultinfo);
    if (info == nullptr || !IsA(info, ReturnSetInfo) ||
        (info->allowedModes & SFRM_Materialize) == 0) {
        throw Error(sqlstate::kFeatureNotSupported,
                    "set-valued function called in context that cannot accept a set");
    }
    pg::Call([&] {
        const MemoryContext outer = MemoryContextSwitchTo(info->econtext->ecxt_per_query_memory);
        info->returnMode = SFRM_Materialize;
        info->setDesc = CreateTemplateTupleDesc(1);
        TupleDescInitEntry(info->setDesc, 1, "line", TEXTOID, -1, 0);
        info->setResult = tuplestore_begin_heap((info->allowedModes & SFRM_Materialize_Random) != 0,
                                                false, work_mem);
        MemoryContextSwitchTo(outer);
    });
    for (const std::string &line : lines) {
        pg::Call([&] {
            Datum value = CStringGetTextDatum(line.c_str());
            bool null = false;
            tuplestore_putvalues(info->setResult, info->setDesc, &value, &null);
        });
    }
    return 0;
}

Datum
ReturnRow(FunctionCallInfo fcinfo, const std::vector<pg::SqlValue> &row) {
    TupleDesc descriptor = pg::Call([&] {
        TupleDesc found = nullptr;
        if (get_call_result_type(fcinfo, nullptr, &found) != TYPEFUNC_COMPOSITE) {
            elog(ERROR, "return type must be a row type");
        }
        return BlessTupleDesc(found);
    });
    std::vector<char *> pointers;
    char **values = Pointers(row, descriptor->natts, pointers);
    return pg::Call([&] {
        return HeapTupleGetDatum(
            BuildTupleFromCStrings(TupleDescGetAttInMetadata(descriptor), values));
    });
}

std::chrono::milliseconds
Milliseconds(const std::string &interval) {
    const pg::SqlResult result =
        pg::Query("SELECT (EXTRACT(epoch FROM $1::interval) * 1000)::bigint", {interval});
    return std::chrono::milliseconds(pg::Number<int64_t>(result.rows.at(0), 0));
}

Datum
ReturnName(const std::string &name) {
    return pg::Call([&] { return DirectFunctionCall1(namein, CStringGetDatum(name.c_str())); });
}

void
Notice(const std::string &message, const std::string &hint) {
    pg::Call([&] {
        ereport(NOTICE,
                (errmsg("%s", message.c_str()), hint.empty() ? 0 : errhint("%s", hint.c_str())));
    });
}

} // namespace livemigrate::api
