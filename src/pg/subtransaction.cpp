#include "pg/subtransaction.hpp"

#include "pg/guard.hpp"

#include <exception>

extern "C" {
#include "utils/resowner.h"
}

namespace livemigrate::pg {

Subtransaction::Subtransaction() : context_(CurrentMemoryContext), owner_(CurrentResourceOwner) {
    Call([this] {
        BeginInternalSubTransaction(nullptr);
        MemoryContextSwitchTo(context_);
    });
}

Subtransaction::~Subtransaction() {
    if (!open_) {
        return;
    }
    try {
        Call([this] {
            RollbackAndReleaseCurrentSubTransaction();
            MemoryContextSwitchTo(context_);
            CurrentResourceOwner = owner_;
        });
    } catch (const std::exception &error) {
        // As for a transaction: if the roll-back itself fails, the process is beyond repair.
        ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
                        errmsg("could not roll back subtransaction: %s", error.what())));
    }
}

void
Subtransaction::Commit() {
    Call([this] {
        ReleaseCurrentSubTransaction();
        MemoryContextSwitchTo(context_);
        CurrentResourceOwner = owner_;
    });
    open_ = false;
}

} // namespace livemigrate::pg
