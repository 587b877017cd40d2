// Empties a cache of dirty blocks, whatever load it is under, so that it can be taken away.
#pragma once

#include <optional>
#include <string_view>

#include "caching/policy/multi_queue_policy.h"

namespace dmcache {

class cleaner final : public multi_queue_policy {
 public:
  explicit cleaner(const policy_geometry &geometry)
      : multi_queue_policy{geometry.nr_cache_blocks} {}

  std::string_view name() const override { return "cleaner"; }
  std::optional<cache_block> miss(origin_block /*block*/, promotion /*possible*/) override {
    return {};
  }
  std::optional<background_work> next_demotion() override { return {}; }
  std::optional<background_work> next_work(bool /*is_idle*/) override {
    return write_back_oldest(true);
  }
  block_account account_of_uncached(origin_block /*block*/) const override {
    return {.counts = {}, .text = "The policy cleaner promotes nothing."};
  }
};

} // namespace dmcache
