// Whether the publications of a migration still send what they sent when its slot was made. A table
// that is taken out of one, or a publication that is dropped, from version 18 on, ends its changes
// without an error; and what was put right again may have been wrong for a while.
#pragma once

#include "core/sql_text.hpp"
#include "source/connection.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::stage {

// Of the publication for tables whose UPDATE and DELETE it cannot send.
inline constexpr char kInsertsOnlySuffix[] = "_insert";

// How the statement that makes a publication begins; a session at work on it is known by that.
inline std::string
CreatePublicationCommand(const std::string &name) {
    return "CREATE PUBLICATION " + QuoteIdentifier(name);
}

struct PublicationQuestion {
    std::vector<std::string> publications;
    std::string inserts_only;     // the one of them that sends INSERT and TRUNCATE only, or empty
    std::vector<uint32_t> tables; // OIDs on the source of those whose changes are wanted
    std::string newest;           // PublicationState::newest as of the slot, or empty: not asked
};

struct PublicationState {
    std::vector<std::string> gone;      // publications
    std::vector<std::string> reduced;   // those that do not send every change
    std::vector<uint32_t> unpublished;  // tables that exist and are in none of them
    std::vector<std::string> rewritten; // publications and tables, as shown, since `newest`
    std::string newest; // the xid that has written last to what the catalog says of them
};

// `observer` is called while the source is waited for.
PublicationState ReadPublications(source::Connection &source, const PublicationQuestion &question,
                                  const source::WaitObserver &observer = {});

} // namespace livemigrate::stage
