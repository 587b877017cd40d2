// Devices of another size: what has been wrong with that elsewhere is cases 1, 2, 5 and 9 in
// caching/engine/engine.md, whose numbers stand before the tests.
#include "base/memory_device.h"
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class resize_test : public cache_test {
 protected:
  // Caches the blocks, one after the other, in the lowest cache blocks.
  void fill(std::uint64_t count) {
    for (std::uint64_t block = 0; block < count; ++block) {
      cache(block);
    }
  }
};

// 1.
TEST_F(resize_test, a_shrunk_fast_device_drops_the_clean_blocks_beyond_its_end) {
  open();
  fill(8);
  shut_down();
  EXPECT_EQ(refusal(options(), blocks(5)), "");
  EXPECT_EQ(state().mappings->nr_cache_blocks(), 5U);
  EXPECT_EQ(state().mappings->nr_mapped(), 5U);
  EXPECT_TRUE(is_cached(4));
  EXPECT_FALSE(is_cached(5));
  in->read_everything();
  EXPECT_THAT(in->write(whole(6)), succeeds());
  shut_down();
}

// 1.
TEST_F(resize_test, a_shrunk_fast_device_is_refused_if_dirty_blocks_lie_beyond_its_end) {
  open();
  fill(6);
  make_dirty(6);
  make_dirty(7);
  shut_down();
  EXPECT_EQ(refusal(options(), blocks(5)),
            "the fast device has 5 cache blocks, and 2 dirty blocks lie beyond: the first is cache "
            "block 6, mapped to origin block 6");
  EXPECT_TRUE(in->media().block.is_clean());
  EXPECT_FALSE(in->media().block.is_needs_check());
  open();
  EXPECT_EQ(nr_dirty(), 2U);
}

// 1: the first start with another size, and every one after it.
TEST_F(resize_test, a_grown_fast_device_has_free_blocks_at_once) {
  tracking = dirty_tracking::at_shutdown;
  open();
  fill(8);
  shut_down();
  EXPECT_EQ(refusal(options(), blocks(200)), "");
  EXPECT_EQ(state().mappings->nr_cache_blocks(), 200U);
  EXPECT_EQ(state().mappings->nr_mapped(), 8U);
  for (std::uint64_t block = 8; block < 24; ++block) {
    cache(block);
  }
  shut_down();
  EXPECT_EQ(refusal(options(), blocks(30)), "");
  EXPECT_EQ(state().mappings->nr_mapped(), 24U);
  in->cut_power();
  EXPECT_EQ(refusal(options(), blocks(31)), "");
  EXPECT_EQ(nr_dirty(), 24U);
}

// 2.
TEST_F(resize_test, the_origin_is_as_long_as_it_is_said_to_be) {
  make();
  in->device(cache_device::origin).resize(to_bytes(blocks(100)));
  open();
  EXPECT_EQ(state().nr_origin_blocks, 24U);
  request beyond;
  beyond.op = request::operation::read;
  beyond.offset = to_bytes(sectors{24 * block_size});
  std::vector<std::byte> data(16 * sector_size);
  beyond.length = bytes{data.size()};
  beyond.data = data;
  in->engine().submit(beyond);
  EXPECT_EQ(in->engine().next_completed(), &beyond);
  EXPECT_EQ(beyond.outcome, std::errc::invalid_argument);
}

