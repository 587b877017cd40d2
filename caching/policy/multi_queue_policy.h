// What smq and cleaner have in common: the state of every cache block, and the order in which those
// in use would be given up, or written back. A block's hint is its level in that order.
//
// Invariants: a node's state says in which ring its block stands. If it stands in none, because it
// is being promoted, demoted or written back, the node's `next` says which of these is happening,
// and `previous` whether the block is dirty.
#pragma once

#include <cstdint>
#include <optional>

#include "caching/policy/hit_bits.h"
#include "caching/policy/multi_queue.h"
#include "caching/policy/period.h"
#include "caching/policy/policy.h"

namespace dmcache {

class multi_queue_policy : public policy {
 public:
  // A node has room for links to so many, besides the rings' own nodes.
  static constexpr std::uint64_t max_cache_blocks =
      queue_node::nr_links - 1 - std::uint64_t{2} * multi_queue::nr_own_nodes;

  // Since hints are levels, both policies understand each other's.
  std::array<std::uint32_t, 3> version() const override { return {2, 0, 0}; }

  void load(cache_block block, origin_block of, bool is_dirty,
            std::optional<std::uint32_t> hint) override;
  void hit(cache_block block) override;
  void promoted(cache_block block, bool is_done) override;
  void mark_dirty(cache_block block) override { set_dirty(block, true); }
  void mark_clean(cache_block block) override { set_dirty(block, false); }
  void completed(const background_work &work, bool is_done) override;
  void invalidated(cache_block block) override;
  void tick(std::uint64_t seconds) override;
  std::uint32_t hint(cache_block block) const override;
  result<> set(std::string_view key, std::string_view value) override;
  std::vector<setting> settings() const override { return {}; }
  std::uint64_t nr_free() const override { return nr_free_; }
  block_account account_of_cached(cache_block block) const override;

 protected:
  explicit multi_queue_policy(std::uint64_t nr_cache_blocks);

  std::uint64_t nr_cache_blocks() const { return nr_cache_blocks_; }
  std::uint64_t nr_being_demoted() const { return nr_being_demoted_; }

  // Reserves the block that has been free for the longest time, if any is free.
  std::optional<cache_block> reserve();
  // Takes out the oldest clean block of the lower half of the levels, if there is one.
  std::optional<background_work> demote_oldest();
  // Takes out the oldest dirty block of the lowest level, if there is one. Blocks that became
  // dirty, or were hit, a short time ago are left alone unless `however_new`.
  std::optional<background_work> write_back_oldest(bool however_new);

 private:
  enum class place : std::uint8_t { free, clean, dirty, none };
  enum class purpose : std::uint32_t { promoting, demoting, writing_back };

  std::uint32_t number_of(cache_block block) const;
  place place_of(std::uint32_t block) const { return static_cast<place>(nodes_[block].state()); }
  bool is_busy(std::uint32_t block, purpose with) const;
  bool is_used(std::uint32_t block) const;
  multi_queue &queue_of(place where) { return where == place::dirty ? dirty_ : clean_; }

  void enqueue(std::uint32_t block, bool is_dirty, std::uint32_t level);
  void take_out(std::uint32_t block, purpose why, bool is_dirty);
  void set_free(std::uint32_t block);
  void set_dirty(cache_block block, bool is_dirty);

  std::uint64_t nr_cache_blocks_;
  queue_nodes nodes_;
  std::uint32_t free_; // the head of their ring
  multi_queue clean_;
  multi_queue dirty_;
  hit_bits hit_;
  std::uint64_t nr_free_;
  std::uint64_t nr_being_demoted_ = 0;

  period sentinel_period_;
  period hit_period_;
  bool is_even_ = true; // nothing is left of the evening that the last period began
};

} // namespace dmcache
