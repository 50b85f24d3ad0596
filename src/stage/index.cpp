#include "pg/prelude.hpp"

#include "stage/index.hpp"

#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/partition_routing.hpp"
#include "pg/spi.hpp"
#include "pg/subtransaction.hpp"
#include "pg/table_manager.hpp"
#include "stage/index_analyze.hpp"
#include "stage/index_constraint.hpp"
#include "stage/index_partitions.hpp"
#include "stage/left_out.hpp"
#include "stage/statement.hpp"

#include <algorithm>
#include <optional>
#include <set>

namespace livemigrate::stage {

namespace {

constexpr size_t kMostOfStatement = 10000; // bytes of one that a note has

std::string
OrEmpty(const char *text) {
    return text == nullptr ? "" : text;
}

SchemaJob
MakeJob(JobPhase phase, std::string kind, const RangeVar *relation, std::string object,
        std::string sql) {
    SchemaJob job;
    job.phase = static_cast<int>(phase);
    job.kind = std::move(kind);
    if (relation != nullptr) {
        job.schema = OrEmpty(relation->schemaname);
        job.table = OrEmpty(relation->relname);
    }
    job.object = std::move(object);
    job.sql = std::move(sql);
    return job;
}

// The only ALTER TABLE subcommand of a statement, if it adds a constraint.
const Constraint *
AddedConstraint(const AlterTableStmt *alter) {
    if (list_length(alter->cmds) != 1) {
        return nullptr;
    }
    const auto *command = static_cast<const AlterTableCmd *>(linitial(alter->cmds));
    if (command->subtype != AT_AddConstraint || command->def == nullptr ||
        !IsA(command->def, Constraint)) {
        return nullptr;
    }
    return reinterpret_cast<const Constraint *>(command->def);
}

bool
Exists(const RangeVar *relation) {
    return pg::Call([&] { return OidIsValid(RangeVarGetRelid(relation, NoLock, true)); });
}

bool
IsPartitioned(const RangeVar *relation) {
    return pg::Call([&] {
        const Oid relid = RangeVarGetRelid(relation, NoLock, true);
        return OidIsValid(relid) && get_rel_relkind(relid) == RELKIND_PARTITIONED_TABLE;
    });
}

// Whether an extension keeps the table's rows. It then wants whole statements: no ONLY, no
// constraint from an index, none that is not valid.
bool
IsManaged(const RangeVar *relation) {
    return pg::ManagerOf(OrEmpty(relation->schemaname), relation->relname) !=
           pg::TableManager::kNone;
}

// Whether the table has an index or a constraint of this name: of a managed table, which somebody
// has prepared, that may be.
bool
HasOwn(const RangeVar *relation, const std::string &name) {
    return pg::Query("SELECT FROM pg_catalog.pg_class t "
                     "JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace "
                     "WHERE n.nspname = $1::name AND t.relname = $2::name AND "
                     "(EXISTS (SELECT FROM pg_catalog.pg_constraint c WHERE c.conrelid = t.oid "
                     "AND c.conname = $3::name) OR EXISTS (SELECT FROM pg_catalog.pg_index i "
                     "JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid "
                     "WHERE i.indrelid = t.oid AND c.relname = $3::name))",
                     {OrEmpty(relation->schemaname), relation->relname, name})
               .rows.size() == 1;
}

// Whether ADD CONSTRAINT ... USING INDEX gives exactly what the statement would.
bool
CanUseIndex(const RangeVar *relation, const Constraint *constraint) {
    return constraint->conname != nullptr && constraint->keys != NIL &&
           constraint->indexname == nullptr && constraint->options == NIL &&
           pg::HasPlainKey(constraint) && !IsPartitioned(relation) && !IsManaged(relation);
}

class Planner {
  public:
    Planner(const std::string &sql,
            const std::function<bool(const std::string &, const std::string &)> &selects,
            const std::set<std::pair<std::string, std::string>> &without_rows,
            const std::vector<std::string> &publications, const RearrangedTables &rearranged)
        : sql_(sql), selects_(selects), without_rows_(without_rows), publications_(publications),
          partitions_(rearranged) {}

