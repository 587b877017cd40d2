// A policy that does what it is told, for tests of single steps.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/assert.h"
#include "caching/policy/policy.h"

namespace dmcache {

class obedient_policy : public policy {
 public:
  explicit obedient_policy(std::uint64_t nr_cache_blocks, std::string name = "obedient",
                           std::uint32_t major_version = 1)
      : name_{std::move(name)}, version_{major_version, 0, 0}, states_(nr_cache_blocks) {}

  // What it is told. ------------------------------------------------------------------------------

  bool promotes = true; // each miss, into the lowest free block
  void demote(std::uint64_t block) {
    wanted_.push_back({background_work::kind::demote, cache_block{block}});
  }
  void write_back(std::uint64_t block) {
    wanted_.push_back({background_work::kind::write_back, cache_block{block}});
  }

  // What it was told by the engine: the hint of each block that was loaded.
  std::map<std::uint64_t, std::optional<std::uint32_t>> loaded;
  std::vector<promotion> offered; // by each miss
  std::uint64_t nr_hits = 0;
  std::optional<origin_read_times> times;

  // As a policy. ----------------------------------------------------------------------------------

  std::string_view name() const override { return name_; }
  std::array<std::uint32_t, 3> version() const override { return version_; }
  void load(cache_block block, origin_block /*of*/, bool is_dirty,
            std::optional<std::uint32_t> hint) override {
    of(block) = is_dirty ? state::dirty : state::clean;
    loaded[block.value()] = hint;
  }
  void hit(cache_block block) override {
    require(is_used(block), "what is hit is used");
    ++nr_hits;
  }
  std::optional<cache_block> miss(origin_block /*block*/, promotion possible) override {
    offered.push_back(possible);
    const auto free = std::ranges::find(states_, state::free);
    if (!promotes || possible == promotion::none || free == states_.end()) {
      return {};
    }
    *free = state::reserved;
    return cache_block{static_cast<std::uint64_t>(free - states_.begin())};
  }
  void promoted(cache_block block, bool is_done) override {
    require(of(block) == state::reserved, "what is promoted was reserved");
    of(block) = is_done ? state::clean : state::free;
  }
  void mark_dirty(cache_block block) override { of(block) = state::dirty; }
  void mark_clean(cache_block block) override { of(block) = state::clean; }
  std::optional<background_work> next_demotion() override {
    const auto next =
        std::ranges::find(wanted_, background_work::kind::demote, &background_work::task);
    if (next == wanted_.end()) {
      return {};
    }
    const background_work demotion = *next;
    wanted_.erase(next);
    busy_.insert(demotion.block);
    return demotion;
  }
  // What it is told; and when the cache is idle, or to be cleaned, it writes back.
  std::optional<background_work> next_work(bool is_idle) override {
    if (!wanted_.empty()) {
      const background_work next = wanted_.front();
      wanted_.pop_front();
      busy_.insert(next.block);
      return next;
    }
    for (std::uint64_t i = 0; is_idle && i < states_.size(); ++i) {
      if (states_[i] == state::dirty && busy_.insert(cache_block{i}).second) {
        return background_work{background_work::kind::write_back, cache_block{i}};
      }
    }
    return {};
  }
  void completed(const background_work &work, bool is_done) override {
    require(is_used(work.block), "what is demoted or written back is used");
    busy_.erase(work.block);
    if (is_done) {
      of(work.block) = work.task == background_work::kind::demote ? state::free : state::clean;
    }
  }
  void invalidated(cache_block block) override {
    of(block) = state::free;
    busy_.erase(block);
  }
  void tick(std::uint64_t /*seconds*/) override {}
  void measured(const origin_read_times &now) override { times = now; }
  std::uint32_t hint(cache_block block) const override {
    return static_cast<std::uint32_t>(block.value()) + 1000;
  }
  result<> set(std::string_view /*key*/, std::string_view /*value*/) override {
    return fail(failure::usage, "this policy has no tunables");
  }
  std::vector<setting> settings() const override { return {}; }
  std::uint64_t nr_free() const override {
    return static_cast<std::uint64_t>(std::ranges::count(states_, state::free));
  }

 private:
  enum class state : std::uint8_t { free, reserved, clean, dirty };

  state &of(cache_block block) { return states_.at(block.value()); }
  bool is_used(cache_block block) const {
    const state is = states_.at(block.value());
    return is == state::clean || is == state::dirty;
  }

  std::string name_;
  std::array<std::uint32_t, 3> version_;
  std::vector<state> states_;
  std::deque<background_work> wanted_;
  std::set<cache_block> busy_; // named by next_work()
};

} // namespace dmcache
