// How fast one core decodes a stream: bytes and changes a second of each decoder.
//
// The rows are those of a pgbench-like load: an update of one account by primary key, and the
// insert of a history row of a few short columns; and, for the cost a byte, rows with one long
// text, with and without characters that JSON escapes.
#include "core/pgoutput_decoder.hpp"
#include "core/replication_message.hpp"
#include "core/wal2json_decoder.hpp"

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace livemigrate {
namespace {

// A row whose columns are named c0, c1, ...; the first is the key.
using Row = std::vector<std::string>;

Row
AccountRow(int i) {
    return {std::to_string(100000 + i), std::to_string(i % 10), std::to_string(-3000 + i * 7),
            "account filler " + std::to_string(i)};
}

Row
HistoryRow(int i) {
    return {std::to_string(5000000 + i), std::to_string(i % 10), std::to_string(100000 + i),
            std::to_string(-3000 + i * 7), "2026-11-22 15:54:24.383481+00"};
}

Row
LongRow(int i, bool escapes) {
    std::string text;
    while (text.size() < 2000) {
        text += escapes ? "a line of \"text\" that ends\n" : "a line of plain text, nothing else ";
    }
    return {std::to_string(i), text};
}

// ---- pgoutput ----

void
AppendInteger(std::string &message, uint32_t value, int bytes) {
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
        message += static_cast<char>(value >> shift & 0xFF);
    }
}

std::string
PgoutputRelation(const Row &row) {
    std::string message = "R";
    AppendInteger(message, 16384, 4);
    message += std::string("public\0table\0d", 14);
    AppendInteger(message, static_cast<uint32_t>(row.size()), 2);
    for (size_t i = 0; i < row.size(); i++) {
        message += static_cast<char>(i == 0);
        message += "c" + std::to_string(i);
        message += '\0';
        AppendInteger(message, 25, 4);
        AppendInteger(message, UINT32_MAX, 4);
    }
    return message;
}

std::string
PgoutputChange(char type, const Row &row) {
    std::string message(1, type);
    AppendInteger(message, 16384, 4);
    message += 'N';
    AppendInteger(message, static_cast<uint32_t>(row.size()), 2);
    for (const std::string &value : row) {
        message += 't';
        AppendInteger(message, static_cast<uint32_t>(value.size()), 4);
        message += value;
    }
    return message;
}

// ---- wal2json ----

std::string
JsonString(const std::string &text) {
    std::string json = "\"";
    for (const char c : text) {
        if (c == '"') {
            json += "\\\"";
        } else if (c == '\n') {
            json += "\\n";
        } else {
            json += c;
        }
    }
    return json + '"';
}

std::string
JsonColumn(const Row &row, size_t i) {
    const bool is_number = row[i].find_first_not_of("-0123456789") == std::string::npos;
    return "{\"name\":\"c" + std::to_string(i) +
           "\",\"value\":" + (is_number ? row[i] : JsonString(row[i])) + "}";
}

std::string
Wal2jsonChange(char type, const Row &row) {
    std::string message = "{\"action\":\"";
    message += type;
    message +=
        "\",\"xid\":740,\"timestamp\":\"2026-11-22 15:54:24.383481+00\",\"lsn\":\"0/1561F60\","
        "\"schema\":\"public\",\"table\":\"table\",\"columns\":[";
    for (size_t i = 0; i < row.size(); i++) {
        message += (i == 0 ? "" : ",") + JsonColumn(row, i);
    }
    message += "]";
    if (type == 'U') {
        message += ",\"identity\":[" + JsonColumn(row, 0) + "]";
    }
    return message + "}";
}

// ---- runs ----

enum Load : int { kUpdates, kInserts, kPlainText, kEscapedText };

Row
MakeRow(Load load, int i) {
    switch (load) {
    case kUpdates:
        return AccountRow(i);
    case kInserts:
        return HistoryRow(i);
    case kPlainText:
    case kEscapedText:
        break;
    }
    return LongRow(i, load == kEscapedText);
}

template <typename Decoder, typename MakeChange>
void
Run(benchmark::State &state, Decoder &decoder, MakeChange make_change) {
    constexpr int kMessages = 256;
    const auto load = static_cast<Load>(state.range(0));
    std::vector<std::string> messages;
    int64_t bytes = 0;
    for (int i = 0; i < kMessages; i++) {
        messages.push_back(make_change(load == kUpdates ? 'U' : 'I', MakeRow(load, i)));
        bytes += static_cast<int64_t>(messages.back().size());
    }
    Change change;
    for (auto _ : state) {
        for (const std::string &message : messages) {
            decoder.Decode(Lsn{1}, message, change);
            benchmark::DoNotOptimize(change.new_tuple.data());
        }
    }
    state.SetBytesProcessed(state.iterations() * bytes);
    state.SetItemsProcessed(state.iterations() * kMessages);
    constexpr const char *kLabels[] = {"updates", "inserts", "2 kB plain", "2 kB escaped"};
    state.SetLabel(kLabels[load]);
}

void
BM_Pgoutput(benchmark::State &state) {
    PgoutputDecoder decoder;
    Change change;
    decoder.Decode(Lsn{1}, PgoutputRelation(MakeRow(static_cast<Load>(state.range(0)), 0)), change);
    Run(state, decoder, PgoutputChange);
}
BENCHMARK(BM_Pgoutput)->DenseRange(kUpdates, kEscapedText);

void
BM_Wal2json(benchmark::State &state) {
    Wal2jsonDecoder decoder;
    Run(state, decoder, Wal2jsonChange);
}
BENCHMARK(BM_Wal2json)->DenseRange(kUpdates, kEscapedText);

// The receiver's share: unwrap a message, and look whether it begins or ends a transaction.
void
BM_ParseAndMark(benchmark::State &state) {
    const bool is_json = state.range(0) != 0;
    const std::string begin =
        is_json ? "{\"action\":\"B\",\"xid\":740,\"timestamp\":\"2026-11-22 15:54:24.383481+00\","
                  "\"lsn\":\"0/15620D8\",\"nextlsn\":\"0/1562108\"}"
                : "B" + std::string(7, '\0') + std::string(13, '\1');
    const Row row = AccountRow(1);
    std::string messages[2] = {"w" + std::string(24, '\0') + begin, "w" + std::string(24, '\0')};
    messages[1] += is_json ? Wal2jsonChange('U', row) : PgoutputChange('U', row);
    for (auto _ : state) {
        for (const std::string &message : messages) {
            const auto data = std::get<XLogData>(ParseReplicationMessage(message));
            benchmark::DoNotOptimize(is_json ? MarkWal2json(data.payload)
                                             : MarkPgoutput(data.payload));
        }
    }
    state.SetItemsProcessed(state.iterations() * 2);
    state.SetLabel(is_json ? "wal2json" : "pgoutput");
}
BENCHMARK(BM_ParseAndMark)->Arg(0)->Arg(1);

} // namespace
} // namespace livemigrate