    // To be called with all statements before the first is added.
    void
    NoteAll(const std::vector<Statement> &statements) {
        left_out_.NoteCreated(statements);
        for (const Statement &statement : statements) {
            NoteAttached(statement);
            partitions_.Note(statement);
        }
    }

    void
    Add(const Statement &statement) {
        if (const auto why = partitions_.LeftOut(statement.node)) {
            if (!why->empty()) {
                plan_.notes.push_back(*why);
            }
            return;
        }
        const LeftOut::Reason reason = left_out_.Of(statement.node);
        if (reason.text.empty()) {
            return AddStatement(statement);
        }
        if (reason.is_new) {
            (reason.is_warning ? plan_.warnings : plan_.notes).push_back(reason.text);
        }
        if (!reason.stand_in.empty()) {
            Push(MakeJob(JobPhase::kConstraints, "other", nullptr, "", reason.stand_in));
        }
    }

    void
    Push(SchemaJob job) {
        const bool has_place =
            job.kind == "index" || job.kind == "constraint" || job.kind == "other";
        if (tablespace_ && has_place) {
            job.sql =
                "SET LOCAL default_tablespace = " + QuoteLiteral(*tablespace_) + "; " + job.sql;
        }
        job.id = static_cast<int32_t>(plan_.jobs.size()) + 1;
        plan_.jobs.push_back(std::move(job));
    }

    void
    AddAnalyze(const std::vector<std::pair<std::string, std::string>> &tables) {
        late_analyze_.SetTables(tables);
        for (const auto &[schema, table] : tables) {
            SchemaJob job;
            job.phase = static_cast<int>(late_analyze_.IsLate(schema, table) ? JobPhase::kAnalyze
                                                                             : JobPhase::kIndexes);
            job.kind = "analyze";
            job.schema = schema;
            job.table = table;
            job.sql = "ANALYZE " + QualifiedName(schema, table);
            Push(std::move(job));
        }
    }

    JobPlan
    Take() {
        return std::move(plan_);
    }

  private:
    // Jobs are run in any order: each sets its own.
    void
    AddSetting(const VariableSetStmt *set, const std::string &text) {
        if (set->name != nullptr && std::string_view(set->name) == "default_tablespace") {
            tablespace_ =
                set->args == NIL ? "" : strVal(&static_cast<A_Const *>(linitial(set->args))->val);
        } else if (!IsIgnoredSetting(reinterpret_cast<const Node *>(set))) {
            Push(MakeJob(JobPhase::kConstraints, "other", nullptr, "", text));
        }
    }

    void
    NoteAttached(const Statement &statement) {
        const auto *alter = reinterpret_cast<const AlterTableStmt *>(statement.node);
        if (nodeTag(statement.node) == T_AlterTableStmt && alter->objtype == OBJECT_INDEX) {
            attached_.insert(
                QualifiedName(OrEmpty(alter->relation->schemaname), alter->relation->relname));
        }
    }

