// Parts of the source's schema that refer to tables which are not on the target: excluded ones. A
// policy or rule would fail in the last hours of a migration.
#pragma once

#include "pg/prelude.hpp"

#include "stage/statement.hpp"

#include <set>
#include <string>
#include <vector>

namespace livemigrate::stage {

class LeftOut {
  public:
    // Relations that these statements create will be there, whether they are now or not.
    void NoteCreated(const std::vector<Statement> &statements);

    struct Reason {
        std::string text;        // empty: the statement is to be executed
        bool is_new = false;     // to be told: a creation, not what is said about such an object
        bool is_warning = false; // what is left out may keep people from rows
        std::string stand_in;    // to be executed instead, if anything is
    };

    // Why a CREATE POLICY, CREATE RULE or CREATE FUNCTION with a parsed body cannot be executed;
    // and afterwards what gives that an owner, a comment, rights or a state. REQUIRES: an open
    // transaction.
    Reason Of(const Node *node);

  private:
    Reason OfCreation(const std::string &what, std::string key, const Node *first,
                      const Node *second);
    std::string Missing(const Node *node) const;

    std::set<std::string> created_; // qualified and quoted
    std::set<std::string> keys_;    // of what was left out
};

} // namespace livemigrate::stage
