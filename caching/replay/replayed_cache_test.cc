#include "caching/replay/replayed_cache.h"

#include <utility>
#include <vector>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using mode = replay_mode;
using kind = background_work::kind;

constexpr policy_geometry geometry{4, 1000, sectors{64}}; // blocks of 32 KiB

// Promotes whatever there is room for, and does as it is told otherwise.
class obedient_policy final : public policy {
 public:
  std::string_view name() const override { return "obedient"; }
  std::array<std::uint32_t, 3> version() const override { return {}; }
  void load(cache_block, origin_block, bool, std::optional<std::uint32_t>) override {}
  void hit(cache_block) override {}
  std::optional<cache_block> miss(origin_block, promotion possible) override {
    offered.push_back(possible);
    return possible == promotion::none || nr_free() == 0 ? std::nullopt
                                                         : std::optional{cache_block{nr_used_++}};
  }
  void promoted(cache_block, bool) override {}
  void mark_dirty(cache_block) override { ++nr_dirtied; }
  void mark_clean(cache_block) override {}
  std::optional<background_work> next_work(bool is_idle) override {
    return is_idle ? std::exchange(when_idle, {}) : std::exchange(when_busy, {});
  }
  std::optional<background_work> next_demotion() override { return {}; }
  void completed(const background_work &, bool is_done) override { done.push_back(is_done); }
  void invalidated(cache_block) override {}
  void tick(std::uint64_t seconds) override { ticks.push_back(seconds); }
  std::uint32_t hint(cache_block) const override { return 0; }
  result<> set(std::string_view, std::string_view) override { return {}; }
  std::vector<setting> settings() const override { return {}; }
  std::uint64_t nr_free() const override { return geometry.nr_cache_blocks - nr_used_; }

  std::vector<promotion> offered;
  std::vector<bool> done;
  std::vector<std::uint64_t> ticks;
  std::optional<background_work> when_busy;
  std::optional<background_work> when_idle;
  unsigned nr_dirtied = 0;

 private:
  std::uint64_t nr_used_ = 0;
};

class replayed_cache_test : public testing::Test {
 protected:
  void open(mode writes, std::uint64_t delay) {
    auto chosen_policy = std::make_unique<obedient_policy>();
    policy_ = chosen_policy.get();
    cache_.emplace(std::move(chosen_policy), geometry, writes, delay);
  }
  void read(double time, std::uint64_t start, std::uint64_t length = 4096) {
    cache_->request({time, false, sectors{start}, bytes{length}});
  }
  void write(double time, std::uint64_t start, std::uint64_t length = 4096) {
    cache_->request({time, true, sectors{start}, bytes{length}});
  }
  const replay_counts &counts() const { return cache_->counts(); }

  obedient_policy *policy_ = nullptr;
  std::optional<replayed_cache> cache_;
};

TEST_F(replayed_cache_test, a_request_counts_for_each_block_that_it_touches) {
  open(mode::writeback, 0);
  read(0, 63, 33792); // half a KiB, 32 KiB, half a KiB
  EXPECT_EQ(counts().nr_misses, 3);
  read(0, 0);
  read(0, 64);
  read(0, 128);
  read(0, 192);
  EXPECT_EQ(counts().nr_hits, 3);
  EXPECT_EQ(counts().nr_misses, 4);
  read(0, 192, 0);
  EXPECT_EQ(counts().nr_hits, 3);
}

TEST_F(replayed_cache_test, fills_and_write_hits_write_to_the_fast_device) {
  open(mode::writeback, 0);
  read(0, 0);
  EXPECT_EQ(counts().written_to_fast, 32768);
  write(0, 0, 512);
  read(0, 0);
  EXPECT_EQ(counts().written_to_fast, 32768 + 512);
  EXPECT_EQ(policy_->nr_dirtied, 1);
}

TEST_F(replayed_cache_test, a_write_of_a_whole_block_needs_no_copy_and_leaves_it_dirty) {
  open(mode::writeback, 0);
  write(0, 0, 32768);
  EXPECT_EQ(policy_->offered, (std::vector{promotion::without_copy}));
  EXPECT_EQ(policy_->nr_dirtied, 1);
  EXPECT_EQ(counts().written_to_fast, 32768);
}

TEST_F(replayed_cache_test, writethrough_dirties_nothing) {
  open(mode::writethrough, 0);
  write(0, 0, 32768);
  write(0, 0);
  EXPECT_EQ(policy_->offered, (std::vector{promotion::after_write}));
  EXPECT_EQ(policy_->nr_dirtied, 0);
}

TEST_F(replayed_cache_test, a_promotion_takes_its_time) {
  open(mode::writeback, 2);
  read(0, 0);
  read(0, 0);
  read(0, 0);
  EXPECT_EQ(counts().nr_hits, 0);
  EXPECT_EQ(policy_->offered, (std::vector{promotion::by_copy, promotion::none, promotion::none}));
  read(0, 0);
  EXPECT_EQ(counts().nr_hits, 1);
}

TEST_F(replayed_cache_test, what_is_demoted_is_missed) {
  open(mode::writeback, 0);
  read(0, 0);
  policy_->when_busy = {kind::demote, cache_block{0}};
  read(0, 0);
  EXPECT_EQ(counts().nr_demotions, 1);
  read(0, 0);
  EXPECT_EQ(counts().nr_misses, 2);
}

TEST_F(replayed_cache_test, work_on_what_is_written_meanwhile_fails) {
  open(mode::writeback, 1);
  read(0, 0);
  read(0, 0);
  for (const kind task : {kind::demote, kind::write_back}) {
    policy_->when_busy = {task, cache_block{0}};
    read(0, 0);
    write(0, 0);
  }
  EXPECT_EQ(policy_->done, (std::vector{false, false}));
  EXPECT_EQ(counts().nr_demotions + counts().nr_written_back, 0);
}

TEST_F(replayed_cache_test, a_second_without_requests_is_idle) {
  open(mode::writeback, 0);
  write(5.5, 0, 32768);
  policy_->when_idle = {kind::write_back, cache_block{0}};
  read(6.4, 0);
  EXPECT_EQ(counts().nr_written_back, 0);
  read(7.9, 0);
  EXPECT_EQ(counts().nr_written_back, 0); // half a second after the last one it was 7
  read(9.5, 0);
  EXPECT_EQ(counts().nr_written_back, 1);
  EXPECT_EQ(policy_->ticks, (std::vector<std::uint64_t>{5, 6, 7, 8, 9}));
}

} // namespace
} // namespace dmcache
