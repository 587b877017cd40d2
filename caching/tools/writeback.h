// cache_writeback: what is dirty in a cache, copied to its origin.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "base/report.h"
#include "caching/tools/block_failure.h"
#include "caching/tools/metadata_device.h"
#include "caching/tools/rescue_map.h"
#include "caching/tools/writeback_plan.h"

namespace dmcache {

struct writeback_options {
  std::uint64_t buffer_size = std::uint64_t{64} << 20; // bytes
  std::uint64_t nr_retries = 0;
  bool list_failed = false;
  bool accepts_differing = false;            // clean blocks differ from the origin
  bool accepts_smaller = false;              // dirty blocks lie beyond the origin's end
  std::vector<cache_block_range> excluded{}; // stay dirty
  std::optional<rescue_map> fast_map{};      // what it doesn't call rescued stays dirty
  bytes fast_begin{};     // where the fast device begins in what the map is about
  bool only_plan = false; // says what it would do, and writes nothing
  bool as_json = false;   // the answer is a JSON object
  device_names names{};
  bool update_metadata = true;
  std::chrono::seconds update_interval{10}; // from one update of the metadata to the next
  std::function<bool()> is_stopped{};       // asked after each MiB, if set: is that enough?
};

// Copies nothing if the mappings or the dirty bits are damaged, or if the devices are not the cache's, as
// far as sizes and a sample of the clean blocks tell. After anything but a clean shutdown
// every mapped block counts as dirty. A block that can't be copied is reported to `to` with the
// reason, and stays dirty; the others are marked clean once the origin holds them durably: at
// intervals, so that the next run goes on where this one was interrupted, and at the end. That is
// also done if it is stopped, which is a failure, as is anything by which a dirty block is not on
// the origin in the end; but for those that the origin has discarded, which stay as they are.
result<> write_back(const metadata_device &metadata, device &origin, device &fast,
                    const writeback_options &options, report &to);

} // namespace dmcache
