// What SpoolWriter is told when it opens a spool.
#pragma once

#include "core/change.hpp"
#include "core/spool_format.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace livemigrate {

struct SpoolOptions {
    // Exists, mode 0700; whoever made it made its entry in the parent directory durable.
    std::string directory;
    SpoolIdentity identity;

    // Whether an empty directory may become a new spool: only when the migration has never had one.
    bool create = false;
    // Of a new spool: where the stream begins, the slot's consistent point.
    Lsn start_lsn;
    // The slot's confirmed_flush_lsn, if it is known: a spool that ends before it has lost changes
    // that the source no longer has, and is left as it is for inspection. Nor is a new spool made
    // if that lies behind start_lsn, whatever `create` says.
    Lsn confirmed_flush_lsn;

    // A segment is ended before the record that would make it longer.
    uint64_t segment_size = 64 << 20;
    // Whether groups of records are compressed, from the next segment on.
    bool compress = false;
    // Whether the start checks every record of every segment (as fast as the disk), or only all
    // headers and the newest segment; readers check every record anyway.
    bool verify_all = true;

    // Null: what MarkTransaction() says for identity.plugin.
    TransactionMark (*mark_transaction)(std::string_view payload) = nullptr;
    // Called about every megabyte of a long scan; may throw.
    void (*check_interrupts)() = nullptr;
};

// Where `payload` stands in its transaction, as the options say it is found out.
inline TransactionMark
MarkPayload(const SpoolOptions &options, std::string_view payload) {
    return options.mark_transaction != nullptr ? options.mark_transaction(payload)
                                               : MarkTransaction(options.identity.plugin, payload);
}

} // namespace livemigrate
