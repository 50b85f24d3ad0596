// Makes every segment of a pgoutput spool readable by itself.
//
// pgoutput describes a relation once per connection, before the first change to it. A reader that
// starts in a later segment, because the earlier ones have been pruned, would never learn it. So
// the writer remembers the descriptions of its connection and writes one again before a relation's
// first use in each further segment. wal2json names the columns in every message and needs none.
//
// Streamed transactions describe the relations they use themselves, and are read from their first
// chunk on, so inside them nothing is repeated. But the source takes what a committed one described
// as known to others, too: the latest such description then is written again before a relation's
// next use outside.
//
// Memory: the latest description of every relation that the connection has mentioned, as long as
// those the decoder holds; and the same for every streamed transaction that is open.
#pragma once

#include "core/output_plugin.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace livemigrate {

class RelationRepeats {
  public:
    explicit RelationRepeats(Plugin plugin) : plugin_(plugin) {}

    // Forgets everything: a new connection describes its relations anew.
    void Clear();

    // Takes the descriptions out of a message of a transaction that is *not* written.
    void Remember(std::string_view payload);

    // Takes the description out of a message from inside a chunk of a streamed transaction.
    void RememberStreamed(uint32_t xid, std::string_view payload);
    // What it described counts for all that comes later, unless there was a later description.
    void StreamCommitted(uint32_t xid);
    void StreamAborted(uint32_t xid);

    // The descriptions that `segment` needs before `payload`. Valid until the next call.
    const std::vector<std::string_view> &Missing(std::string_view payload, uint64_t segment);

    // `payload`, and what Missing() gave for it, have been written to `segment`.
    void Written(std::string_view payload, uint64_t segment);

  private:
    struct Description {
        std::string payload;
        uint64_t segment = 0; // the latest one that holds it; 0 for none
        uint64_t number = 0;  // in the order of descriptions in the stream
    };
    using Descriptions = std::unordered_map<uint32_t, Description>;

    void Store(std::string_view payload, uint64_t segment);

    template <typename Visit> void VisitUsed(std::string_view payload, Visit &&visit);
    Description *Find(uint32_t relation);

    Plugin plugin_;
    Descriptions descriptions_;
    std::unordered_map<uint32_t, Descriptions> streamed_; // by transaction
    uint64_t described_ = 0;
    std::vector<std::string_view> missing_;
    // The relation of the last row: consecutive rows mostly belong to one table.
    uint32_t last_relation_ = 0;
    Description *last_description_ = nullptr;
};

} // namespace livemigrate
