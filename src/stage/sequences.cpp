// NOTES
//   The state of a sequence is its one row, last_value and is_called, which no catalog shows:
//   pg_sequences has no row's is_called, and hides last_value of one that was never called. So each
//   sequence is read by name, many in one statement.
//
//   "Ahead" compares what the next nextval() would return, in the direction of the increment. Where
//   a sequence may cycle there is no ahead, and the source's state is taken as it is.
#include "stage/sequences.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/spi.hpp"
#include "pg/subtransaction.hpp"

#include <algorithm>
#include <utility>

namespace livemigrate::stage {

namespace {

// The planner's time for UNION ALL grows with the square of its branches: a round trip for each
// sequence and a thousand in one statement are both ten times slower.
constexpr size_t kSequencesPerStatement = 100;
// setval() holds a lock until the transaction's end, and there is room for some thousands.
constexpr size_t kSequencesPerTransaction = 1000;
constexpr size_t kMaxNamesInDetail = 20;

// The sequences of users, with the table and column that own them if any; and those of extensions
// that are part of their configuration, as their tables' rows are.
constexpr char kSequencesQuery[] = R"(
SELECT n.nspname, c.relname, c.oid, s.seqincrement, s.seqstart, s.seqcycle,
       pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
           AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       pg_catalog.has_sequence_privilege(c.oid, 'UPDATE'),
       pg_catalog.format_type(s.seqtypid, NULL),
       pg_catalog.format('INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s',
           s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
           CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END),
       tn.nspname, t.relname, a.attname, a.attidentity, m.is_member
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_sequence s ON s.seqrelid = c.oid
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
LEFT JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM pg_catalog.pg_depend e
                   WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                     AND e.objid = c.oid AND e.deptype = 'e') AS is_member) m
WHERE c.relkind = 'S' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (NOT m.is_member OR EXISTS (SELECT FROM pg_catalog.pg_extension x
                                  WHERE c.oid = ANY (x.extconfig)))
)";

using Name = Sequence::Name;

bool
IsTrue(const pg::SqlValue &value) {
    return value && *value == "t";
}

std::string
Display(const Name &name) {
    return QualifiedName(name.first, name.second);
}

Sequences
ToSequences(const pg::SqlResult &result) {
    Sequences sequences;
    for (const auto &row : result.rows) {
        Sequence sequence;
        sequence.oid = row.at(2).value();
        sequence.increment = std::stoll(row.at(3).value());
        sequence.start = std::stoll(row.at(4).value());
        sequence.cycles = IsTrue(row.at(5));
        sequence.readable = IsTrue(row.at(6));
        sequence.settable = IsTrue(row.at(7));
        sequence.type = row.at(8).value();
        sequence.options = row.at(9).value();
        if (row.at(10)) {
            sequence.owner = Name(*row[10], row.at(11).value());
            sequence.owner_column = row.at(12).value();
            sequence.identity = row.at(13).value_or("");
        }
        sequence.is_member = IsTrue(row.at(14));
        sequences.emplace(Name(row.at(0).value(), row.at(1).value()), std::move(sequence));
    }
    return sequences;
}

// Leaves out those of tables that are not taken. One without a table is not left out: tables that
// are taken may well use it, and it is on the target, as the dump of the schema has all of them.
void
ApplyFilter(Sequences &sequences, const SequenceFilter &selects) {
    if (!selects) {
        return;
    }
    std::erase_if(sequences, [&](const auto &entry) {
        const std::optional<Name> &owner = entry.second.owner;
        return owner && !selects(owner->first, owner->second);
    });
    for (auto &[name, sequence] : sequences) {
        sequence.is_required =
            !sequence.is_member && (sequence.owner || selects(name.first, name.second));
    }
}

std::string
ListNames(const std::vector<Name> &names) {
    std::string list;
    for (size_t i = 0; i < std::min(names.size(), kMaxNamesInDetail); i++) {
        list += (i == 0 ? "" : ", ") + Display(names[i]);
    }
    return names.size() > kMaxNamesInDetail
               ? list + " and " + std::to_string(names.size() - kMaxNamesInDetail) + " more"
               : list;
}

// Throws an Error that names the first of `names` in its message and the others in its detail.
[[noreturn]] void
ThrowForSequences(std::string_view sqlstate, const std::vector<Name> &names,
                  const std::string &before, const std::string &after, const std::string &hint) {
    throw Error(sqlstate, before + Display(names.front()) + after)
        .Detail("Sequences: " + ListNames(names) + ".")
        .Hint(hint);
}

