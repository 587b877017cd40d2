// Replays a trace through policies, in caches of several sizes.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/progress.h"
#include "base/result.h"
#include "caching/policy/policy.h"
#include "caching/replay/replay_counts.h"
#include "caching/replay/trace.h"

namespace dmcache {

struct replayed_policy {
  std::string name; // that of a policy, or "lru"
  std::vector<policy::setting> settings;
};

// Tries out whether there are such a policy and such settings. Fails with failure::usage.
result<> check_replayed_policy(const replayed_policy &chosen);

struct replay_settings {
  replay_mode mode = replay_mode::writeback;
  std::uint64_t delay =
      0; // promotions, demotions and writing back take as long as so many requests
};

// Replays through one policy. Fails as check_replayed_policy() does.
result<replay_counts> replay_one(std::span<const trace_request> requests,
                                 const replayed_policy &chosen, const policy_geometry &geometry,
                                 const replay_settings &settings);

struct replayed_size { // of a cache
  bytes length;        // if 0, the cache has a part of the footprint
  double percent;
};

struct replay_plan { // all combinations are replayed
  std::vector<bytes> block_sizes;
  std::vector<replayed_size> cache_sizes;
  std::vector<replayed_policy> policies;
  replay_settings settings;
};

struct replay_of_size { // of a cache
  std::uint64_t nr_cache_blocks;
  std::vector<replay_counts> counts; // of each policy
};

struct replay_of_blocks { // of one size
  bytes block_size;
  footprint touched;
  std::vector<replay_of_size> sizes; // of each cache
};

// All outcomes, in the order of the plan, by as many threads as there are processors. Fails as
// check_replayed_policy() does, with failure::usage if a cache would have no block or too many, or
// blocks are touched too often, and with failure::environment if memory or threads are missing.
result<std::vector<replay_of_blocks>> replay_all(const trace &replayed, const replay_plan &plan,
                                                 progress &watcher);

} // namespace dmcache
