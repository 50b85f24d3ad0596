// Whether a migration may go on to its cutover.
#pragma once

#include "control/catalog.hpp"

namespace livemigrate::api {

// Throws Error 55000, with what is wrong as its detail, if cutover_check finds something that
// deserves a warning; what reads tables is limited by livemigrate.cutover_check_limit.
// REQUIRES: an open transaction.
void RefuseUnlessReady(const control::Migration &migration);

} // namespace livemigrate::api
