#include "stage/copy_statement.hpp"

#include "core/error.hpp"
#include "core/sql_text.hpp"
#include "pg/guard.hpp"
#include "pg/table_manager.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <new>

namespace livemigrate::stage {

namespace {

constexpr size_t kBufferSize = 64 << 10; // as much as COPY asks for at once

struct RowSource {
    copy_data_source_cb read;
    std::exception_ptr failure; // what ended the reading, kept while it crosses stdio and COPY
};

ssize_t
ReadRows(void *cookie, char *buffer, size_t size) {
    auto *source = static_cast<RowSource *>(cookie);
    try {
        const int most = static_cast<int>(std::min(size, kBufferSize));
        return pg::Call([&] { return source->read(buffer, 1, most); });
    } catch (...) {
        source->failure = std::current_exception();
        errno = EIO;
        return -1;
    }
}

// A background worker has no client, and so COPY FROM STDIN reads the C library's standard input
// there (commands/copyfrom.c, BeginCopyFrom), also where an extension executes it in PostgreSQL's
// place. There is no other way to hand rows to its COPY from within the server.
class StandardInput {
  public:
    explicit StandardInput(RowSource &source)
        : file_(fopencookie(&source, "r", {ReadRows, nullptr, nullptr, nullptr})), outer_(stdin) {
        if (file_ == nullptr) {
            throw std::bad_alloc();
        }
        setvbuf(file_, buffer_.get(), _IOFBF, kBufferSize);
        stdin = file_;
    }
    ~StandardInput() {
        stdin = outer_;
        fclose(file_);
    }
    StandardInput(const StandardInput &) = delete;
    StandardInput &operator=(const StandardInput &) = delete;

  private:
    std::unique_ptr<char[]> buffer_ = std::make_unique<char[]>(kBufferSize);
    FILE *file_;
    FILE *outer_;
};

// C-like, may ereport.
uint64
ExecuteUtility(const char *command) {
    const List *parsed = raw_parser(command, RAW_PARSE_DEFAULT);
    auto *statement = makeNode(PlannedStmt);
    statement->commandType = CMD_UTILITY;
    statement->canSetTag = true;
    statement->utilityStmt = linitial_node(RawStmt, parsed)->stmt;
    statement->stmt_len = static_cast<int>(strlen(command));
    QueryCompletion completion;
    InitializeQueryCompletion(&completion);
    ProcessUtility(statement, command, false, PROCESS_UTILITY_TOPLEVEL, nullptr, nullptr,
                   None_Receiver, &completion);
    CommandCounterIncrement();
    return completion.nprocessed;
}

} // namespace

std::string
CopyFromCommand(Oid relid, const std::vector<CopyColumn> &columns, bool binary) {
    const auto [schema, table] = pg::NameOf(relid);
    std::string list;
    for (const CopyColumn &column : columns) {
        list += (list.empty() ? "" : ", ") + QuoteIdentifier(column.name);
    }
    return "COPY " + QualifiedName(schema, table) + " (" + list + ") FROM STDIN (ENCODING " +
           QuoteLiteral(GetDatabaseEncodingName()) + (binary ? ", FORMAT binary)" : ")");
}

uint64
CopyFromStatement(const std::string &command, copy_data_source_cb read) {
    RowSource source = {read, nullptr};
    const StandardInput input(source);
    try {
        return pg::Call([&] { return ExecuteUtility(command.c_str()); });
    } catch (const Error &) {
        if (source.failure) {
            std::rethrow_exception(source.failure);
        }
        throw;
    }
}

} // namespace livemigrate::stage
