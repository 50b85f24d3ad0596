// Checks of how safe the way is on which everything travels, and what comes along with it.
#include "pg/prelude.hpp"

#include "stage/preflight_run.hpp"

#include "core/sql_text.hpp"
#include "pg/sql_row.hpp"

namespace livemigrate::stage {

namespace {

// The value of an option of the connection as it was made; empty if it has none.
std::string
Option(const PreflightRun &run, std::string_view keyword) {
    PQconninfoOption *options = PQconninfo(run.source.raw());
    std::string value;
    for (const PQconninfoOption *option = options; option != nullptr && option->keyword != nullptr;
         option++) {
        if (keyword == option->keyword && option->val != nullptr) {
            value = option->val;
        }
    }
    PQconninfoFree(options);
    return value;
}

bool
IsThisMachine(const std::string &address) {
    return address.empty() || address.starts_with('/') || address.starts_with('@') ||
           address.starts_with("127.") || address == "::1";
}

void
CheckEncryption(PreflightRun &run) {
    const char *address = PQhostaddr(run.source.raw());
    const std::string mode = Option(run, "sslmode");
    const bool encrypted =
        PQsslInUse(run.source.raw()) != 0 || PQgssEncInUse(run.source.raw()) != 0;
    const std::string fix = "-- in the connection string: sslmode=verify-full sslrootcert=... with "
                            "the certificate that signed the source's";
    if (IsThisMachine(address == nullptr ? "" : address)) {
        run.Ok("encryption", "source", "the connection does not leave this machine");
    } else if (!encrypted) {
        run.Warning("encryption", "source",
                    "the connection is not encrypted: all rows travel in clear text", fix);
    } else if (mode != "verify-full" && PQgssEncInUse(run.source.raw()) == 0) {
        run.Warning("encryption", "source",
                    "the connection is encrypted, but under sslmode=" + mode +
                        " nobody makes sure that it leads to the source",
                    fix);
    } else {
        run.Ok("encryption", "source", "the connection is encrypted and leads to the source");
    }
}

constexpr char kInPassfile[] = "put it into a passfile or a service file on the target's machine, "
                               "and leave it out here";

// Settings by which the target's server logs the text of a call, those of every call first, and
// what turns each off.
constexpr char kLogsCalls[] = R"sql(
SELECT s.name || ' = ' || s.setting, s.name || ' = ' || v.off,
       s.name = 'log_min_error_statement' AS of_errors
FROM (VALUES ('log_statement', 'none'), ('log_min_duration_statement', '-1'),
             ('log_min_duration_sample', '-1'), ('log_transaction_sample_rate', '0'),
             ('log_min_error_statement', 'panic')) AS v (name, off)
JOIN pg_catalog.pg_settings s ON s.name = v.name
WHERE CASE s.name
    WHEN 'log_statement' THEN s.setting = 'all'
    WHEN 'log_min_error_statement' THEN s.setting NOT IN ('log', 'fatal', 'panic')
    ELSE s.setting <> v.off END
ORDER BY of_errors, s.name
)sql";

// The text of the call is the server's: what it logs, it logs with the password.
void
CheckPasswordInCall(PreflightRun &run) {
    bool given = false;
    for (const auto &[keyword, value] : source::ParseConninfo(run.settings.source)) {
        given = given || keyword == "password" || keyword == "sslpassword";
    }
    if (!given) {
        run.Ok("password_in_call", "source", "the connection string holds no password");
        return;
    }
    std::string settings;
    std::string set;
    bool of_errors_only = true;
    for (const pg::SqlRow &row : pg::Query(kLogsCalls).rows) {
        settings += (settings.empty() ? "" : ", ") + pg::Text(row, 0);
        set += "SET " + pg::Text(row, 1) + "; ";
        of_errors_only = of_errors_only && pg::Flag(row, 2);
    }
    const std::string stays =
        "the connection string holds a password: it stays in the table of migrations";
    if (set.empty()) {
        run.Notice("password_in_call", "source", stays, Comment(kInPassfile));
        return;
    }
    set += "-- as superuser, in the session, before the call";
    if (of_errors_only) {
        run.Notice("password_in_call", "source",
                   stays + ", and a call that is refused in the target's server log (" + settings +
                       ")",
                   Choices(Comment(kInPassfile), {set}));
        return;
    }
    run.Warning("password_in_call", "source",
                "the connection string holds a password, and the target's server logs the call "
                "with it (" +
                    settings + ")",
                Choices(set, {kInPassfile}));
}

// Functions that may do anything their server's user may, and those with the rights of somebody
// who may. Extensions are the target's own.
constexpr char kPowerfulCode[] = R"sql(
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname)
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND (l.lanname IN ('c', 'internal')
       OR (l.lanispl AND NOT l.lanpltrusted)
       OR (p.prosecdef AND (SELECT rolsuper FROM pg_catalog.pg_roles r WHERE r.oid = p.proowner)))
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
                    AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'event trigger ' || pg_catalog.quote_ident(e.evtname)
