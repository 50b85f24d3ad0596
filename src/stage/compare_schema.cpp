// NOTES
//   Each kind of object is one query that runs on both sides with the same text, but for columns
//   that a catalog got in a later version. It returns object, definition, and the relation by which
//   the caller's filter judges (NULL: not filtered). The results are merged by object.
//
//   Both sides print expressions with their own pg_get_*def(). The text may differ for two reasons
//   that are no difference, and which Canonical() takes away:
//   - reading a dump is not idempotent: "(ARRAY['a'::character varying])::text[]" comes back as
//     "ARRAY[('a'::character varying)::text]" because the parser moves the cast to the elements;
//   - versions print differently (see Canonical).
#include "stage/compare_schema.hpp"

#include "core/error.hpp"
#include "pg/local_settings.hpp"
#include "pg/spi.hpp"
#include "source/connection.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <string_view>

namespace livemigrate::stage {

namespace {

// Text that stands for a column which only later versions of a catalog have.
struct VersionedText {
    std::string_view placeholder;
    int version;
    std::string_view text;
    std::string_view before;
};

constexpr std::array<VersionedText, 12> kVersionedTexts = {{
    {"{generated}", 120000, "a.attgenerated", "''"},
    {"{prokind}", 110000, "p.prokind",
     "CASE WHEN p.proisagg THEN 'a' WHEN p.proiswindow THEN 'w' ELSE 'f' END"},
    {"{own_constraint}", 110000, "(c.contype <> 'f' OR c.conparentid = 0)", "true"},
    {"{own_trigger}", 130000, "t.tgparentid = 0", "true"},
    // Without 11's clones of row triggers, which look like triggers of the partition.
    {"{statistics}", 100000, "pg_catalog.pg_get_statisticsobjdef(s.oid)", "''"},
    {"{aggkind}", 100000, "g.aggkind", "''"},
    {"{procedure_arguments}", 100000, "pg_catalog.pg_get_function_identity_arguments(p.oid)", ""},
    {"{nulls_distinct}", 150000, "''", "''"},
    {"{range_multi}", 140000, "r.rngmultitypid::pg_catalog.regtype::pg_catalog.text", "''"},
    {"{transform}", 100000, "''", "''"},
    {"{enforced}", 180000, "''", "''"},
    {"{x}", 0, "", ""},
}};

} // namespace

} // namespace livemigrate::stage