// The SQL that makes a sequence, or the identity column it belongs to.
std::string
CreateStatement(const Name &name, const Sequence &sequence) {
    if (sequence.identity.empty()) {
        return "CREATE SEQUENCE " + Display(name) + " AS " + sequence.type + " " +
               sequence.options + ";";
    }
    return "ALTER TABLE " + Display(*sequence.owner) + " ALTER COLUMN " +
           QuoteIdentifier(sequence.owner_column) + " ADD GENERATED " +
           (sequence.identity == "a" ? "ALWAYS" : "BY DEFAULT") + " AS IDENTITY (SEQUENCE NAME " +
           Display(name) + " " + sequence.options + ");";
}

// Forgets those that are not required and not on the target.
void
RequireOnTarget(Sequences &source, const Sequences &target) {
    std::erase_if(source, [&](const auto &entry) {
        return !entry.second.is_required && target.count(entry.first) == 0;
    });
    std::vector<Name> missing;
    for (const auto &[name, sequence] : source) {
        if (target.count(name) == 0) {
            missing.push_back(name);
        }
    }
    if (missing.empty()) {
        return;
    }
    ThrowForSequences(
        sqlstate::kUndefinedTable, missing, "sequence ", " does not exist on the target",
        "Run on the target: " + CreateStatement(missing.front(), source.at(missing.front())));
}

// Of a role, quoted, on one side.
struct Right {
    bool Sequence::*has;
    const char *privilege;
    const char *side;
    std::string role;

    std::string
    Grants(const Name &name) const {
        return std::string("Run on the ") + side + " as the owner: GRANT USAGE ON SCHEMA " +
               QuoteIdentifier(name.first) + " TO " + role + "; GRANT " + privilege +
               " ON SEQUENCE " + Display(name) + " TO " + role + ";";
    }
};

Right
RightOnSource(const std::string &role) {
    return {&Sequence::readable, "SELECT", "source", role};
}

std::vector<Name>
NamesWithout(const Sequences &sequences, const Right &right, bool required) {
    std::vector<Name> names;
    for (const auto &[name, sequence] : sequences) {
        if (!(sequence.*right.has) && sequence.is_required == required) {
            names.push_back(name);
        }
    }
    return names;
}

void
RequireRight(const Sequences &sequences, const Right &right) {
    const std::vector<Name> refused = NamesWithout(sequences, right, true);
    if (!refused.empty()) {
        ThrowForSequences(sqlstate::kInsufficientPrivilege, refused,
                          "permission denied for sequence ", std::string(" on the ") + right.side,
                          right.Grants(refused.front()));
    }
}

// Those that are not required and lack the right, with a warning.
std::vector<Name>
NamesToLeave(const Sequences &sequences, const Right &right, std::vector<std::string> &warnings) {
    std::vector<Name> names = NamesWithout(sequences, right, false);
    if (!names.empty()) {
        warnings.push_back("sequences were not set for want of rights on the " +
                           std::string(right.side) + ": " + ListNames(names) +
                           "; to set them: " + right.Grants(names.front()) +
                           " then: SELECT livemigrate.copy_sequences();");
    }
    return names;
}

// Reads last_value and is_called of those that may be read, a hundred in one statement run by
// `query`.
template <typename Query>
void
ReadValues(Sequences &sequences, const Query &query) {
    auto begin = sequences.begin();
    while (begin != sequences.end()) {
        std::vector<Sequence *> chunk;
        std::string sql;
        for (auto at = begin; at != sequences.end() && chunk.size() < kSequencesPerStatement;
             ++at) {
            begin = std::next(at);
            if (!at->second.readable) {
                continue;
            }
            sql += std::string(sql.empty() ? "" : " UNION ALL ") + "SELECT " +
                   std::to_string(chunk.size()) + ", last_value, is_called FROM " +
                   Display(at->first);
            chunk.push_back(&at->second);
        }
        if (chunk.empty()) {
            return;
        }
        const pg::SqlResult result = query(sql);
        for (const auto &row : result.rows) {
            Sequence &sequence = *chunk.at(std::stoul(row.at(0).value()));
            sequence.last_value = std::stoll(row.at(1).value());
            sequence.is_called = IsTrue(row.at(2));
        }
    }
}

// What the next nextval() would return, unless a limit is reached.
__int128
NextValue(const Sequence &sequence, int64_t increment) {
    return static_cast<__int128>(sequence.last_value) + (sequence.is_called ? increment : 0);
}

bool
IsAhead(const Sequence &target, const Sequence &source) {
    const bool was_used = target.is_called || target.last_value != target.start;
    if (!was_used || source.cycles) {
        return false;
    }
    const __int128 theirs = NextValue(source, source.increment);
    const __int128 ours = NextValue(target, target.increment);
    return target.increment > 0 ? ours > theirs : ours < theirs;
}

