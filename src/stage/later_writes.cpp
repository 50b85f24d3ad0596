#include "pg/prelude.hpp"

#include "stage/later_writes.hpp"

#include "core/error.hpp"
#include "core/spool_reader.hpp"
#include "core/sql_text.hpp"
#include "core/transaction_reader.hpp"
#include "pg/sql_row.hpp"
#include "pg/wait.hpp"
#include "source/replication_stream.hpp"
#include "stage/transcoding_decoder.hpp"

#include <algorithm>
#include <filesystem>

namespace livemigrate::stage {

namespace {

// Enough to tell that somebody writes, and where.
constexpr int kMostChanges = 100'000;

void
ServeInterrupts() {
    pg::CheckInterrupts();
}

std::unique_ptr<ChangeDecoder>
DecoderOf(const ChangeStream &stream) {
    auto decoder = MakeDecoder(stream.plugin);
    const int encoding = stream.plugin == Plugin::kWal2json ? EncodingOf(stream.source_encoding)
                                                            : static_cast<int>(PG_UTF8);
    return encoding == PG_UTF8 ? std::move(decoder)
                               : std::make_unique<TranscodingDecoder>(std::move(decoder), encoding);
}

class Counter {
  public:
    Counter(Lsn after, const std::function<bool(const std::string &, const std::string &)> &counts,
            LaterWrites &found)
        : after_(after), counts_(counts), found_(found) {}

    void
    Begin() {
        tables_.clear();
    }

    void
    Take(const Change &change) {
        if (change.kind == ChangeKind::kTruncate) {
            for (const auto &relation : change.truncated) {
                Take(*relation);
            }
        } else if (change.relation) {
            Take(*change.relation);
        }
    }

    void
    Commit(Lsn end_lsn) {
        if (end_lsn > after_ && !tables_.empty()) {
            found_.transactions++;
            found_.tables.merge(tables_);
        }
        after_ = std::max(after_, end_lsn); // it may come again from the slot
    }

  private:
    void
    Take(const RemoteRelation &relation) {
        if (counts_(relation.schema, relation.name)) {
            tables_.emplace(relation.schema, relation.name);
        }
    }

    Lsn after_;
    const std::function<bool(const std::string &, const std::string &)> &counts_;
    LaterWrites &found_;
    std::set<std::pair<std::string, std::string>> tables_; // of the open transaction
};

void
CountReceived(const ChangeStream &stream, Lsn after, Counter &counter) {
    if (!std::filesystem::is_directory(stream.spool_directory)) {
        return;
    }
    const SpoolPosition end =
        ScanEnd(stream.spool_directory, stream.spool_identity, ServeInterrupts);
    SpoolReader reader(stream.spool_directory, stream.spool_identity);
    const auto decoder = DecoderOf(stream);
    TransactionReader transactions(reader, *decoder, after, ServeInterrupts);
    Change change;
    for (;;) {
        switch (transactions.Next(end, change)) {
        case TransactionReader::Step::kNothing:
            return;
        case TransactionReader::Step::kBegin:
        case TransactionReader::Step::kBeginEarly:
        case TransactionReader::Step::kReset:
            counter.Begin();
            break;
        case TransactionReader::Step::kChange:
            counter.Take(change);
            break;
        case TransactionReader::Step::kCommit:
        case TransactionReader::Step::kCommitEarly:
            counter.Commit(change.end_lsn);
            break;
        }
    }
}

// The call that shows what the slot holds, and leaves it there.
std::string
PeekCall(const ChangeStream &stream) {
    const bool is_binary = stream.plugin == Plugin::kPgoutput;
    std::string options;
    if (is_binary) {
        std::string names;
        for (const std::string &publication : stream.publications) {
            names += (names.empty() ? "" : ",") + QuoteIdentifier(publication);
        }
        options = ", 'proto_version', '1', 'publication_names', " + QuoteLiteral(names);
    } else {
        for (const auto &[name, value] : source::Wal2jsonOptions(stream.wal2json_numeric_option)) {
            options += ", " + QuoteLiteral(name) + ", " + QuoteLiteral(value);
        }
    }
    return std::string("SELECT lsn, ") +
           (is_binary ? "pg_catalog.encode(data, 'hex') FROM "
                        "pg_catalog.pg_logical_slot_peek_binary_changes("
                      : "data FROM pg_catalog.pg_logical_slot_peek_changes(") +
           QuoteLiteral(stream.slot) + ", NULL, " + std::to_string(kMostChanges) + options + ")";
}

std::string
FromHex(const std::string &hex) {
    std::string bytes(hex.size() / 2, '\0');
    for (size_t i = 0; i < bytes.size(); i++) {
        unsigned value = 0;
        std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, value, 16);
        bytes[i] = static_cast<char>(value);
    }
    return bytes;
}

void
CountWaiting(const ChangeStream &stream, source::Connection &source, Counter &counter,
             LaterWrites &found) {
    const pg::SqlResult rows = source.Query(PeekCall(stream));
    const auto decoder = DecoderOf(stream);
    Change change;
    for (const pg::SqlRow &row : rows.rows) {
        const std::string data = pg::Text(row, 1);
        const std::string payload = stream.plugin == Plugin::kPgoutput ? FromHex(data) : data;
        decoder->Decode(pg::Position(row, 0), payload, change);
        switch (change.kind) {
        case ChangeKind::kBegin:
            counter.Begin();
            break;
        case ChangeKind::kCommit:
            counter.Commit(change.end_lsn);
            break;
        case ChangeKind::kIgnored:
            break;
        default:
            counter.Take(change);
        }
    }
    found.complete = rows.rows.size() < static_cast<size_t>(kMostChanges);
}

} // namespace

LaterWrites
FindLaterWrites(const ChangeStream &stream, source::Connection &source, Lsn after,
                const std::function<bool(const std::string &, const std::string &)> &counts) {
    LaterWrites found;
    Counter counter(after, counts, found);
    CountReceived(stream, after, counter);
    try {
        CountWaiting(stream, source, counter, found);
    } catch (const Error &) {
        if (found.transactions == 0) {
            throw;
        }
        found.complete = false; // that there are some is what matters
    }
    return found;
}

} // namespace livemigrate::stage
