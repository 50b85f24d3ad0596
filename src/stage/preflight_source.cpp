// Checks of the source server and database themselves.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/access_fix.hpp"
#include "core/decoding_faults.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

constexpr int kTargetMajor = pg::kBuiltForVersion / 10000;

void
CheckVersion(PreflightRun &run) {
    const source::SourceInfo &info = run.info();
    const std::string versions =
        "the source runs PostgreSQL " + info.version + ", the target " PG_VERSION;
    const std::string major = std::to_string(info.major());
    if (info.major() <= kTargetMajor) {
        run.Ok("source_version", "source", versions);
    } else if (run.settings.allow_downgrade) {
        run.Warning("source_version", "source",
                    versions + ": what only " + major +
                        " has stops the schema stage, or is not what it was",
                    "-- see first what a restore of the schema alone says, or use a target of "
                    "PostgreSQL " +
                        major + " or newer");
    } else {
        run.Fail("source_version", sqlstate::kFeatureNotSupported, "source",
                 "the source runs PostgreSQL " + major + ", newer than the target's " +
                     std::to_string(kTargetMajor),
                 Choices("-- use a target of PostgreSQL " + major + " or newer",
                         {"migration_start(..., options => '{\"allow_downgrade\": true}'), with "
                          "postgresql-client-" +
                          major + " on the target's machine"}));
    }
    if (info.major() < 11) {
        run.Warning("truncate", "source",
                    "PostgreSQL 10 does not replicate TRUNCATE: a table truncated on the source "
                    "during the migration keeps its rows on the target",
                    "-- let nothing truncate a table until the migration has ended");
    }
}

void
CheckMinor(PreflightRun &run) {
    constexpr char kAvoid[] = "-- during the migration run no CREATE or ALTER PUBLICATION and no "
                              "ALTER TYPE on the source";
    const DecodingFaults faults = FindDecodingFaults(run.info().version_num);
    const std::string major = std::to_string(run.info().major());
    if (faults.known) {
        run.Warning("source_minor", "source",
                    "PostgreSQL " + run.info().version + " has faults in logical decoding that " +
                        major + "." + std::to_string(faults.sound_minor) +
                        " has not: under load changes may be lost",
                    run.ways.Upgrade(run.info().major()) + "\n" + kAvoid);
    } else if (faults.sound_minor == 0 && !faults.corrected) {
        run.Notice("source_minor", "source",
                   "PostgreSQL " + major +
                       " gets no corrections any more: a publication or type that is altered "
                       "while transactions write may cost their changes",
                   kAvoid);
    } else if (!faults.corrected) {
        run.Notice("source_minor", "source",
                   "PostgreSQL " + major + " gets no corrections any more",
                   "-- nothing to do: the migration leads away from it");
    } else {
        run.Ok("source_minor", "source", "no known fault in its logical decoding");
    }
}

void
CheckRecovery(PreflightRun &run) {
    if (run.info().in_recovery) {
        run.Fail("source_recovery", sqlstate::kObjectNotInPrerequisiteState, "source",
                 "the source is a standby", "-- give the address of its primary");
    }
}

void
CheckSameServer(PreflightRun &run) {
    const std::string identifier = std::to_string(GetSystemIdentifier());
    if (run.info().system_identifier != identifier) {
        run.Ok("same_server", "source", "source and target are different servers");
        return;
    }
    const std::string database = pg::Query("SELECT pg_catalog.current_database()").Scalar().value();
    if (database == run.info().database) {
        run.Fail("same_server", sqlstate::kInvalidParameterValue, QuoteIdentifier(database),
                 "source and target are the same database",
                 "-- give the address of the database to migrate from");
    } else {
        run.Notice("same_server", QuoteIdentifier(run.info().database),
                   "source and target are databases of one server: the slot is created when "
                   "transactions that run on the target have ended",
                   "-- nothing to do; what waits then is in migration_status()");
    }
}

// Heroku gives no role the right to replicate, whatever wal_level is.
void
CheckProvider(PreflightRun &run) {
    const SourceWays &ways = run.ways;
    if (ways.provider.empty()) {
        return;
    }
    if (ways.provider == kHeroku && !run.info().can_replicate) {
        run.Fail("provider", sqlstate::kFeatureNotSupported, "source",
                 "the source is at Heroku, which has no logical replication", ways.decoding);
        return;
    }
    run.Ok("provider", "source", "the source is at " + ways.provider);
}

