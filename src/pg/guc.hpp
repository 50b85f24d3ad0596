// The settings livemigrate.*; doc/reference.md describes each.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace livemigrate::pg {

// Defines the settings; once, from _PG_init.
void DefineSettings();

std::string AllowedSourceHosts(); // of roles other than superusers; a list with commas
uint64_t BacklogChunkSize();      // bytes of WAL; 0: none is read in chunks
std::chrono::milliseconds CaughtUpLag();
std::string ClientBinaryDirectory(); // empty: the server's own
std::chrono::milliseconds CompareHoldLimit();
bool CompareHoldsApply();
size_t CompareJobs();
uint64_t CompareRangeSize();
uint64_t CompareRateLimit();                                  // bytes a second; 0: none
int CopyAttempts();                                           // at a part, until it has failed
std::optional<std::chrono::milliseconds> CutoverCheckLimit(); // of all its checks together
// Kilobytes for each of `workers` index workers, at least `floor_kb`.
int IndexMemory(int workers, int floor_kb);

// Parallel workers for each of so many index workers: the setting livemigrate.index_parallelism
// divided, or what makes leaders and parallel workers together as many as there are CPUs.
int IndexParallelWorkers(int workers);
bool SourcePasswordRequired(); // of roles other than superusers
bool SpoolIsCompressed();
uint64_t SpoolMinFreeDisk(); // 0: no guard
uint64_t SpoolSegmentSize();
uint64_t SpoolSizeLimit(); // 0: none
bool StreamBinary();
bool StreamInProgress();

} // namespace livemigrate::pg
