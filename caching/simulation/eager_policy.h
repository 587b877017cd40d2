// A policy that moves blocks all the time, by chance: to come into every state soon, for
// simulations.
#pragma once

#include <vector>

#include "base/chance.h"
#include "caching/policy/policy.h"

namespace dmcache {

class eager_policy final : public policy {
 public:
  static constexpr std::string_view own_name = "eager";

  eager_policy(const policy_geometry &geometry, std::uint64_t seed);

  std::string_view name() const override { return own_name; }
  std::array<std::uint32_t, 3> version() const override { return {1, 0, 0}; }
  void load(cache_block block, origin_block of, bool is_dirty,
            std::optional<std::uint32_t> hint) override;
  void hit(cache_block block) override;
  std::optional<cache_block> miss(origin_block block, promotion possible) override;
  void promoted(cache_block block, bool is_done) override;
  void mark_dirty(cache_block block) override;
  void mark_clean(cache_block block) override;
  std::optional<background_work> next_demotion() override;
  std::optional<background_work> next_work(bool is_idle) override;
  void completed(const background_work &work, bool is_done) override;
  void invalidated(cache_block block) override;
  void tick(std::uint64_t /*seconds*/) override {}
  std::uint32_t hint(cache_block block) const override { return of(block).hint; }
  result<> set(std::string_view key, std::string_view value) override;
  std::vector<setting> settings() const override { return {}; }
  std::uint64_t nr_free() const override;

 private:
  enum class state : std::uint8_t { free, reserved, clean, dirty };

  struct entry {
    state is = state::free;
    bool is_busy = false; // named by next_work()
    std::uint32_t hint = 0;
  };

  entry &of(cache_block block) { return entries_.at(block.value()); }
  const entry &of(cache_block block) const { return entries_.at(block.value()); }
  entry &used(cache_block block);
  std::optional<cache_block> any(state wanted);
  std::optional<background_work> busy(background_work::kind task, std::optional<cache_block> block);

  std::vector<entry> entries_;
  chance chance_;
  std::uint64_t promotes_one_in_;    // misses
  std::uint64_t writes_back_one_in_; // times it is asked
  bool wants_room_ = false;
};

} // namespace dmcache
