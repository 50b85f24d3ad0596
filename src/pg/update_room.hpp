// Room for new versions of a table's updated rows, for those that find none beside the old ones.
//
// The free space map offers every page with a gap. Where a table was filled in one go, as by a
// copy, that is a gap for one version in each of its pages: a page is read, written and logged as a
// whole for each. So once a few versions in a row went to a page each, pages are sought with room
// for many, and the table is extended where there is none. What VACUUM has freed is used all the
// same.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// C-like: may ereport. To be used in one transaction, with the relation open and locked for
// writing.
class UpdateRoom {
  public:
    void Open(Relation relation);

    // To be told after each update, where the row was and where it is.
    void Updated(BlockNumber before, BlockNumber after);

  private:
    void Choose();

    Relation relation_;
    BlockNumber block_; // where versions went last, or shall go
    int versions_;      // that went there
    int cramped_;       // pages with hardly any room, so far
    bool chosen_;       // block_ is one of ours
};

} // namespace livemigrate::pg
