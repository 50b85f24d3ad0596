// Values of the stream on their way into a column of the target: by the type's input function, or,
// where they come in binary form, by its receive function.
#pragma once

#include "pg/prelude.hpp"

#include "core/change.hpp"
#include "core/output_plugin.hpp"

namespace livemigrate::stage {

// How the stream's values are to be read.
struct ValueFormat {
    Plugin plugin = Plugin::kPgoutput;
    // Verified or converted to the database's encoding on the way in.
    int stream_encoding = PG_UTF8;
};

// What it takes to read values of one type.
struct ValueInput {
    FmgrInfo function = {};
    Oid type = InvalidOid;
    Oid io_parameter = InvalidOid;
    int32 type_modifier = -1;
    // The input function takes nothing but ASCII: of that there is no encoding to verify.
    bool ascii_only = false;

    // What binary values are.
    enum class Binary : uint8_t {
        kUnreadable,
        kOwn,   // what the type's receive function takes
        kLabel, // an enum's label: text
        kOther, // of another type than the column: they go through that type's text
    } binary = Binary::kUnreadable;
    FmgrInfo receive = {}; // the type's own
    Oid receive_parameter = InvalidOid;
    FmgrInfo wire_receive = {}; // of the type that the stream has
    Oid wire_parameter = InvalidOid;
    FmgrInfo wire_output = {};
    bool can_be_shown = false; // neither function looks into catalogs
};

// Looks the functions up; what is cached lives in `context`. `remote` is the stream's column, of
// the relation's form. C-like, may ereport.
void PrepareInput(ValueInput &input, Oid type, int32 type_modifier, const RemoteColumn &remote,
                  bool binary, MemoryContext context);

// A NUL byte must follow value.data. The result lives in the current memory context, or is
// value.data itself. NULL is given to the input function, too: domains may refuse it.
// C-like, may ereport. REQUIRES: an active snapshot, since checks of domains may run queries.
Datum ReadValue(ValueInput &input, const ColumnValue &value, const ValueFormat &format);

// The value as text in the database's encoding, in the current memory context: up to a NUL byte,
// and with question marks if its bytes are not of that encoding. Looks nothing up, so that it can
// be called after an error; null for what would take that. C-like, may ereport.
const char *ShowValue(ValueInput &input, const ColumnValue &value);

} // namespace livemigrate::stage