std::string
AheadWarning(const Name &name, const Sequence &target, const Sequence &source) {
    return "sequence " + Display(name) + " was kept at " + std::to_string(target.last_value) +
           ", as it is ahead of the source, where it stands at " +
           std::to_string(source.last_value) + "; to set it back: SELECT pg_catalog.setval(" +
           QuoteLiteral(Display(name)) + ", " + std::to_string(source.last_value) + ", " +
           (source.is_called ? "true" : "false") + ");";
}

// setval() on the target for (oid, source's state) pairs, a hundred in one statement.
void
SetValues(const std::vector<std::pair<std::string, const Sequence *>> &changes,
          const std::function<void()> &next_transaction) {
    for (size_t begin = 0; begin < changes.size(); begin += kSequencesPerStatement) {
        if (next_transaction && begin > 0 && begin % kSequencesPerTransaction == 0) {
            next_transaction();
        }
        std::vector<std::string> oids;
        std::vector<std::string> values;
        std::vector<std::string> called;
        const size_t end = std::min(begin + kSequencesPerStatement, changes.size());
        for (size_t i = begin; i < end; i++) {
            oids.push_back(changes[i].first);
            values.push_back(std::to_string(changes[i].second->last_value));
            called.push_back(changes[i].second->is_called ? "t" : "f");
        }
        pg::Query("SELECT pg_catalog.count(pg_catalog.setval(c.oid::pg_catalog.regclass, c.value,"
                  " c.called)) FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.oid[]),"
                  " pg_catalog.unnest($2::pg_catalog.int8[]),"
                  " pg_catalog.unnest($3::pg_catalog.bool[])) AS c(oid, value, called)",
                  {TextArrayLiteral(oids), TextArrayLiteral(values), TextArrayLiteral(called)});
    }
}

// Reads the target's side of the sequences in `source`; everything that could fail later is found
// here, before anything is set. Both are without what is left out then.
Sequences
ReadTarget(Sequences &source, const Right &on_source, std::vector<std::string> &warnings) {
    Sequences target = ToSequences(pg::Query(kSequencesQuery));
    RequireOnTarget(source, target);
    for (const Name &name : NamesToLeave(source, on_source, warnings)) {
        source.erase(name);
    }
    std::erase_if(target, [&](const auto &entry) { return source.count(entry.first) == 0; });
    for (auto &[name, sequence] : target) {
        sequence.is_required = source.at(name).is_required;
    }
    const std::string role =
        QuoteIdentifier(pg::Query("SELECT CURRENT_USER").Scalar().value_or(""));
    for (bool Sequence::*has : {&Sequence::readable, &Sequence::settable}) {
        const Right right{has, "SELECT, UPDATE", "target", role};
        RequireRight(target, right);
        for (const Name &name : NamesToLeave(target, right, warnings)) {
            source.erase(name);
            target.erase(name);
        }
    }
    ReadValues(target, [](const std::string &sql) {
        const pg::Subtransaction subtransaction; // rolled back, which frees the locks
        return pg::Query(sql);
    });
    return target;
}

} // namespace

SourceSequences
ReadSequences(source::Connection &source, const SequenceFilter &selects,
              const source::WaitObserver &observer) {
    SourceSequences read;
    read.role = QuoteIdentifier(PQuser(source.raw()));
    read.sequences = ToSequences(source.Query(kSequencesQuery, observer));
    ApplyFilter(read.sequences, selects);
    RequireRight(read.sequences, RightOnSource(read.role));
    ReadValues(read.sequences, [&](const std::string &sql) { return source.Query(sql, observer); });
    return read;
}

SequenceReport
SetSequences(SourceSequences read, const std::function<void()> &next_transaction) {
    SequenceReport report;
    const Sequences target = ReadTarget(read.sequences, RightOnSource(read.role), report.warnings);
    std::vector<std::pair<std::string, const Sequence *>> changes;
    for (const auto &[name, theirs] : read.sequences) {
        const Sequence &ours = target.at(name);
        if (IsAhead(ours, theirs)) {
            report.warnings.push_back(AheadWarning(name, ours, theirs));
            continue;
        }
        report.set++;
        if (ours.last_value != theirs.last_value || ours.is_called != theirs.is_called) {
            changes.emplace_back(ours.oid, &theirs);
        }
    }
    SetValues(changes, next_transaction);
    report.changed = changes.size();
    return report;
}

} // namespace livemigrate::stage
