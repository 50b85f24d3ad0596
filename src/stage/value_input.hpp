// Values of the stream on their way into a column of the target: by the type's input function.
#pragma once

#include "pg/prelude.hpp"

#include "core/change.hpp"
#include "core/output_plugin.hpp"

namespace livemigrate::stage {

// How the stream's text values are to be read.
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
    // The input function takes nothing but ASCII, so there is no encoding to verify.
    bool ascii_only = false;
};

// Looks the input function up; what is cached lives in `context`. C-like, may ereport.
void PrepareInput(ValueInput &input, Oid type, int32 type_modifier, MemoryContext context);

// A NUL byte must follow value.data. The result lives in the current memory context, or is
// value.data itself. NULL is given to the input function, too: domains may refuse it.
// C-like, may ereport. REQUIRES: an active snapshot, since checks of domains may run queries.
Datum ReadValue(ValueInput &input, const ColumnValue &value, const ValueFormat &format);

} // namespace livemigrate::stage