// 2: what is left of a block at the end belongs to the origin.
TEST_F(resize_test, a_last_block_that_is_not_whole_is_never_cached) {
  open();
  const sector_range last{24 * block_size, 24 * block_size + 8};
  EXPECT_THAT(in->write(last), succeeds());
  EXPECT_THAT(in->read(last), succeeds());
  EXPECT_THAT(in->write({23 * block_size, 24 * block_size + 8}), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_FALSE(is_cached(24));
  EXPECT_TRUE(is_cached(23));
}

// 5.
TEST_F(resize_test, a_shrunk_origin_drops_clean_blocks_beyond_its_end_and_counts_them_right) {
  open();
  fill(2);
  cache(10);
  cache(23);
  shut_down();
  EXPECT_EQ(refusal(options(), {}, sectors{11 * block_size - 1}), "");
  const engine_status status = in->engine().status();
  EXPECT_EQ(status.cache_used, 2U);
  EXPECT_EQ(status.counts.demotions, 0U);
  EXPECT_FALSE(is_cached(10)); // not whole any more
  cache(7);
  cache(8);
  shut_down();
  EXPECT_EQ(in->media().mappings.size(), 4U);
  EXPECT_EQ(refusal(options(), {}, blocks(24)), "");
  EXPECT_FALSE(is_cached(23));
  in->read_everything();
}

// 5.
TEST_F(resize_test, a_shrunk_origin_is_refused_if_dirty_blocks_lie_beyond_its_end) {
  open();
  fill(2);
  make_dirty(10);
  shut_down();
  EXPECT_EQ(refusal(options(), {}, blocks(10)),
            "the origin has 10 blocks, and 1 dirty blocks are mapped to beyond its end: the first "
            "is cache block 2, mapped to origin block 10");
  open();
  EXPECT_THAT(in->clean(), succeeds());
  shut_down();
  EXPECT_EQ(refusal(options(), {}, blocks(10)), "");
}

// 9. The data are nowhere: what counts is where they would go.
class huge_origin : public testing::Test {
 protected:
  static constexpr std::uint64_t block_size = 64;
  static constexpr std::uint64_t far_block = (std::uint64_t{5} << 40) / sector_size / block_size;

  void open() {
    engine_options how;
    how.block_size = sectors{block_size};
    how.make_policy = [this](std::string_view /*name*/, const policy_geometry &geometry) {
      auto made = std::make_unique<obedient_policy>(geometry.nr_cache_blocks);
      policy = made.get();
      return result<std::unique_ptr<dmcache::policy>>{std::move(made)};
    };
    auto opened = cache_engine::open({.metadata = metadata,
                                      .fast_size = sectors{10 * block_size},
                                      .origin_size = sectors{std::uint64_t{6} << 40}},
                                     how, {});
    ASSERT_TRUE(opened) << opened.error().message;
    engine = std::move(*opened);
  }
  // Carries out all I/O; what went to data devices is kept in `ios`.
  void run() {
    while (engine_io *next = engine->next_io()) {
      std::error_code error;
      if (next->on != cache_device::metadata) {
        ios.push_back(*next);
      } else if (next->op == engine_io::operation::write) {
        error = transfer_and_wait(metadata, io_request::operation::write, next->offset, next->data);
      }
      engine->io_done(*next, error);
    }
  }
  void submit(request::operation op, std::uint64_t block) {
    request one;
    one.op = op;
    one.offset = to_bytes(sectors{block * block_size});
    one.length = to_bytes(sectors{block_size});
    one.data = data;
    engine->submit(one);
    run();
    EXPECT_EQ(engine->next_completed(), &one);
    EXPECT_THAT(one.outcome, succeeds());
  }
  void shut_down() {
    control ending;
    engine->shut_down(ending);
    run();
    ASSERT_EQ(engine->next_finished(), &ending);
    EXPECT_THAT(ending.outcome, succeeds());
  }

  memory_device metadata{bytes{64 * metadata_block_size}};
  std::unique_ptr<cache_engine> engine;
  obedient_policy *policy = nullptr;
  std::vector<std::byte> data = std::vector<std::byte>(block_size * sector_size);
  std::vector<engine_io> ios;
};

TEST_F(huge_origin, beyond_four_billion_sectors_blocks_go_where_they_belong) {
  const bytes far = to_bytes(sectors{far_block * block_size});
  open();
  submit(request::operation::read, far_block);
  ASSERT_EQ(ios.size(), 2U);
  EXPECT_EQ(ios[0].on, cache_device::origin);
  EXPECT_EQ(ios[0].offset, far);
  EXPECT_EQ(ios[1].offset, bytes{});
  submit(request::operation::write, far_block);
  EXPECT_FALSE(engine->state().mappings->find(origin_block{far_block % (std::uint64_t{1} << 26)}));
  shut_down();
  open();
  EXPECT_EQ(engine->state().mappings->find(origin_block{far_block}), cache_block{});
  policy->write_back(0);
  ios.clear();
  engine->tick(std::chrono::seconds{5});
  run();
  ASSERT_GE(ios.size(), 2U);
  EXPECT_EQ(ios[1].on, cache_device::origin);
  EXPECT_EQ(ios[1].op, engine_io::operation::write);
  EXPECT_EQ(ios[1].offset, far);
}

TEST(policy_limit, a_policy_that_can_t_number_the_blocks_refuses_before_anything_is_written) {
  memory_device metadata{bytes{64 * metadata_block_size}};
  engine_options how;
  const auto open = [&](std::uint64_t nr_cache_blocks) {
    return cache_engine::open({.metadata = metadata,
                               .fast_size = sectors{nr_cache_blocks * 64},
                               .origin_size = sectors{100 * 64}},
                              how, {});
  };
  how.make_policy = [](std::string_view name,
                       const policy_geometry &geometry) -> result<std::unique_ptr<policy>> {
    return geometry.nr_cache_blocks > 10 ? fail(failure::usage, "too many for the policy")
                                         : make_policy(name, geometry);
  };
  how.block_size = sectors{64};
  EXPECT_THAT(open(11), fails_with(failure::usage));
  EXPECT_TRUE(*holds_nothing(metadata));
  EXPECT_THAT(open(10), succeeds());
  how.block_size = {}; // that of the superblock
  const std::vector<std::byte> before{metadata.contents().begin(), metadata.contents().end()};
  EXPECT_THAT(open(11), fails_with(failure::usage));
  EXPECT_TRUE(std::ranges::equal(before, metadata.contents()));
  EXPECT_THAT(open(10), succeeds());
}

} // namespace
} // namespace dmcache
