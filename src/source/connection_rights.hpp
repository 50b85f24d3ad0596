// Where a role that is no superuser may let this server connect to.
#pragma once

#include "pg/prelude.hpp"

#include <libpq-fe.h>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::source {

// The server connects as its operating-system user, from its place in the network and with its
// files. A session that is no superuser's (the setting is_superuser, which also follows SET ROLE)
// must not gain by that, as dblink and postgres_fdw hold it:
// - options of libpq that name files or programs of this machine are refused, and so are others
//   that are not known to be harmless (core/libpq_option);
// - livemigrate.allowed_source_hosts names the hosts; there is one host in a connection string, and
//   link-local addresses must be named;
// - what is no answer of a PostgreSQL server is not told apart;
// - under livemigrate.source_password_required the connection string has the password, and the
//   source asks for it: no peer, ident or trust authentication, no password file of the server's.
// Each throws Error 42501 with what a superuser can do about it.

// `options` as ParseConninfo gives them. Before connecting.
void CheckMayConnect(const std::vector<std::pair<std::string, std::string>> &options);

// Once connected: where to.
void CheckAddress(const PGconn *connection);

// Whether the session may see libpq's reason for a failed attempt: a superuser always, others where
// a PostgreSQL server gave it (a wrong password, no such database). What else happened says which
// addresses and ports of this network are open.
bool MayKnowReason(const std::string &reason, const std::string &conninfo);

// Once connected.
void CheckPasswordUsed(const PGconn *connection);

} // namespace livemigrate::source
