// Relations that somebody has for himself: pg_relation_size() and its like would wait for him.
#pragma once

namespace livemigrate::source {

// For behind WITH: locked(relation), of the database, without what this session has. The list is
// read once, however long. Works on every server.
inline constexpr char kLockedRelations[] = R"sql(
locked AS (
    SELECT DISTINCT relation FROM pg_catalog.pg_locks
    WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
      AND pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
      AND database = (SELECT oid FROM pg_catalog.pg_database
                      WHERE datname = pg_catalog.current_database()))
)sql";

} // namespace livemigrate::source
