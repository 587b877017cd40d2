// Sift: a block is promoted when it has been touched often enough while it wasn't cached, and CLOCK
// finds what goes. A read that promotes costs little, since it reads the origin anyway, and a write
// costs another read, and a writeback later: so reads need fewer touches. policy.md explains it.
//
// Invariants: free_ and demoting_ are the numbers of the blocks in these places, and waiting_dirty_
// that of those which are used and dirty. No entry of the tally is of a block that was promoted since
// its last miss. cleaned_ may name blocks that have changed since: they are looked at again.
// After construction nothing is allocated.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "caching/policy/fill_budget.h"
#include "caching/policy/policy.h"
#include "caching/policy/reuse_switch.h"
#include "caching/policy/touch_tally.h"

namespace dmcache {

class sift final : public policy {
 public:
  static constexpr std::string_view own_name = "sift";

  // `share` is the part of all blocks that it will hear of, if it stands for a larger cache.
  explicit sift(const policy_geometry &geometry, double share = 1);

  std::string_view name() const override { return own_name; }
  std::array<std::uint32_t, 3> version() const override { return {1, 0, 0}; }

  // A hint is how often the block was hit of late, 0 to 3, and 8 more if the hand stands at it.
  void load(cache_block block, origin_block of, bool is_dirty,
            std::optional<std::uint32_t> hint) override;
  void hit(cache_block block) override;
  std::optional<cache_block> miss(origin_block block, promotion possible) override;
  void promoted(cache_block block, bool is_done) override;
  void mark_dirty(cache_block block) override;
  void mark_clean(cache_block block) override;
  std::optional<background_work> next_work(bool is_idle) override;
  std::optional<background_work> next_demotion() override;
  void completed(const background_work &work, bool is_done) override;
  void invalidated(cache_block block) override;
  void tick(std::uint64_t seconds) override;
  void measured(const origin_read_times &times) override;
  std::uint32_t hint(cache_block block) const override;
  result<> set(std::string_view key, std::string_view value) override;
  std::vector<setting> settings() const override;
  std::uint64_t nr_free() const override { return free_; }
  block_account account_of_uncached(origin_block block) const override; // sift_account.cc
  block_account account_of_cached(cache_block block) const override;

 private:
  static constexpr std::uint32_t max_hits = 3; // as many bits as there are for the count

  enum class place : std::uint8_t { free, reserved, used, demoting, cleaning, cleaning_for_room };

  struct slot { // a cache block
    place at : 3 = place::free;
    std::uint8_t count : 2 = 0;    // hits since the hand came by, 3 for more
    bool is_first : 1 = false;     // promoted in the block's first visit, and not visited since
    bool is_rewritten : 1 = false; // dirtied since the sweep, or a writeback, came by
    bool is_dirty : 1 = false;
  };
  static_assert(sizeof(slot) == 1);

  slot &slot_of(cache_block block);
  const slot &slot_of(cache_block block) const;
  static bool is_in_use(const slot &of) { return of.at >= place::used; }
  void change(slot &of, place at, bool is_dirty);
  void set_free(slot &of);
  void advance(std::uint64_t &number) const {
    number = number + 1 == slots_.size() ? 0 : number + 1;
  }

  bool takes_whatever_comes() const { return free_ > reserve_ && reuse_.is_likely(); }
  std::uint32_t touches_needed(promotion possible) const;
  std::string reason_for_touches() const;
  cache_block reserve(bool is_first);
  background_work demote(std::uint64_t number);
  background_work write_back(std::uint64_t number, place at);
  std::optional<background_work> make_room(bool may_write_back);
  std::optional<background_work> sweep(bool is_idle);

  // sift_settings.cc
  std::uint32_t read_touches() const { return read_touches_.value_or(measured_touches_); }

  std::vector<slot> slots_;
  touch_tally tally_;
  reuse_switch reuse_;
  std::uint64_t free_;
  std::uint64_t demoting_ = 0;
  std::uint64_t waiting_dirty_ = 0;
  std::uint64_t reserve_; // so many are to be free, or becoming so: reuse waits for a commit

  std::uint64_t hand_ = 0;   // of CLOCK: the next one that may have to go
  std::uint64_t cursor_ = 0; // where the next free one is looked for
  std::uint64_t sweep_ = 0;  // the next one that may be written back for being dirty for long
  std::uint64_t due_ = 0;    // steps of the sweep, which goes round once in clean_after_
  bool is_demotion_futile_ = false;

  std::optional<cache_block> last_hit_;
  std::optional<origin_block> last_missed_;
  std::optional<std::uint64_t> last_tick_; // seconds

  // Written back to make room, and still there: they go before the hand has come round.
  std::array<std::uint64_t, 64> cleaned_{};
  std::size_t nr_cleaned_ = 0;

  std::optional<std::uint32_t> read_touches_; // none: as measured
  std::uint32_t measured_touches_ = 1;
  std::uint32_t write_touches_;
  std::uint64_t clean_after_; // seconds
  fill_budget budget_;
};

} // namespace dmcache