FROM pg_catalog.pg_event_trigger e
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass
                    AND d.objid = e.oid AND d.deptype = 'e')
ORDER BY 1
)sql";

void
CheckPowerfulCode(PreflightRun &run) {
    std::vector<std::string> names;
    for (const pg::SqlRow &row : run.source.Query(kPowerfulCode).rows) {
        names.push_back(pg::Text(row, 0));
    }
    if (names.empty()) {
        run.Ok("powerful_code", "source", "no function or event trigger with unusual rights");
        return;
    }
    run.Notice("powerful_code", "source",
               "the schema brings along code with unusual rights, in untrusted languages, of "
               "superusers, or event triggers: " +
                   ListNames(names),
               "-- where the source's superusers are not trusted on the target, let a role that is "
               "no superuser start the migration");
}

// Tables of roles other than superusers, and whether the owner will be able to name them on the
// target: as owner of the schema, where everybody may, or by a privilege that is restored ($1).
constexpr char kTablesOfOthers[] = R"sql(
SELECT n.nspname, c.relname,
       n.nspowner = c.relowner OR n.nspname = 'public'
       OR ($1::bool AND pg_catalog.has_schema_privilege(c.relowner, n.oid, 'USAGE'))
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_roles r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND NOT r.rolsuper
  AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1, 2
)sql";

// Which tables will be made somebody else's to keep is not known yet: what could be is named.
void
CheckWriters(PreflightRun &run) {
    const pg::SqlRow known =
        pg::Query("SELECT pg_catalog.current_setting('is_superuser'), "
                  "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus'), "
                  "EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb')")
            .rows.at(0);
    const bool citus = pg::Flag(known, 1);
    if (!run.settings.owner || pg::Text(known, 0) != "on" || (!citus && !pg::Flag(known, 2))) {
        return;
    }
    std::vector<std::string> names;
    for (const pg::SqlRow &row :
         run.source.Query(kTablesOfOthers, {pg::BoolText(run.settings.privileges)}).rows) {
        const bool selected = run.filter.Selects(pg::Text(row, 0), pg::Text(row, 1));
        if (selected && (citus || !pg::Flag(row, 2))) {
            names.push_back(QualifiedName(pg::Text(row, 0), pg::Text(row, 1)));
        }
    }
    if (names.empty()) {
        run.Ok("table_writers", "target", "rows are written as the tables' owners");
        return;
    }
    run.Warning(
        "table_writers", ListNames(names),
        std::string("rows are not written as the owner if these are made ") +
            (citus ? "distributed tables" : "hypertables, since it may not use the schema") +
            ": their checks, domains, generated columns and triggers then run as "
            "superuser",
        "-- where these owners are not trusted, let a role that is no superuser start the "
        "migration");
}

} // namespace

void
CheckSecurity(PreflightRun &run) {
    CheckEncryption(run);
    CheckPasswordInCall(run);
    CheckPowerfulCode(run);
    CheckWriters(run);
}

} // namespace livemigrate::stage
