#include "stage/value_input.hpp"

#include <cstring>

namespace livemigrate::stage {

namespace {

bool
IsAsciiOnly(Oid type) {
    switch (type) {
    case BOOLOID:
    case INT2OID:
    case INT4OID:
    case INT8OID:
    case OIDOID:
    case FLOAT4OID:
    case FLOAT8OID:
    case NUMERICOID:
    case DATEOID:
    case TIMEOID:
    case TIMETZOID:
    case TIMESTAMPOID:
    case TIMESTAMPTZOID:
    case INTERVALOID:
    case UUIDOID:
        return true;
    default:
        return false;
    }
}

} // namespace

void
PrepareInput(ValueInput &input, Oid type, int32 type_modifier, MemoryContext context) {
    Oid function = InvalidOid;
    getTypeInputInfo(type, &function, &input.io_parameter);
    fmgr_info_cxt(function, &input.function, context);
    input.type = type;
    input.type_modifier = type_modifier;
    input.ascii_only = IsAsciiOnly(type);
}

Datum
ReadValue(ValueInput &input, const ColumnValue &value, const ValueFormat &format) {
    if (value.kind == ValueKind::kNull) {
        return input.function.fn_strict
                   ? Datum(0)
                   : InputFunctionCall(&input.function, nullptr, input.io_parameter,
                                       input.type_modifier);
    }
    auto *text = const_cast<char *>(value.data.data()); // input functions only read it
    auto length = static_cast<int>(value.data.size());
    if (input.type == BYTEAOID && format.plugin == Plugin::kWal2json) {
        // wal2json prints bytea, and only exactly that type, without its \x.
        auto *prefixed = static_cast<char *>(
            MemoryContextAllocHuge(CurrentMemoryContext, value.data.size() + 3));
        prefixed[0] = '\\';
        prefixed[1] = 'x';
        memcpy(prefixed + 2, text, value.data.size() + 1);
        text = prefixed;
    } else if (input.ascii_only) {
        // no encoding to care for
    } else if (format.stream_encoding == GetDatabaseEncoding()) {
        pg_verify_mbstr(GetDatabaseEncoding(), text, length, false);
    } else {
        text = pg_any_to_server(text, length, format.stream_encoding);
    }
    return InputFunctionCall(&input.function, text, input.io_parameter, input.type_modifier);
}

} // namespace livemigrate::stage