void
CheckWalLevel(PreflightRun &run) {
    const source::SourceInfo &info = run.info();
    if (info.wal_level == "logical") {
        run.Ok("wal_level", "source", "wal_level is logical");
        return;
    }
    run.Fail("wal_level", sqlstate::kObjectNotInPrerequisiteState, "source",
             "wal_level of the source is \"" + info.wal_level + "\", not \"logical\"",
             run.ways.decoding);
}

void
CheckReplicationRole(PreflightRun &run) {
    const source::SourceInfo &info = run.info();
    const std::string role = QuoteIdentifier(info.role);
    if (info.can_replicate) {
        run.Ok("replication_role", role, "may use logical replication");
        return;
    }
    run.Fail("replication_role", sqlstate::kInsufficientPrivilege, role,
             "role " + role + " of the source lacks REPLICATION", run.ways.replication);
}

// A database's encoding is a superuser's to change, whom no provider gives. A target that is
// SQL_ASCII as well takes the bytes.
std::string
AsciiFix(const PreflightRun &run, const std::string &target) {
    const std::string &database = run.info().database;
    if (!run.ways.provider.empty()) {
        return Comment("give the target a database that takes text as bytes: CREATE DATABASE " +
                       QuoteIdentifier(database) +
                       " TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C';") +
               "\n-- or, at " + run.ways.provider +
               ", restore a dump of it there into a database with ENCODING " +
               QuoteLiteral(target) + ", and migrate that";
    }
    return "-- on the source, only once all text is known to be valid " + target + ":\n" +
           Comment("UPDATE pg_database SET encoding = pg_char_to_encoding(" + QuoteLiteral(target) +
                   ") WHERE datname = " + QuoteLiteral(database) + ";");
}

// Text of an SQL_ASCII database is bytes of no known encoding. Elsewhere the source converts, or
// we do (wal2json sends the server's encoding raw), which works for characters both sides have.
void
CheckEncoding(PreflightRun &run) {
    const std::string target = GetDatabaseEncodingName();
    const std::string &from = run.info().encoding;
    const std::string database = QuoteIdentifier(run.info().database);
    if (from == target) {
        run.Ok("encoding", database, "both databases are " + target);
    } else if (from == "SQL_ASCII") {
        run.Fail("encoding", sqlstate::kFeatureNotSupported, database,
                 "the source database is SQL_ASCII: nothing says which characters its text is",
                 AsciiFix(run, target));
    } else if (target != "UTF8") {
        run.Warning("encoding", database,
                    "text is converted from " + from + " to " + target + "; a character that " +
                        target + " lacks stops the migration",
                    "-- create the target database with ENCODING 'UTF8'");
    } else {
        run.Ok("encoding", database, "text is converted from " + from + " to " + target);
    }
}

// Our own objects live in a schema of this name on the target.
void
CheckOwnSchema(PreflightRun &run) {
    const pg::SqlResult found = run.source.Query(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'livemigrate')"
        " FROM pg_catalog.pg_namespace WHERE nspname = 'livemigrate'");
    if (found.rows.empty()) {
        run.Ok("own_schema", "source", "no schema of the source is named livemigrate");
    } else if (pg::Flag(found.rows[0], 0)) {
        run.Fail("own_schema", sqlstate::kDuplicateObject, "\"livemigrate\"",
                 "the extension livemigrate is installed on the source",
                 "DROP EXTENSION livemigrate;\nDROP SCHEMA livemigrate;");
    } else {
        run.Fail("own_schema", sqlstate::kDuplicateObject, "\"livemigrate\"",
                 "the source has a schema named livemigrate, which the extension uses on the "
                 "target",
                 "ALTER SCHEMA livemigrate RENAME TO livemigrate_source;");
    }
}

} // namespace

void
CheckSourceServer(PreflightRun &run) {
    run.Ok("connection", source::DescribeConninfo(run.settings.source),
           "connected to database " + QuoteIdentifier(run.info().database) + " as role " +
               QuoteIdentifier(run.info().role));
    CheckVersion(run);
    CheckMinor(run);
    CheckRecovery(run);
    CheckSameServer(run);
    CheckProvider(run);
    CheckWalLevel(run);
    CheckReplicationRole(run);
    CheckEncoding(run);
    CheckLocale(run);
    CheckOwnSchema(run);
}

} // namespace livemigrate::stage
