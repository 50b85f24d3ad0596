// What compressing the spool costs and saves: the same stream appended and read, with and without.
//
// The rows are those of decoder_benchmark.cpp: an update of an account and the insert of a history
// row for each transaction, and rows with one long text. bytes_per_second counts the plugin's
// bytes; `ratio` is what they and the record headers take without compression over what is on the
// disk. The spool is in /dev/shm, so that only processor time is measured.
#include "core/spool_reader.hpp"
#include "core/spool_writer.hpp"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <random>
#include <string>
#include <sys/stat.h>
#include <vector>

namespace livemigrate {
namespace {

constexpr int kTransactions = 20'000;

enum Rows { kShort, kText, kRandom };

void
AppendInteger(std::string &message, uint64_t value, int bytes) {
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) {
        message += static_cast<char>(value >> shift & 0xFF);
    }
}

std::string
Change(char type, uint32_t relation, const std::vector<std::string> &row) {
    std::string message(1, type);
    AppendInteger(message, relation, 4);
    message += 'N';
    AppendInteger(message, row.size(), 2);
    for (const std::string &value : row) {
        message += 't';
        AppendInteger(message, value.size(), 4);
        message += value;
    }
    return message;
}

std::string
Relation(uint32_t relation, const std::string &name, int columns) {
    std::string message = "R";
    AppendInteger(message, relation, 4);
    message += "public";
    message += '\0';
    message += name;
    message += '\0';
    message += 'd';
    AppendInteger(message, static_cast<uint64_t>(columns), 2);
    for (int i = 0; i < columns; i++) {
        message += static_cast<char>(i == 0);
        message += "column" + std::to_string(i);
        message += '\0';
        AppendInteger(message, 25, 4);
        AppendInteger(message, UINT32_MAX, 4);
    }
    return message;
}

// Words as they come in comments and descriptions, or hex digits, which only Huffman coding packs.
std::string
LongText(std::mt19937 &random, bool words) {
    static const std::vector<std::string> kWords = {
        "order", "customer", "shipped", "the",       "of",      "to",   "delivery",  "address",
        "and",   "invoice",  "pending", "cancelled", "payment", "with", "reference", "number"};
    std::string text;
    while (text.size() < 2000) {
        text += words ? kWords[random() % kWords.size()] + " "
                      : std::string(1, "0123456789abcdef"[random() % 16]);
    }
    return text;
}

std::vector<std::string>
MakeStream(Rows rows) {
    std::mt19937 random(1);
    std::vector<std::string> messages = {Relation(16384, "account", 4),
                                         Relation(16390, "history", 5)};
    std::vector<std::string> stream;
    for (int i = 0; i < kTransactions; i++) {
        const uint64_t commit_lsn = 0x1000000 + static_cast<uint64_t>(i) * 400;
        std::string begin = "B";
        AppendInteger(begin, commit_lsn, 8);
        AppendInteger(begin, 840'000'000'000'000 + static_cast<uint64_t>(i) * 487, 8);
        AppendInteger(begin, static_cast<uint64_t>(i) + 700, 4);
        stream.push_back(begin);
        if (i == 0) {
            stream.insert(stream.end(), messages.begin(), messages.end());
        }
        const std::string account = std::to_string(random() % 1'000'000);
        const std::string delta = std::to_string(static_cast<int>(random() % 10'000) - 5000);
        if (rows == kShort) {
            stream.push_back(Change('U', 16384,
                                    {account, std::to_string(random() % 10),
                                     std::to_string(random() % 100'000), std::string(84, ' ')}));
            stream.push_back(Change('I', 16390,
                                    {std::to_string(5'000'000 + i), std::to_string(random() % 10),
                                     account, delta, "2026-11-22 15:54:24.383481+00"}));
        } else {
            stream.push_back(
                Change('U', 16384, {account, "1", delta, LongText(random, rows == kText)}));
        }
        std::string commit = "C";
        AppendInteger(commit, 0, 1);
        AppendInteger(commit, commit_lsn, 8);
        AppendInteger(commit, commit_lsn + 48, 8);
        AppendInteger(commit, 840'000'000'000'000, 8);
        stream.push_back(commit);
    }
    return stream;
}

class Directory {
  public:
    Directory() : path_("/dev/shm/livemigrate_bench_XXXXXX") {
        if (::mkdtemp(path_.data()) == nullptr) {
            std::abort();
        }
    }
    ~Directory() { RemoveSpool(path_); }

    SpoolOptions
    Options(bool compress) const {
        SpoolOptions options;
        options.directory = path_;
        options.create = true;
        options.compress = compress;
        return options;
    }

  private:
    std::string path_;
};

uint64_t
AppendStream(SpoolWriter &writer, const std::vector<std::string> &stream) {
    uint64_t bytes = 0;
    for (const std::string &message : stream) {
        writer.Append(Lsn{1}, message);
        bytes += message.size();
    }
    writer.Flush();
    return bytes;
}

uint64_t
SizeUncompressed(const std::vector<std::string> &stream) {
    uint64_t bytes = 0;
    for (const std::string &message : stream) {
        bytes += kRecordHeaderSize + message.size();
    }
    return bytes;
}

void
Append(benchmark::State &state) {
    const std::vector<std::string> stream = MakeStream(static_cast<Rows>(state.range(0)));
    uint64_t bytes = 0;
    uint64_t size = 0;
    for (auto _ : state) {
        state.PauseTiming();
        {
            const Directory directory;
            SpoolWriter writer(directory.Options(state.range(1) != 0));
            state.ResumeTiming();
            bytes += AppendStream(writer, stream);
            state.PauseTiming();
            size = writer.bytes_on_disk();
        }
        state.ResumeTiming();
    }
    state.SetBytesProcessed(static_cast<int64_t>(bytes));
    state.counters["ratio"] =
        static_cast<double>(SizeUncompressed(stream)) / static_cast<double>(size);
}

void
Read(benchmark::State &state) {
    const std::vector<std::string> stream = MakeStream(static_cast<Rows>(state.range(0)));
    const Directory directory;
    const SpoolOptions options = directory.Options(state.range(1) != 0);
    SpoolWriter writer(options);
    AppendStream(writer, stream);
    uint64_t bytes = 0;
    for (auto _ : state) {
        SpoolReader reader(options.directory, options.identity);
        SpoolRecord record;
        while (reader.Next(writer.written(), record)) {
            bytes += record.payload.size();
        }
    }
    state.SetBytesProcessed(static_cast<int64_t>(bytes));
}

BENCHMARK(Append)->ArgNames({"rows", "lz4"})->ArgsProduct({{kShort, kText, kRandom}, {0, 1}});
BENCHMARK(Read)->ArgNames({"rows", "lz4"})->ArgsProduct({{kShort, kText, kRandom}, {0, 1}});

} // namespace
} // namespace livemigrate
