// Tests that drive a cache on simulated devices step by step.
#pragma once

#include <algorithm>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/simulation/obedient_policy.h"
#include "caching/simulation/world.h"

namespace dmcache {

class cache_test : public testing::Test {
 protected:
  using operation = world::operation;
  // Nothing but what is asked for happens, and what the cache answers is compared with what it may.
  void TearDown() override {
    if (in) {
      EXPECT_EQ(in->violation().value_or(""), "");
    }
  }

  sector_range whole(std::uint64_t block, std::uint64_t count = 1) const {
    return {block * block_size, (block + count) * block_size};
  }
  // A sector of the block.
  sector_range part(std::uint64_t block) const {
    return {block * block_size + 3, block * block_size + 4};
  }
  sectors blocks(std::uint64_t count) const { return sectors{count * block_size}; }

  // New devices.
  void make() { in = std::make_unique<world>(devices); }

  engine_options options(cache_mode mode = cache_mode::writeback) {
    engine_options how;
    how.block_size = sectors{block_size};
    how.mode = mode;
    how.metadata_version = metadata_version;
    how.tracking = tracking;
    how.policy = policy_name;
    how.make_policy =
        [this](std::string_view name,
               const policy_geometry &geometry) -> result<std::unique_ptr<dmcache::policy>> {
      if (name != policy_name) {
        return make_policy(name, geometry);
      }
      auto made =
          std::make_unique<obedient_policy>(geometry.nr_cache_blocks, policy_name, policy_version);
      policy = made.get();
      return made;
    };
    return how;
  }
  void open(cache_mode mode = cache_mode::writeback) {
    if (!in) {
      make();
    }
    const auto opened = in->open(options(mode));
    ASSERT_TRUE(opened) << opened.error().message;
  }
  // What opening says.
  std::string refusal(const engine_options &how, std::optional<sectors> fast_size = {},
                      std::optional<sectors> origin_size = {}) {
    const auto opened = in->open(how, fast_size, origin_size);
    return opened ? "" : opened.error().message;
  }
  void shut_down() {
    const auto done = in->shut_down();
    EXPECT_TRUE(done) << done.error().message;
  }
  // Promotes the block, by reading it.
  void cache(std::uint64_t block) {
    EXPECT_THAT(in->read(part(block)), succeeds());
    ASSERT_TRUE(in->settle());
    ASSERT_TRUE(is_cached(block));
  }
  void make_dirty(std::uint64_t block) {
    cache(block);
    EXPECT_THAT(in->write(part(block)), succeeds());
    ASSERT_EQ(nr_dirty(), 1U + others_dirty);
    ++others_dirty;
  }
  bool is_cached(std::uint64_t block) {
    return state().mappings->find(origin_block{block}).has_value();
  }
  std::uint64_t nr_dirty() { return state().mappings->nr_dirty(); }
  const cache_state &state() { return in->engine().state(); }
  // On the media of a stopped cache.
  bool is_mapped_on_media(std::uint64_t block) const {
    return in->media().find(origin_block{block}) != nullptr;
  }
  std::uint64_t nr_dirty_on_media() const {
    return static_cast<std::uint64_t>(std::ranges::count_if(
        in->media().mappings, [](const mapping &each) { return each.dirty; }));
  }
  std::uint64_t nr_ios(cache_device on, engine_io::operation op) {
    return in->carrier().count(on, op);
  }

  std::uint64_t block_size = 64; // sectors
  world_options devices{.fast_size = blocks(8), .origin_size = sectors{24 * block_size + 8}};
  std::uint32_t metadata_version = 2;
  dirty_tracking tracking = dirty_tracking::exact;
  std::string policy_name = "obedient";
  std::uint32_t policy_version = 1;
  std::unique_ptr<world> in;
  obedient_policy *policy = nullptr; // of the open cache, unless it is another one
  std::uint64_t others_dirty = 0;    // made so by make_dirty()
};

} // namespace dmcache