    void
    AddStatement(const Statement &statement) {
        const std::string text(statement.text);
        switch (nodeTag(statement.node)) {
        case T_IndexStmt:
            return AddIndex(reinterpret_cast<const IndexStmt *>(statement.node), statement);
        case T_AlterTableStmt:
            AddAlterTable(reinterpret_cast<const AlterTableStmt *>(statement.node), statement);
            return;
        case T_AlterOwnerStmt:
            return AddOwner(reinterpret_cast<const AlterOwnerStmt *>(statement.node), text);
        case T_CreateStatsStmt:
            AddStatistics(reinterpret_cast<const CreateStatsStmt *>(statement.node), text);
            return;
        case T_AlterStatsStmt:
            late_analyze_.NoteAltered(reinterpret_cast<const AlterStatsStmt *>(statement.node));
            Push(MakeJob(JobPhase::kConstraints, "other", nullptr, "", text));
            return;
        case T_CommentStmt:
            return AddComment(reinterpret_cast<const CommentStmt *>(statement.node), text);
        case T_CreateSubscriptionStmt:
            AddNamed(OBJECT_SUBSCRIPTION,
                     reinterpret_cast<const CreateSubscriptionStmt *>(statement.node)->subname,
                     text);
            return;
        case T_AlterSubscriptionStmt:
            AddNamed(OBJECT_SUBSCRIPTION,
                     reinterpret_cast<const AlterSubscriptionStmt *>(statement.node)->subname,
                     text);
            return;
        case T_CreateEventTrigStmt:
            return AddNamed(OBJECT_EVENT_TRIGGER,
                            reinterpret_cast<const CreateEventTrigStmt *>(statement.node)->trigname,
                            text);
        case T_AlterEventTrigStmt:
            return AddNamed(OBJECT_EVENT_TRIGGER,
                            reinterpret_cast<const AlterEventTrigStmt *>(statement.node)->trigname,
                            text);
        case T_VariableSetStmt:
            return AddSetting(reinterpret_cast<const VariableSetStmt *>(statement.node), text);
        case T_CreatePublicationStmt:
            AddNamed(OBJECT_PUBLICATION,
                     reinterpret_cast<const CreatePublicationStmt *>(statement.node)->pubname,
                     text);
            return;
        case T_AlterPublicationStmt:
            AddNamed(OBJECT_PUBLICATION,
                     reinterpret_cast<const AlterPublicationStmt *>(statement.node)->pubname, text);
            return;
        default:
            if (!IsIgnoredSetting(statement.node)) {
                Push(MakeJob(JobPhase::kConstraints, "other", nullptr, "", text));
            }
        }
    }

    void
    AddIndex(const IndexStmt *index, const Statement &statement) {
        // A materialized view may itself be created in this section, behind a key it depends on.
        if (IsThereAlready("index", index->relation, OrEmpty(index->idxname))) {
            return;
        }
        const bool is_whole =
            IsManaged(index->relation) || (partitions_.IsOther(index->relation) &&
                                           HasAttached(index->relation, OrEmpty(index->idxname)));
        const std::string text =
            is_whole ? WithoutOnly(statement, index->relation) : std::string(statement.text);
        late_analyze_.NoteIndex(index);
        const JobPhase phase = Exists(index->relation)
                                   ? IndexPhase(index->relation, OrEmpty(index->idxname))
                                   : JobPhase::kConstraints;
        Push(MakeJob(phase, "index", index->relation, OrEmpty(index->idxname), text));
    }

    // Without ONLY it takes over what partitions have, or makes it: so behind all of theirs.
    JobPhase
    IndexPhase(const RangeVar *relation, const std::string &index) const {
        return IsManaged(relation) && HasAttached(relation, index) ? JobPhase::kConstraints
                                                                   : JobPhase::kIndexes;
    }

    // The statement, with what it takes on the table's partitions.
    std::string
    WithoutOnly(const Statement &statement, const RangeVar *relation) const {
        constexpr std::string_view kOnly = "ONLY ";
        const auto from =
            static_cast<size_t>(sql_.data() + relation->location - statement.text.data());
        std::string text(statement.text);
        return !relation->inh && text.substr(0, from).ends_with(kOnly)
                   ? text.erase(from - kOnly.size(), kOnly.size())
                   : text;
    }

    // Whether indexes of partitions are attached to this one on the source.
    bool
    HasAttached(const RangeVar *relation, const std::string &index) const {
        return attached_.contains(QualifiedName(OrEmpty(relation->schemaname), index));
    }

    // Whether a plain table of the source is partitioned on the target, or a partitioned one
    // otherwise: no statement attaches an index of a partition to this one.
    bool
    IsRepartitioned(const RangeVar *relation, const std::string &index) const {
        return IsPartitioned(relation) &&
               (partitions_.IsOther(relation) || !HasAttached(relation, index));
    }

    // Notes it, where the user has prepared a managed table, or one with other partitions, with an
    // index or constraint of the name.
    bool
    IsThereAlready(const char *kind, const RangeVar *relation, const std::string &name) {
        if ((!IsManaged(relation) && !IsRepartitioned(relation, name) &&
             !partitions_.IsOther(relation)) ||
            !HasOwn(relation, name)) {
            return false;
        }
        plan_.notes.push_back(std::string(kind) + " " + QuoteIdentifier(name) + " of " +
                              QualifiedName(OrEmpty(relation->schemaname), relation->relname) +
                              " is left out: the target's table has one of this name");
        return true;
    }

