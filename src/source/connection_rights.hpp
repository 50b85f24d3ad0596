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
// that
//   are not known to be harmless;
// - livemigrate.allowed_source_hosts names the hosts;
// - under livemigrate.source_password_required the connection string has the password, and the
//   source asks for it: no peer, ident or trust authentication, no password file of the server's.
// Each throws Error 42501 with what a superuser can do about it.

// `options` as ParseConninfo gives them. Before connecting.
void CheckMayConnect(const std::vector<std::pair<std::string, std::string>> &options);

// Once connected.
void CheckPasswordUsed(const PGconn *connection);

} // namespace livemigrate::source
