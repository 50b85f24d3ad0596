// What to look at before the application moves: what the stream cannot carry, what is switched off
// while it is applied, and what happened on the source when its writes should have stopped.
#pragma once

#include "core/lsn.hpp"
#include "source/connection.hpp"
#include "stage/check_row.hpp"
#include "stage/later_writes.hpp"

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace livemigrate::stage {

struct CutoverCheckSettings {
    std::string conninfo;
    std::string system_identifier;                           // of the server it must lead to
    std::string call;                                        // that does these checks again
    std::vector<std::pair<std::string, std::string>> tables; // of the migration: schema, name
    bool before_cutover = false;                             // sequences are not set yet
    // Until apply is where the source is; nothing: nobody can say. Before cutover only.
    std::optional<double> seconds_behind;
    std::optional<Lsn> endpos; // reached, and the receiver is gone
    ChangeStream stream;
    // For all that reads tables, together; what does not fit is named as not checked.
    std::optional<std::chrono::milliseconds> limit;
    // Called about once a second while the source is waited for, in the open transaction.
    source::WaitObserver waiting;
};

// A row for each finding, and one with severity "ok" for each check that found nothing. What the
// source has just the same (orphans that are there, too) is a notice: it is not the migration's
// doing. Changes nothing on either side. Throws Error when the source cannot be reached.
// REQUIRES: an open transaction on the target.
std::vector<CheckRow> CheckCutover(const CutoverCheckSettings &settings);

} // namespace livemigrate::stage