    void
    AddAlterTable(const AlterTableStmt *alter, const Statement &statement) {
        const RangeVar *relation = alter->relation;
        const Constraint *constraint = AddedConstraint(alter);
        const bool is_whole =
            IsManaged(relation) ||
            (constraint != nullptr && IsRepartitioned(relation, OrEmpty(constraint->conname)));
        if (alter->objtype != OBJECT_TABLE || relation->inh || !is_whole) {
            return AddAlter(alter, std::string(statement.text));
        }
        AddAlter(alter, WithoutOnly(statement, relation));
    }

    // What it says is gathered by the table's ANALYZE, which comes behind the table's indexes.
    void
    AddStatistics(const CreateStatsStmt *statistics, const std::string &text) {
        const auto *relation = static_cast<const RangeVar *>(linitial(statistics->relations));
        const bool known = IsA(relation, RangeVar) && Exists(relation);
        late_analyze_.NoteStatistics(statistics, known);
        Push(MakeJob(known ? JobPhase::kIndexes : JobPhase::kConstraints, "statistics",
                     known ? relation : nullptr, "", text));
    }

    void
    AddAlter(const AlterTableStmt *alter, const std::string &text) {
        const Constraint *constraint = AddedConstraint(alter);
        if (constraint == nullptr) {
            late_analyze_.NoteAltered(alter);
            Push(MakeJob(JobPhase::kConstraints, "alter", alter->relation, "", text));
            return;
        }
        const std::string name = OrEmpty(constraint->conname);
        if (IsThereAlready("constraint", alter->relation, name)) {
            return;
        }
        switch (constraint->contype) {
        case CONSTR_PRIMARY:
        case CONSTR_UNIQUE:
            if (CanUseIndex(alter->relation, constraint)) {
                Push(MakeJob(JobPhase::kIndexes, "index", alter->relation, name,
                             UniqueIndexSql(alter->relation, constraint)));
                Push(MakeJob(JobPhase::kConstraints, "constraint", alter->relation, name,
                             UsingIndexSql(alter->relation, constraint)));
                return;
            }
            // Of a partitioned table: instant, with nothing below it yet. Must come before the
            // partitions' indexes are attached, which is behind it in the dump.
            [[fallthrough]];
        case CONSTR_EXCLUSION:
            Push(MakeJob(IndexPhase(alter->relation, name), "constraint", alter->relation, name,
                         text));
            return;
        case CONSTR_FOREIGN:
            AddForeignKey(alter, constraint, text);
            return;
        default:
            Push(MakeJob(JobPhase::kConstraints, "constraint", alter->relation, name, text));
        }
    }

    void
    AddForeignKey(const AlterTableStmt *alter, const Constraint *constraint,
                  const std::string &text) {
        const std::string name = OrEmpty(constraint->conname);
        const std::string referenced = OrEmpty(constraint->pktable->schemaname);
        if (!selects_(referenced, constraint->pktable->relname)) {
            plan_.notes.push_back(
                "foreign key " + QuoteIdentifier(name) + " of " +
                QualifiedName(OrEmpty(alter->relation->schemaname), alter->relation->relname) +
                " is left out: it references " +
                QualifiedName(referenced, constraint->pktable->relname) +
                ", which is not migrated");
            return;
        }
        if (LacksRows(constraint->pktable) && !HasNoRows(alter->relation)) {
            return AddDanglingKey(alter, constraint, text);
        }
        // NOT VALID foreign keys do not exist on partitioned and managed tables; and of one that
        // references a partitioned table VALIDATE leaves the parts for its partitions not valid.
        if (constraint->skip_validation || IsPartitioned(alter->relation) ||
            IsPartitioned(constraint->pktable) || IsManaged(alter->relation) ||
            IsManaged(constraint->pktable)) {
            Push(MakeJob(JobPhase::kForeignKeys, "foreign key", alter->relation, name, text));
            return;
        }
        Push(MakeJob(JobPhase::kForeignKeys, "foreign key", alter->relation, name,
                     text + " NOT VALID"));
        Push(MakeJob(
            JobPhase::kValidation, "validation", alter->relation, name,
            "ALTER TABLE " +
                QualifiedName(OrEmpty(alter->relation->schemaname), alter->relation->relname) +
                " VALIDATE CONSTRAINT " + QuoteIdentifier(name)));
    }

