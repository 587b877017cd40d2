#include "caching/policy/policy.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "caching/policy/cleaner.h"
#include "caching/policy/sift.h"
#include "caching/policy/smq.h"

namespace dmcache {
namespace {

// The tunables of the policy mq, which smq has replaced under that name as well.
constexpr std::array<std::string_view, 5> mq_tunables{
    "random_threshold", "sequential_threshold", "discard_promote_adjustment",
    "read_promote_adjustment", "write_promote_adjustment"};

constexpr std::array<std::string_view, 5> policy_names{"sift", "smq", "mq", "default", "cleaner"};

} // namespace

bool is_policy(std::string_view name) {
  return std::ranges::find(policy_names, name) != policy_names.end();
}

result<std::unique_ptr<policy>> make_policy(std::string_view name,
                                            const policy_geometry &geometry) {
  if (geometry.nr_cache_blocks > multi_queue_policy::max_cache_blocks) {
    return fail(failure::usage,
                fmt::format("{} cache blocks are more than the {} that a policy can have: make the "
                            "blocks larger",
                            geometry.nr_cache_blocks, multi_queue_policy::max_cache_blocks));
  }
  if (name == sift::own_name) {
    return std::make_unique<sift>(geometry);
  }
  if (name == "smq" || name == "default") {
    return std::make_unique<smq>("smq", std::span<const std::string_view>{}, geometry);
  }
  if (name == "mq") {
    return std::make_unique<smq>("mq", mq_tunables, geometry);
  }
  if (name == "cleaner") {
    return std::make_unique<cleaner>(geometry);
  }
  return fail(failure::usage,
              fmt::format("there is no policy '{}': give sift, smq, mq, default or cleaner", name));
}

result<std::unique_ptr<policy>> with_settings(result<std::unique_ptr<policy>> made,
                                              std::span<const policy::setting> settings) {
  for (const auto &[key, value] : settings) {
    if (!made) {
      break;
    }
    if (auto set = (*made)->set(key, value); !set) {
      made = std::unexpected{set.error()};
    }
  }
  return made;
}

} // namespace dmcache
