// A libpq connection to the source, driven by the latch: no call here blocks uninterruptibly.
//
// Every connection pins the settings that decide how values look as text (design.md, "Facts found
// by trying") through the startup options, and verifies them after connecting.
#pragma once

#include "core/error.hpp"
#include "core/lsn.hpp"
#include "pg/spi.hpp"
#include "pg/wait.hpp"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <libpq-fe.h>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace livemigrate::source {

enum class ConnectionKind {
    kSql,
    kReplication, // replication=database: takes replication commands and simple queries
};

struct ResultDeleter {
    void
    operator()(PGresult *result) const {
        PQclear(result);
    }
};
using ResultPtr = std::unique_ptr<PGresult, ResultDeleter>;

// Called about once a second while a statement waits; may throw to give up.
using WaitObserver = std::function<void()>;

class Connection {
  public:
    // Throws Error 08001, 28xxx or 3D000 with the server's reason and no password in it. To a role
    // that is no superuser an 08001 has no reason (source/connection_rights).
    static Connection Open(const std::string &conninfo, ConnectionKind kind);

    Connection(Connection &&other) noexcept;
    Connection &operator=(Connection &&other) noexcept;
    ~Connection();

    // Ends the session. After that another connection may be moved here, nothing else.
    void Close();

    // Runs one statement through the simple protocol. Errors carry the source's SQLSTATE, detail
    // and hint, and a context line that says that they come from the source.
    pg::SqlResult Query(const std::string &sql, const WaitObserver &observer = {});

    // Runs one statement with text parameters. Not for replication connections.
    pg::SqlResult Query(const std::string &sql, const std::vector<pg::SqlValue> &parameters,
                        const WaitObserver &observer = {});

    // Sends a statement without waiting for its result; FinishQuery() fetches it.
    void SendQuery(const std::string &sql);
    pg::SqlResult FinishQuery(const WaitObserver &observer = {});

    // Runs a statement that must enter COPY OUT or COPY BOTH.
    void StartCopy(const std::string &sql, ExecStatusType expected);

    // Waits until the server ends a COPY OUT without error. Returns how many rows it says it has
    // sent. REQUIRES: all data has been read.
    uint64_t FinishCopy();

    // Keeps in `since` from when on a statement has waited for its answer, 0 when none does, so
    // that others see a source that has fallen silent. `since` must outlive the connection.
    void
    ShowSilenceIn(std::atomic<int64_t> *since) {
        silent_since_ = since;
    }

    // Has a statement end that goes on without sending anything when we are gone, where the source
    // can tell (from 14 on, on most systems).
    void EndWithClient();

    // Waits until something has come, at most so long, and reads it.
    void WaitForInput(std::chrono::milliseconds timeout = std::chrono::seconds(1));

    // For whoever reads from the connection by itself; valid until it is closed or moved.
    pg::InputWait &input_wait();

    // True while the server has not closed the connection; reads what it sent, without waiting.
    bool IsAlive();

    // Throws the connection's current error.
    [[noreturn]] void ThrowConnectionError(const std::string &what);

    // Flushes outgoing data, waiting for the socket as needed.
    void Flush();

    PGconn *
    raw() {
        return connection_;
    }
    int
    server_version() const {
        return PQserverVersion(connection_);
    }

  private:
    explicit Connection(PGconn *connection) : connection_(connection) {}
    // Until the connection stands; throws why it does not.
    void Establish(const std::string &conninfo, std::chrono::seconds timeout);
    // Returns false when the time is over.
    bool Poll(std::chrono::steady_clock::time_point deadline);
    void VerifySettings(ConnectionKind kind);
    ResultPtr NextResult(const WaitObserver &observer = {});
    ResultPtr LastResult(const WaitObserver &observer = {});

    PGconn *connection_ = nullptr;
    std::unique_ptr<pg::InputWait> input_wait_; // from its first use on
    std::atomic<int64_t> *silent_since_ = nullptr;
};

// Marks a source as owing an answer until the object ends. A null `since` marks nothing.
class SilenceMark {
  public:
    explicit SilenceMark(std::atomic<int64_t> *since);
    ~SilenceMark();
    SilenceMark(const SilenceMark &) = delete;
    SilenceMark &operator=(const SilenceMark &) = delete;

  private:
    std::atomic<int64_t> *since_;
};

// The message, SQLSTATE, detail and hint of a failed result.
[[nodiscard]] Error ErrorFromResult(const PGresult *result);

// Checks the syntax of a conninfo string. Throws Error 22023 without echoing it.
void CheckConninfo(const std::string &conninfo);

// The conninfo's parameters with service, defaults left out: what the user said.
std::vector<std::pair<std::string, std::string>> ParseConninfo(const std::string &conninfo);

// The database and host a conninfo leads to, for messages: "app on src:5432".
std::string DescribeConninfo(const std::string &conninfo);

} // namespace livemigrate::source
