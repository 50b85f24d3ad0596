// Arbitrary bytes as the segments of a spool: nothing may be read out of bounds or believed, what a
// scan found to be whole can be read, and what is applied of it does not depend on whether streamed
// transactions are surfaced early.
#include "core/spool_reader.hpp"
#include "core/transaction_reader.hpp"

#include "spool_input.hpp"

#include <optional>

namespace {

using namespace livemigrate;

enum class Early { kNever, kAccept, kDecline };

// What is applied, as a text; nothing if the stream is malformed.
std::optional<std::string>
Applied(SpoolPosition limit, uint64_t start_after, Early early) {
    using Step = TransactionReader::Step;
    std::string applied;
    std::string open;
    try {
        SpoolReader reader(fuzz::kSpoolPath, fuzz::kSpoolIdentity);
        fuzz::Decoder decoder;
        TransactionReader transactions(reader, decoder, Lsn{start_after});
        transactions.AllowEarly(early != Early::kNever);
        Change change;
        for (;;) {
            const Step step = transactions.Next(limit, change);
            if (step == Step::kNothing) {
                return applied;
            }
            const bool declined = step == Step::kCommitEarly && early == Early::kDecline;
            if (step == Step::kChange) {
                open += std::to_string(change.commit_time) + ",";
            } else if (declined) {
                transactions.DropEarly();
            } else if (step == Step::kCommitEarly) {
                transactions.AcceptEarly();
            }
            if (!declined && (step == Step::kCommit || step == Step::kCommitEarly)) {
                applied += open + "commit " + std::to_string(change.end_lsn.value) + ";";
            }
            if (step != Step::kChange) {
                open.clear();
            }
        }
    } catch (const Error &) {
        return std::nullopt;
    }
}

void
ReadTransactions(SpoolPosition limit, uint64_t start_after) {
    const auto without = Applied(limit, start_after, Early::kNever);
    for (const Early early : {Early::kAccept, Early::kDecline}) {
        const auto with = Applied(limit, start_after, early);
        if (without && with && *without != *with) {
            fuzz::Fail(("applied " + *without + ", early " + *with).c_str());
        }
    }
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const SpoolPosition whole = fuzz::MakeSpool(data, size);
    SpoolPosition end;
    fuzz::Succeeds([&] { end = ScanEnd(fuzz::kSpoolPath, fuzz::kSpoolIdentity); });
    if (!fuzz::Succeeds([&] { fuzz::ReadRecords(end); }) && whole.segment == 1) {
        fuzz::Fail("what was scanned cannot be read");
    }
    if (end != whole) {
        fuzz::Succeeds([&] { fuzz::ReadRecords(whole); });
    }
    if (end.segment != 0) {
        ReadTransactions(end, (size & 1) != 0 ? 0 : 100);
    }
    return 0;
}
