#include "stage/value_input.hpp"

#include "pg/portable_type.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

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

// Eight bytes at a time: it is done to most values there are.
bool
IsPlainAscii(const char *text, size_t length) {
    constexpr uint64_t kOnes = 0x0101010101010101;
    constexpr uint64_t kHighs = 0x80 * kOnes;
    for (; length >= sizeof(uint64_t); text += sizeof(uint64_t), length -= sizeof(uint64_t)) {
        uint64_t bytes = 0;
        memcpy(&bytes, text, sizeof(bytes));
        if (((bytes | (bytes - kOnes)) & kHighs) != 0) { // beyond ASCII, or NUL
            return false;
        }
    }
    return std::all_of(text, text + length,
                       [](char byte) { return static_cast<signed char>(byte) > 0; });
}

// The receiver has put types that are made of others in terms of built-in ones, see
// core/wire_types.
void
PrepareBinary(ValueInput &input, Oid wire, MemoryContext context) {
    if (wire == ANYENUMOID) {
        input.binary = ValueInput::Binary::kLabel;
        return;
    }
    const Oid element = OidIsValid(wire) ? get_element_type(wire) : InvalidOid;
    if (!pg::HasPortableBinaryForm(wire, element, pg::kBuiltForVersion)) {
        return;
    }
    Oid function = InvalidOid;
    bool is_varlena = false;
    getTypeBinaryInputInfo(wire, &function, &input.wire_parameter);
    fmgr_info_cxt(function, &input.wire_receive, context);
    getTypeOutputInfo(wire, &function, &is_varlena);
    fmgr_info_cxt(function, &input.wire_output, context);
    input.can_be_shown = !OidIsValid(element) && get_typtype(wire) == TYPTYPE_BASE;
    input.binary = ValueInput::Binary::kOther;
    if (getBaseType(input.type) == wire) {
        getTypeBinaryInputInfo(input.type, &function, &input.receive_parameter);
        fmgr_info_cxt(function, &input.receive, context);
        input.binary = ValueInput::Binary::kOwn;
    }
}

// As ReceiveFunctionCall() wants it. Receive functions read it, and array_recv() of versions before
// 17 puts NUL bytes between elements for a while.
Datum
Receive(FmgrInfo *function, Oid parameter, int32 type_modifier, const ColumnValue &value) {
    StringInfoData buffer = {};
    buffer.data = const_cast<char *>(value.data.data());
    buffer.len = static_cast<int>(value.data.size());
    buffer.maxlen = buffer.len + 1;
    const Datum result = ReceiveFunctionCall(function, &buffer, parameter, type_modifier);
    if (buffer.cursor != buffer.len) {
        ereport(ERROR, (errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
                        errmsg("incorrect binary data format in the change stream")));
    }
    return result;
}

// It may be what was refused for its bytes.
char *
ShowText(std::string_view value) {
    char *text = pnstrdup(value.data(), value.size());
    if (!pg_verify_mbstr(GetDatabaseEncoding(), text, static_cast<int>(strlen(text)), true)) {
        for (char *byte = text; *byte != '\0'; byte++) {
            *byte = IS_HIGHBIT_SET(*byte) ? '?' : *byte;
        }
    }
    return text;
}

char *
WireText(ValueInput &input, const ColumnValue &value) {
    return OutputFunctionCall(&input.wire_output,
                              Receive(&input.wire_receive, input.wire_parameter, -1, value));
}

Datum
ReadBinary(ValueInput &input, const ColumnValue &value) {
    switch (input.binary) {
    case ValueInput::Binary::kOwn:
        return Receive(&input.receive, input.receive_parameter, input.type_modifier, value);
    case ValueInput::Binary::kOther:
        return InputFunctionCall(&input.function, WireText(input, value), input.io_parameter,
                                 input.type_modifier);
    default:
        ereport(ERROR,
                (errcode(ERRCODE_PROTOCOL_VIOLATION),
                 errmsg("the change stream has a binary value of a type that cannot be read")));
    }
    pg_unreachable();
}

} // namespace

void
PrepareInput(ValueInput &input, Oid type, int32 type_modifier, const RemoteColumn &remote,
             bool binary, MemoryContext context) {
    Oid function = InvalidOid;
    getTypeInputInfo(type, &function, &input.io_parameter);
    fmgr_info_cxt(function, &input.function, context);
    input.type = type;
    input.type_modifier = type_modifier;
    input.ascii_only = IsAsciiOnly(type);
    if (binary) {
        PrepareBinary(input, remote.type_oid, context);
    }
}

Datum
ReadValue(ValueInput &input, const ColumnValue &value, const ValueFormat &format) {
    if (value.kind == ValueKind::kNull) {
        return input.function.fn_strict
                   ? Datum(0)
                   : InputFunctionCall(&input.function, nullptr, input.io_parameter,
                                       input.type_modifier);
    }
    if (value.kind == ValueKind::kBinary && input.binary != ValueInput::Binary::kLabel) {
        return ReadBinary(input, value);
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
    } else if (input.ascii_only && IsPlainAscii(text, value.data.size())) {
        // no encoding to care for
    } else if (format.stream_encoding == GetDatabaseEncoding()) {
        pg_verify_mbstr(GetDatabaseEncoding(), text, length, false);
    } else {
        text = pg_any_to_server(text, length, format.stream_encoding);
    }
    return InputFunctionCall(&input.function, text, input.io_parameter, input.type_modifier);
}

const char *
ShowValue(ValueInput &input, const ColumnValue &value) {
    if (value.kind == ValueKind::kNull) {
        return "null";
    }
    if (value.kind == ValueKind::kText || input.binary == ValueInput::Binary::kLabel) {
        return ShowText(value.data);
    }
    return value.kind == ValueKind::kBinary && input.can_be_shown ? WireText(input, value)
                                                                  : nullptr;
}

} // namespace livemigrate::stage
