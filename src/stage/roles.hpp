// Copies the source's roles to the target, as pg_dumpall --roles-only --no-role-passwords does, but
// leaves out what the target's current user may not grant instead of failing on it.
#pragma once

#include "source/connection.hpp"

#include <string>
#include <vector>

namespace livemigrate::stage {

struct RolesReport {
    int created = 0;
    std::vector<std::string> notes; // for the events: what was left out, and what is left to do
};

// Creates the roles that the target lacks, with their attributes, memberships, settings (ALTER ROLE
// SET) and comments. A role that exists on the target stays as it is: it gets no attribute, setting
// or comment, and a membership is only granted to a role made here.
//
// Left out: pg_*, the roles of cloud providers, and the source's bootstrap superuser where the
// target has a role of that name. SUPERUSER, REPLICATION, BYPASSRLS need a superuser on the target
// (from 16 on: whatever the current user has itself). Passwords are never read.
//
// REQUIRES: an open transaction on the target. The source is only read, and without pg_authid.
RolesReport CopyRoles(source::Connection &source);

} // namespace livemigrate::stage
