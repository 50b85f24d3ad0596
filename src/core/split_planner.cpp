#include "core/split_planner.hpp"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>

namespace livemigrate {

namespace {

constexpr uint64_t kMaxPages = std::numeric_limits<uint32_t>::max();

struct PlannedPart {
    CopyPart part;
    uint64_t table_bytes;
    bool may_be_cut_further;
};

// How many parts it could be cut into.
uint32_t
PartCount(const TableSize &table, uint64_t pages, uint64_t split_bytes) {
    if (table.splitting == Splitting::kNever || split_bytes == 0 || table.bytes <= split_bytes) {
        return 1;
    }
    const uint64_t wanted = (table.bytes - 1) / split_bytes + 1;
    const uint64_t possible = std::clamp<uint64_t>(pages, 1, kMaxPartsPerTable);
    return static_cast<uint32_t>(std::min(wanted, possible));
}

// Hands tables out in thought, the largest first, each to the job that has least to do.
class Jobs {
  public:
    Jobs(std::span<const TableSize> tables, uint32_t count) : count_(count) {
        double total = 0;
        for (const TableSize &table : tables) {
            total += static_cast<double>(table.bytes);
            if (table.splitting == Splitting::kNever) {
                longest_ = std::max(longest_, static_cast<double>(table.bytes));
            }
        }
        longest_ = std::max(longest_, total / count * kMuchMore);
        for (uint32_t i = 0; i < count; ++i) {
            loads_.push(0);
        }
    }

    // Whether nobody gets much more to do than his share, or than the longest job there is anyway.
    bool
    HaveRoomFor(uint64_t bytes) const {
        return loads_.top() + shared_ + static_cast<double>(bytes) <= longest_;
    }

    void
    Give(uint64_t bytes) {
        const double load = loads_.top() + static_cast<double>(bytes);
        loads_.pop();
        loads_.push(load);
    }

    // All work on it.
    void
    Share(uint64_t bytes) {
        shared_ += static_cast<double>(bytes) / count_;
    }

  private:
    static constexpr double kMuchMore = 1.1;

    uint32_t count_;
    double longest_ = 0;
    double shared_ = 0; // each has this to do besides
    std::priority_queue<double, std::vector<double>, std::greater<>> loads_;
};

std::vector<size_t>
LargestFirst(std::span<const TableSize> tables) {
    std::vector<size_t> order(tables.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return std::tuple(tables[b].bytes, tables[a].id) <
               std::tuple(tables[a].bytes, tables[b].id);
    });
    return order;
}

// Which of the tables to split.
std::vector<bool>
ChooseSplit(std::span<const TableSize> tables, uint64_t split_bytes, uint32_t job_count) {
    std::vector<bool> split(tables.size());
    if (job_count <= 1 || split_bytes == 0) {
        return split;
    }
    Jobs jobs(tables, job_count);
    for (const size_t i : LargestFirst(tables)) {
        const TableSize &table = tables[i];
        if (table.splitting != Splitting::kNever && table.bytes > split_bytes) {
            const bool may_stay_whole = table.splitting == Splitting::kIfUneven &&
                                        table.bytes / kMaxPartsInWhole <= split_bytes;
            split[i] = !may_stay_whole || !jobs.HaveRoomFor(table.bytes);
        }
        if (split[i]) {
            jobs.Share(table.bytes);
        } else {
            jobs.Give(table.bytes);
        }
    }
    return split;
}

void
AppendParts(const TableSize &table, uint32_t parts, bool may_be_cut_further,
            std::vector<PlannedPart> &planned) {
    const uint64_t pages = std::min(table.pages, kMaxPages);
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
        planned.push_back({part, table.bytes, may_be_cut_further});
    }
}

} // namespace

std::vector<CopyPart>
PlanParts(std::span<const TableSize> tables, uint64_t split_bytes, uint32_t jobs) {
    const std::vector<bool> split = ChooseSplit(tables, split_bytes, jobs);
    std::vector<PlannedPart> planned;
    for (size_t i = 0; i < tables.size(); ++i) {
        const uint64_t pages = std::min(tables[i].pages, kMaxPages);
        const uint32_t possible = PartCount(tables[i], pages, split_bytes);
        const uint32_t parts = split[i] ? possible : 1;
        AppendParts(tables[i], parts, parts < possible, planned);
    }
    auto oversize = [split_bytes](const PlannedPart &p) {
        const bool is_oversize = !p.may_be_cut_further && p.part.bytes_estimate > split_bytes;
        return is_oversize ? p.part.bytes_estimate : 0;
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
