// Which of several apply workers applies a change.
//
// Every worker reads the whole stream and keeps its share, so all of them must come to the same
// answer, now and after a restart: it follows from the change, from what the catalog says of its
// table, and from nothing else. A change may stay with one worker if whatever it depends on does,
// too: all that happens to a row while it has one key, or all that happens to a table. What
// concerns the shares of several workers is a barrier: it is applied by the first worker alone,
// when all others have applied what is before it and before they apply what is behind it.
#pragma once

#include "core/change.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace livemigrate {

// How the changes of a table are dealt: livemigrate.table_copy.dealing.
enum class Dealing : uint8_t {
    kFirst, // all of them to the first worker, with those of all such tables
    kTable, // all of them to one worker
    kKey,   // those of a row to one worker
};

// Throws Error XX001 for a name that no dealing has.
Dealing ParseDealing(std::string_view name);
std::string_view DealingName(Dealing dealing);

struct TableDealing {
    Dealing dealing = Dealing::kFirst;
    // With kKey: the columns of the replica identity. Their values must be equal exactly if their
    // text is.
    std::vector<std::string> key;

    friend bool operator==(const TableDealing &, const TableDealing &) = default;
};

// By schema and name.
using Dealings = std::map<std::pair<std::string, std::string>, TableDealing>;

// Fixed for ever: a change of it would deal what is partly applied anew. FNV-1a, with its bits
// mixed at the end, since few of them decide.
class ShareHash {
  public:
    void Add(std::string_view text); // its length, too: ("ab", "c") is not ("a", "bc")
    uint64_t Value() const;

  private:
    uint64_t state_ = 0xcbf29ce484222325;
};

class ApplyShares {
  public:
    // Tables that `dealings` does not name belong to the first worker. REQUIRES: count > 0.
    ApplyShares(uint32_t count, Dealings dealings);

    // The worker that applies an insert, update or delete; nullopt for a barrier: an update that
    // takes a row from one worker's share to another's, and whatever does not show the key.
    std::optional<uint32_t> WorkerOf(const Change &change);

    // Whether truncating the table concerns several workers. That of several tables, which may
    // refer to one another, is one change.
    bool TruncateIsBarrier(const RemoteRelation &relation) const;

    uint32_t
    count() const {
        return count_;
    }

  private:
    struct Table {
        std::shared_ptr<const RemoteRelation> relation; // keeps its address from being used again
        Dealing dealing = Dealing::kFirst;
        uint32_t worker = 0;      // unless dealt by key
        bool is_regular = false;  // the stream's key is the one it is dealt by
        ShareHash hash;           // of its name
        std::vector<size_t> key;  // columns
        std::vector<bool> in_key; // by column
    };

    const Table &Find(const std::shared_ptr<const RemoteRelation> &relation);
    Table Describe(const std::shared_ptr<const RemoteRelation> &relation) const;
    std::optional<uint32_t> WorkerOfKey(const Table &table, const Tuple &tuple,
                                        const Tuple &instead) const;

    uint32_t count_;
    Dealings dealings_;
    std::unordered_map<const RemoteRelation *, Table> tables_;
    const Table *last_ = nullptr;
};

} // namespace livemigrate