    // Schema and name of the table, or of all partitions that it has on the target; where those are
    // others, on the source.
    std::vector<std::pair<std::string, std::string>>
    Heaps(const RangeVar *relation) const {
        if (const auto *leaves = partitions_.LeavesOf(relation)) {
            return *leaves;
        }
        if (IsPartitioned(relation)) {
            return pg::LeafPartitions(
                pg::TableOid(OrEmpty(relation->schemaname), relation->relname));
        }
        return {{OrEmpty(relation->schemaname), relation->relname}};
    }

    // Whether no rows of the table, or not all of them, are copied.
    bool
    HasNoRows(const RangeVar *relation) const {
        const auto heaps = Heaps(relation);
        return without_rows_.contains({OrEmpty(relation->schemaname), relation->relname}) ||
               (!heaps.empty() && std::all_of(heaps.begin(), heaps.end(), [&](const auto &heap) {
                   return without_rows_.contains(heap);
               }));
    }
    bool
    LacksRows(const RangeVar *relation) const {
        const auto heaps = Heaps(relation);
        return without_rows_.contains({OrEmpty(relation->schemaname), relation->relname}) ||
               std::any_of(heaps.begin(), heaps.end(),
                           [&](const auto &heap) { return without_rows_.contains(heap); });
    }

    // To a table whose rows are not copied: what references them would not pass.
    void
    AddDanglingKey(const AlterTableStmt *alter, const Constraint *constraint,
                   const std::string &text) {
        const std::string name = QuoteIdentifier(OrEmpty(constraint->conname));
        const std::string table =
            QualifiedName(OrEmpty(alter->relation->schemaname), alter->relation->relname);
        const std::string referenced =
            QualifiedName(OrEmpty(constraint->pktable->schemaname), constraint->pktable->relname);
        const std::string why = " of " + table + " is not ";
        const std::string because =
            std::string(IsPartitioned(constraint->pktable) ? ": some" : ": the") + " rows of " +
            referenced + " are not copied";
        if (IsPartitioned(alter->relation) || IsManaged(alter->relation) ||
            IsManaged(constraint->pktable)) {
            plan_.notes.push_back("foreign key " + name + why + "created" + because +
                                  ". When they are there: " + Excerpt(text, kMostOfStatement) +
                                  ";");
            return;
        }
        Push(MakeJob(JobPhase::kForeignKeys, "foreign key", alter->relation,
                     OrEmpty(constraint->conname),
                     text + (constraint->skip_validation ? "" : " NOT VALID")));
        plan_.notes.push_back("foreign key " + name + why + "validated" + because +
                              ". When they are there: ALTER TABLE " + table +
                              " VALIDATE CONSTRAINT " + name + ";");
    }

    void
    AddOwner(const AlterOwnerStmt *alter, const std::string &text) {
        if (!IsNamed(alter->objectType)) {
            Push(MakeJob(JobPhase::kConstraints, "owner", nullptr, "", text));
            return;
        }
        AddNamed(alter->objectType, strVal(alter->object), text);
    }

    void
    AddComment(const CommentStmt *comment, const std::string &text) {
        // Behind everything that can be commented on, foreign keys too.
        if (!IsNamed(comment->objtype)) {
            Push(MakeJob(JobPhase::kAnalyze, "comment", nullptr, "", text));
            return;
        }
        AddNamed(comment->objtype, strVal(comment->object), text, JobPhase::kAnalyze);
    }

    // Objects that may be left out, and what belongs to them with them, see RunJob().
    static bool
    IsNamed(ObjectType type) {
        return type == OBJECT_EVENT_TRIGGER || type == OBJECT_PUBLICATION ||
               type == OBJECT_SUBSCRIPTION;
    }

