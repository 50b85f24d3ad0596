// A part of a transaction that may fail by itself.
#pragma once

#include "pg/prelude.hpp"

namespace livemigrate::pg {

// Starts a subtransaction; the destructor rolls it back unless Commit() was called. After an Error
// has left the scope, the outer transaction is as it was before it and may go on.
// REQUIRES: an open transaction. Memory allocated inside goes with the roll-back only where it was
// allocated in the subtransaction's own context: the current context does not change.
class Subtransaction {
  public:
    Subtransaction();
    ~Subtransaction();
    Subtransaction(const Subtransaction &) = delete;
    Subtransaction &operator=(const Subtransaction &) = delete;

    void Commit();

  private:
    MemoryContext context_;
    ResourceOwner owner_;
    bool open_ = true;
};

} // namespace livemigrate::pg
