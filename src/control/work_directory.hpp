// The files of a migration, under the target's data directory:
//
//   livemigrate/<database oid>.<migration id>/   0700, exists while the migration has not ended
//     spool/        buffered changes (doc/spool_format.md)
//     schema.dump   pg_dump's archive; schema.dump.<pid> while one writes it
//
// The launcher finds unfinished migrations by these directories; a restored dump of the tables
// therefore never starts a worker.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace livemigrate::control {

class WorkDirectory {
  public:
    WorkDirectory(uint32_t database, int32_t migration);

    void Create() const; // fine if it exists
    void Remove() const; // with all it holds; fine if it does not exist
    bool Exists() const;

    const std::string &
    path() const {
        return path_;
    }
    std::string
    spool() const {
        return path_ + "/spool";
    }
    std::string
    dump() const {
        return path_ + "/schema.dump";
    }

  private:
    std::string path_;
};

struct UnfinishedMigration {
    uint32_t database = 0;
    int32_t migration = 0;
};

std::vector<UnfinishedMigration> ListWorkDirectories();

// All of a database that is dropped. What cannot be removed stays; nothing can be done about it at
// the end of a transaction.
void RemoveWorkDirectories(uint32_t database) noexcept;

// False when the database was dropped. By its files, to which a process can look before it is
// connected to a database.
bool DatabaseHasFiles(uint32_t database);

} // namespace livemigrate::control
