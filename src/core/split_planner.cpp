#include "core/split_planner.hpp"

#include <algorithm>
#include <limits>
#include <tuple>

namespace livemigrate {

namespace {

constexpr uint64_t kMaxPages = std::numeric_limits<uint32_t>::max();

struct PlannedPart {
    CopyPart part;
    uint64_t table_bytes;
};

uint32_t
PartCount(const TableSize &table, uint64_t pages, uint64_t split_bytes, uint32_t jobs) {
    if (!table.splittable || jobs <= 1 || split_bytes == 0 || table.bytes <= split_bytes) {
        return 1;
    }
    const uint64_t wanted = (table.bytes - 1) / split_bytes + 1;
    const uint64_t possible = std::clamp<uint64_t>(pages, 1, kMaxPartsPerTable);
    return static_cast<uint32_t>(std::min(wanted, possible));
}

void
AppendParts(const TableSize &table, uint64_t split_bytes, uint32_t jobs,
            std::vector<PlannedPart> &planned) {
    const uint64_t pages = std::min(table.pages, kMaxPages);
    const uint32_t parts = PartCount(table, pages, split_bytes, jobs);
    for (uint32_t i = 0; i < parts; ++i) {
        CopyPart part;
        part.table_id = table.id;
        part.part = i;
        part.parts = parts;
        part.first_page = pages * i / parts;
        if (i + 1 < parts) {
            part.end_page = pages * (i + 1) / parts;
        }
        part.bytes_estimate = table.bytes / parts + (i < table.bytes % parts ? 1 : 0);
        planned.push_back({part, table.bytes});
    }
}

} // namespace

std::vector<CopyPart>
PlanParts(std::span<const TableSize> tables, uint64_t split_bytes, uint32_t jobs) {
    std::vector<PlannedPart> planned;
    for (const TableSize &table : tables) {
        AppendParts(table, split_bytes, jobs, planned);
    }
    auto oversize = [split_bytes](const PlannedPart &p) {
        return p.part.bytes_estimate > split_bytes ? p.part.bytes_estimate : 0;
    };
    std::sort(planned.begin(), planned.end(), [&](const PlannedPart &a, const PlannedPart &b) {
        return std::tuple(oversize(b), b.table_bytes, a.part.table_id, a.part.part) <
               std::tuple(oversize(a), a.table_bytes, b.part.table_id, b.part.part);
    });

    std::vector<CopyPart> parts;
    parts.reserve(planned.size());
    for (const PlannedPart &p : planned) {
        parts.push_back(p.part);
    }
    return parts;
}

std::string
PartCondition(const CopyPart &part) {
    if (part.parts == 1) {
        return "";
    }
    std::string condition = "ctid >= '(" + std::to_string(part.first_page) + ",0)'::tid";
    if (part.end_page) {
        condition += " AND ctid < '(" + std::to_string(*part.end_page) + ",0)'::tid";
    }
    return condition;
}

} // namespace livemigrate
