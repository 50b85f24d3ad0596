// Arbitrary bytes as the segments of a spool: one that SpoolWriter has opened is put right, so that
// SpoolReader reads it to its end, with what was appended.
#include "core/spool_writer.hpp"

#include "core/spool_reader.hpp"

#include "spool_input.hpp"

namespace {

using namespace livemigrate;

void
OpenAndAppend(bool compress) {
    SpoolOptions options;
    options.directory = fuzz::kSpoolPath;
    options.identity = fuzz::kSpoolIdentity;
    options.create = true;
    options.segment_size = 4096;
    options.compress = compress;
    options.mark_transaction = fuzz::MarkOf;
    SpoolPosition end;
    const bool opened = fuzz::Succeeds([&] {
        SpoolWriter writer(options);
        writer.Append(Lsn{1}, "B\xfe");
        writer.Append(Lsn{1}, std::string(compress ? 1000 : 1, 'I'));
        writer.Append(Lsn{1}, "C\xfe\xff");
        writer.Sync();
        end = writer.written();
    });
    if (opened && (!fuzz::Succeeds([&] { fuzz::ReadRecords(end); }) ||
                   ScanEnd(fuzz::kSpoolPath, fuzz::kSpoolIdentity) != end)) {
        fuzz::Fail("a spool that was opened cannot be read");
    }
}

} // namespace

extern "C" int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size != 0) {
        fuzz::MakeSpool(data, size);
        OpenAndAppend((size & 1) != 0);
    }
    return 0;
}
