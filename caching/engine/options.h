// What can be said of a cache when it is opened, and changed of it while it runs.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "caching/policy/policy.h"

namespace dmcache {

enum class cache_mode : std::uint8_t { writeback, writethrough, passthrough };

inline constexpr std::array<std::pair<cache_mode, std::string_view>, 3> cache_modes{{
    {cache_mode::writeback, "writeback"},
    {cache_mode::writethrough, "writethrough"},
    {cache_mode::passthrough, "passthrough"},
}};

// "writeback", "writethrough", "passthrough".
std::string_view name_of(cache_mode mode);
// The other way round. Fails with failure::usage.
result<cache_mode> find_cache_mode(std::string_view name);

// The first four are fixed once the cache is open; the others can be changed while it runs.
struct engine_options {
  sectors block_size;                 // 0: what the metadata say, or 128 for new ones
  std::uint32_t metadata_version = 2; // of new metadata
  bool read_only = false;             // nothing is written anywhere
  bool may_format = true;             // if block 0 of the metadata is all zero
  cache_mode mode = cache_mode::writeback;
  std::string policy = "smq";
  std::vector<policy::setting> policy_settings;
  sectors migration_threshold{2048};
  bool discard_passdown = true;
  // Makes the policy of a name: others than this one's are possible.
  std::function<result<std::unique_ptr<dmcache::policy>>(std::string_view, const policy_geometry &)>
      make_policy = dmcache::make_policy;
};

// What is to be changed of the options in force.
using options_change = std::function<void(engine_options &)>;

} // namespace dmcache
