// Stochastic multi-queue, the default of dm-cache: a block is promoted when its neighbourhood is
// missed more often than most of what is missed, and the least used clean ones make room for it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "caching/policy/hotspot_queue.h"
#include "caching/policy/multi_queue_policy.h"

namespace dmcache {

class smq final : public multi_queue_policy {
 public:
  // `tunables` are those of the policy whose name smq answers to: they are accepted, if their
  // values are numbers, and ignored.
  smq(std::string_view name, std::span<const std::string_view> tunables,
      const policy_geometry &geometry);

  std::string_view name() const override { return name_; }
  std::optional<cache_block> miss(origin_block block, promotion possible) override;
  std::optional<background_work> next_demotion() override;
  std::optional<background_work> next_work(bool is_idle) override;
  void completed(const background_work &work, bool is_done) override;
  void tick(std::uint64_t seconds) override;
  result<> set(std::string_view key, std::string_view value) override;
  std::vector<setting> settings() const override;
  block_account account_of_uncached(origin_block block) const override;

 private:
  std::uint32_t lowest_level_worth_copying() const;
  bool has_room() const;

  std::string_view name_;
  std::span<const std::string_view> tunables_;
  hotspot_queue hotspots_;
  period hotspot_period_;
  // A promotion found no free block, and not enough are free, or being freed, yet.
  bool needs_room_ = false;
};

} // namespace dmcache
