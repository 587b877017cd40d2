// What can be said of a cache when it is opened, and changed of it while it runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/named_values.h"
#include "base/result.h"
#include "base/size_text.h"
#include "base/units.h"
#include "caching/policy/policy.h"

namespace dmcache {

enum class cache_mode : std::uint8_t { writeback, writethrough, passthrough };

inline constexpr named_values<cache_mode, 3> cache_modes{{
    {cache_mode::writeback, "writeback"},
    {cache_mode::writethrough, "writethrough"},
    {cache_mode::passthrough, "passthrough"},
}};

// "writeback", "writethrough", "passthrough".
std::string_view name_of(cache_mode mode);
// The other way round. Fails with failure::usage.
result<cache_mode> find_cache_mode(std::string_view name);

// How the metadata say what is dirty.
enum class dirty_tracking : std::uint8_t {
  exact,       // at all times, so that a crash makes nothing dirty (engine.md, 16)
  at_shutdown, // as the kernel's target does: after a crash all counts as dirty
};

inline constexpr named_values<dirty_tracking, 2> dirty_trackings{{
    {dirty_tracking::exact, "exact"},
    {dirty_tracking::at_shutdown, "at-shutdown"},
}};

// "exact", "at-shutdown".
std::string_view name_of(dirty_tracking tracking);
// The other way round. Fails with failure::usage.
result<dirty_tracking> find_dirty_tracking(std::string_view name);

// When dirty blocks are written back.
enum class cleaning_trigger : std::uint8_t {
  background, // whenever the policy finds it right
  on_request, // when somebody asks for it, and never else
};

inline constexpr named_values<cleaning_trigger, 2> cleaning_triggers{{
    {cleaning_trigger::background, "background"},
    {cleaning_trigger::on_request, "on-request"},
}};

// "background", "on-request".
std::string_view name_of(cleaning_trigger trigger);
// The other way round. Fails with failure::usage.
result<cleaning_trigger> find_cleaning_trigger(std::string_view name);

// How much may be dirty: no more is lost if the fast device dies.
struct dirty_limit {
  std::uint64_t amount = 100;
  bool is_percentage = true; // of the cache, at most 100; else the amount is in sectors

  // Whole blocks, of a cache of so many.
  std::uint64_t in_blocks(std::uint64_t nr_cache_blocks, sectors block_size) const {
    return is_percentage ? nr_cache_blocks * amount / 100 : amount / block_size.value();
  }
};

// "25%", or a number of sectors.
std::string text_of(const dirty_limit &limit);
// The other way round; sizes may have units. Fails with failure::usage, in a text that begins with
// `name`.
result<dirty_limit> find_dirty_limit(std::string_view name, std::string_view text,
                                     bare_number bare);

inline constexpr std::chrono::seconds max_dirty_linger = std::chrono::hours{24};
constexpr bool is_legal_dirty_linger(std::chrono::seconds linger) {
  return linger >= std::chrono::seconds{1} && linger <= max_dirty_linger;
}

// What the runtime accepts of the devices, though it looks wrong.
struct accepted_devices {
  bool resized = false;       // the fast device or the origin has another size than it had
  bool differing = false;     // clean blocks differ from the origin
  bool with_contents = false; // the fast device of a new cache carries a file system or the like
  bool large_fast = false;    // it is as large as the origin
  bool image = false;         // the origin is an image in a format of its own
};

// "differing", "contents", "large-fast", "image": accepts that, too. Fails with failure::usage.
result<> accept(accepted_devices &by, std::string_view name);
// Those names of what is accepted.
std::vector<std::string_view> names_of(const accepted_devices &accepted);

// The size of a new cache's blocks, unless it is told another one: the smallest power of two from 64 KiB
// on with which the fast device has at most 4194304 blocks. So a large cache takes no more memory and
// metadata than a machine has to spare.
sectors usual_block_size(sectors fast_size);

// The first seven are fixed once the cache is open; the others can be changed while it runs.
struct engine_options {
  sectors block_size;                 // 0: what the metadata say, or what is usual for new ones
  std::uint32_t metadata_version = 2; // of new metadata
  bool read_only = false;             // nothing is written anywhere
  bool may_format = true;             // if block 0 of the metadata is all zero
  accepted_devices accepted{};
  dirty_tracking tracking = dirty_tracking::exact;
  std::chrono::seconds dirty_linger{60}; // a clean block is quiet so long before its bit is cleared
  cache_mode mode = cache_mode::writeback;
  std::string policy; // empty: what the metadata name, or sift for new ones
  std::vector<policy::setting> policy_settings;
  sectors migration_threshold{2048};
  bool discard_passdown = true;
  cleaning_trigger cleaning = cleaning_trigger::background;
  dirty_limit max_dirty{};
  // Makes the policy of a name: others than this one's are possible.
  std::function<result<std::unique_ptr<dmcache::policy>>(std::string_view, const policy_geometry &)>
      make_policy = dmcache::make_policy;
};

// What is to be changed of the options in force.
using options_change = std::function<void(engine_options &)>;

} // namespace dmcache
