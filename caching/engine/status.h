// What a cache says of itself.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/named_values.h"
#include "base/units.h"
#include "caching/engine/options.h"
#include "caching/online-metadata/online_metadata.h"

namespace dmcache {

// How far the metadata can be relied on.
enum class metadata_mode : std::uint8_t {
  untouched, // the cache was opened read-only: nothing is ever written
  write,
  read_only, // a change could not be made durable: NEEDS_CHECK is set, nothing new is cached
  fail,      // not even that could be written: nothing is served any more
};

inline constexpr named_values<metadata_mode, 4> metadata_modes{{
    {metadata_mode::untouched, "untouched"},
    {metadata_mode::write, "write"},
    {metadata_mode::read_only, "read_only"},
    {metadata_mode::fail, "fail"},
}};

// "untouched", "write", "read_only", "fail".
std::string_view name_of(metadata_mode mode);

// Since the cache was opened.
struct cache_counts {
  std::uint64_t demotions = 0;
  std::uint64_t promotions = 0;
  std::uint64_t writebacks = 0;
  std::uint64_t fast_errors_served = 0; // reads of clean blocks that the origin answered
  std::uint64_t migration_errors = 0;   // promotions, demotions and writebacks that failed
  std::uint64_t commits = 0;

  cache_counts &operator+=(const cache_counts &more) {
    demotions += more.demotions;
    promotions += more.promotions;
    writebacks += more.writebacks;
    fast_errors_served += more.fast_errors_served;
    migration_errors += more.migration_errors;
    commits += more.commits;
    return *this;
  }
};

struct engine_status {
  sectors origin_size;
  std::uint64_t metadata_used = 0; // blocks, as is the total
  std::uint64_t metadata_total = 0;
  sectors block_size;
  std::uint64_t cache_used = 0; // blocks that are mapped
  std::uint64_t cache_total = 0;
  cache_statistics statistics;
  cache_counts counts;
  std::uint64_t dirty = 0;
  std::uint64_t max_dirty = 0; // blocks, as the one before
  std::uint64_t migrating = 0;
  std::uint32_t metadata_version = 0;
  cache_mode mode{};
  bool discard_passdown = true;
  sectors migration_threshold;
  cleaning_trigger cleaning{};
  std::string policy;
  std::vector<policy::setting> policy_settings;
  metadata_mode mode_of_metadata{};
  dirty_tracking tracking{}; // in force
  bool is_read_only = false; // opened so, or become so
  bool needs_check = false;
};

// "0 131072 cache 8 9/1024 …", as the kernel's target says it.
std::string status_line(const engine_status &status);

} // namespace dmcache