    void
    AddNamed(ObjectType type, const char *name, const std::string &text,
             JobPhase phase = JobPhase::kConstraints) {
        if (type == OBJECT_EVENT_TRIGGER) {
            Push(MakeJob(JobPhase::kLast, "event trigger", nullptr, name, text));
        } else if (type == OBJECT_SUBSCRIPTION) {
            Push(MakeJob(phase, "subscription", nullptr, name, text));
        } else if (std::find(publications_.begin(), publications_.end(), name) ==
                   publications_.end()) {
            Push(MakeJob(phase, "publication", nullptr, name, text));
        }
    }

    const std::string &sql_;
    const std::function<bool(const std::string &, const std::string &)> &selects_;
    const std::set<std::pair<std::string, std::string>> &without_rows_;
    const std::vector<std::string> &publications_;
    PartitionStatements partitions_;
    LeftOut left_out_;
    // Indexes to which others are attached, qualified and quoted: those of partitioned tables.
    std::set<std::string> attached_;
    LateAnalyze late_analyze_;
    // Of the statements that follow, if tablespaces are taken along; empty: the database's.
    std::optional<std::string> tablespace_;
    JobPlan plan_;
};

} // namespace

JobPlan
PlanJobs(const std::string &sql,
         const std::function<bool(const std::string &, const std::string &)> &selects,
         const std::set<std::pair<std::string, std::string>> &without_rows,
         const std::vector<std::string> &publications, const RearrangedTables &rearranged,
         const std::vector<std::pair<std::string, std::string>> &analyze) {
    Planner planner(sql, selects, without_rows, publications, rearranged);
    const auto statements = SplitStatements(sql);
    planner.NoteAll(statements);
    for (const Statement &statement : statements) {
        planner.Add(statement);
    }
    planner.AddAnalyze(analyze);
    return planner.Take();
}

namespace {

// No table's rows depend on them, and a role that is no superuser may not make them all.
bool
MayBeLeftOut(const SchemaJob &job) {
    return job.kind == "event trigger" || job.kind == "publication" || job.kind == "subscription";
}

bool
ObjectExists(const SchemaJob &job) {
    const bool is_trigger = job.kind == "event trigger";
    return pg::Query(is_trigger ? "SELECT FROM pg_catalog.pg_event_trigger WHERE evtname = $1::name"
                     : job.kind == "publication"
                         ? "SELECT FROM pg_catalog.pg_publication WHERE pubname = $1::name"
                         : "SELECT FROM pg_catalog.pg_subscription WHERE subname = $1::name "
                           "AND subdbid = (SELECT oid FROM pg_catalog.pg_database "
                           "WHERE datname = pg_catalog.current_database())",
                     {job.object})
               .processed > 0;
}

} // namespace

std::string
RunJob(const SchemaJob &job) {
    // The job's row is marked done in the same transaction, so a job that is run again has left
    // nothing behind: on no node.
    pg::FlushCommitBeforeNodes();
    if (!MayBeLeftOut(job)) {
        ExecuteStatement(job.sql);
        return "";
    }
    try {
        pg::Subtransaction attempt;
        ExecuteStatement(job.sql);
        attempt.Commit();
        return "";
    } catch (const Error &error) {
        // A partition of the source may not be on the target.
        const bool is_undefined =
            error.sqlstate() == sqlstate::kUndefinedObject ||
            (job.kind == "publication" && error.sqlstate() == sqlstate::kUndefinedTable);
        if (!is_undefined && error.sqlstate() != sqlstate::kInsufficientPrivilege) {
            throw;
        }
        const std::string why = " is left out: " + error.message() + "; " + error.context();
        if (ObjectExists(job)) {
            return "a part of " + job.kind + " " + QuoteIdentifier(job.object) + why;
        }
        // Of an object that was left out the rest does not find it.
        if (is_undefined && !Excerpt(job.sql).starts_with("CREATE ")) {
            return "";
        }
        return (job.kind == "event trigger" ? "an " : "a ") + job.kind + why;
    }
}

} // namespace livemigrate::stage
