// Makes every segment of a pgoutput spool readable by itself.
//
// pgoutput describes a relation once per connection, before the first change to it. A reader that
// starts in a later segment, because the earlier ones have been pruned, would never learn it. So
// the writer remembers the descriptions of its connection and writes one again before a relation's
// first use in each further segment. wal2json names the columns in every message and needs none.
//
// Memory: the latest description of every relation that the connection has mentioned, as long as
// those the decoder holds.
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

    // The descriptions that `segment` needs before `payload`. Valid until the next call.
    const std::vector<std::string_view> &Missing(std::string_view payload, uint64_t segment);

    // `payload`, and what Missing() gave for it, have been written to `segment`.
    void Written(std::string_view payload, uint64_t segment);

  private:
    struct Description {
        std::string payload;
        uint64_t segment = 0; // the latest one that holds it; 0 for none
    };

    template <typename Visit> void VisitUsed(std::string_view payload, Visit &&visit);
    Description *Find(uint32_t relation);

    Plugin plugin_;
    std::unordered_map<uint32_t, Description> descriptions_;
    std::vector<std::string_view> missing_;
    // The relation of the last row: consecutive rows mostly belong to one table.
    uint32_t last_relation_ = 0;
    Description *last_description_ = nullptr;
};

} // namespace livemigrate
