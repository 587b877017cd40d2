// A runtime whose devices grow while it serves.
#include <algorithm>
#include <atomic>
#include <filesystem>
#include <random>
#include <thread>

#include <gmock/gmock.h>

#include "caching/runtime/testing/file_limit.h"
#include "caching/runtime/testing/runtime_fixture.h"

namespace dmcache {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using operation = request::operation;

// As Each() would say, but in no time.
MATCHER_P(are_all, value, "all are of this value") {
  return std::ranges::count(arg, std::byte(value)) == std::ssize(arg);
}

class live_resize_test : public runtime_fixture {
 protected:
  static constexpr std::string_view nothing_grew = "the devices are as large as before";

  live_resize_test() : runtime_fixture{0} {}

  void make_as_large(const char *name, std::uint64_t size) const {
    std::filesystem::resize_file(folder / name, size);
  }

  // Without the options of before, as nobody needs to know of a resize afterwards.
  void stop_and_start() {
    ASSERT_THAT(running->close(), succeeds());
    running.reset();
    options = {};
    options.may_format = false;
    start();
  }
  result<std::string> resize() const {
    return running->resize([] { return result<>{}; });
  }

  // Eight blocks, which are cached and dirty as far as they could be promoted.
  void fill_some() const {
    fill(0, 8 * block, 7);
    ASSERT_GT(running->status().dirty, 0U);
  }
  void expect_some_unchanged() const { EXPECT_THAT(contents(0, 8 * block), are_all(7)); }
};

TEST_F(live_resize_test, a_grown_origin_is_served_to_its_end) {
  start();
  fill_some();
  make_as_large("origin", 2 * origin_size + sector_size);
  EXPECT_EQ(running->origin_size(), bytes{origin_size}) << "until somebody asks for more";
  EXPECT_THAT(resize(), succeeds());
  EXPECT_EQ(running->origin_size(), bytes{2 * origin_size + sector_size});
  expect_some_unchanged();
  EXPECT_THAT(contents(origin_size, origin_size + sector_size), are_all(0));
  fill(2 * origin_size - block, block + sector_size, 9);
  stop_and_start();
  expect_some_unchanged();
  EXPECT_THAT(contents(2 * origin_size - block, block + sector_size), are_all(9));
  EXPECT_FALSE(running->extents(bytes{2 * origin_size}, bytes{sector_size}).empty());
}

TEST_F(live_resize_test, a_grown_fast_device_has_free_blocks_at_once) {
  start();
  fill_some();
  const engine_status before = running->status();
  make_as_large("fast", 2 * fast_size);
  EXPECT_THAT(resize(), succeeds());
  const engine_status now = running->status();
  EXPECT_EQ(now.cache_total, 64U);
  EXPECT_EQ(now.cache_used, before.cache_used);
  EXPECT_EQ(now.dirty, before.dirty) << "exactly";
  for (int i = 0; i < 20 && running->status().cache_used <= 32; ++i) {
    fill(8 * block, 56 * block, 8);
  }
  EXPECT_GT(running->status().cache_used, 32U);
  stop_and_start();
  EXPECT_EQ(running->status().cache_total, 64U);
  expect_some_unchanged();
  EXPECT_THAT(contents(8 * block, 56 * block), are_all(8));
}

TEST_F(live_resize_test, it_says_what_has_grown) {
  start();
  EXPECT_THAT(resize(), succeeds());
  EXPECT_EQ(resize().value(), nothing_grew);
  make_as_large("fast", fast_size + block - 1);
  EXPECT_EQ(resize().value(), nothing_grew) << "less than a block more";
  make_as_large("fast", fast_size + block);
  EXPECT_EQ(resize().value(), "the fast device has 33 cache blocks, and had 32");
  make_as_large("fast", fast_size + 2 * block);
  make_as_large("origin", origin_size + sector_size);
  EXPECT_EQ(resize().value(),
            "the origin has 16385 sectors, and had 16384: clients see that when they connect anew; "
            "the fast device has 34 cache blocks, and had 33");
  EXPECT_EQ(resize().value(), nothing_grew);
}

TEST_F(live_resize_test, a_part_of_given_size_does_not_grow) {
  paths.fast.size = bytes{fast_size};
  paths.origin.begin = bytes{block};
  start();
  EXPECT_EQ(running->origin_size(), bytes{origin_size - block});
  make_as_large("fast", 2 * fast_size);
  EXPECT_EQ(resize().value(),
            "the devices are as large as before; the fast device is a part whose size was given, "
            "and doesn't grow");
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(resize(), succeeds());
  EXPECT_EQ(running->origin_size(), bytes{2 * origin_size - block});
  EXPECT_EQ(running->status().cache_total, 32U);
}

TEST_F(live_resize_test, what_was_set_and_counted_is_kept) {
  options.policy = "smq";
  start();
  fill_some();
  ASSERT_THAT(running->message({"migration_threshold", "4096"}), succeeds());
  ASSERT_THAT(running->message({"max_dirty", "50%"}), succeeds());
  ASSERT_THAT(running->message({"cleaning", "on-request"}), succeeds());
  ASSERT_THAT(running->reload([](engine_options &changed) {
    changed.mode = cache_mode::writethrough;
    changed.policy = "mq";
    changed.policy_settings = {{"random_threshold", "5"}};
  }),
              succeeds());
  const engine_status before = running->status();
  make_as_large("fast", 2 * fast_size);
  EXPECT_THAT(resize(), succeeds());
  const engine_options now = running->options();
  EXPECT_EQ(now.mode, cache_mode::writethrough);
  EXPECT_EQ(now.policy, "mq");
  EXPECT_THAT(now.policy_settings, ElementsAre(std::pair{"random_threshold", "5"}));
  EXPECT_EQ(now.migration_threshold, sectors{4096});
  EXPECT_EQ(now.cleaning, cleaning_trigger::on_request);
  EXPECT_EQ(running->status().max_dirty, 32U) << "half of the new blocks";
  EXPECT_EQ(running->status().statistics.write_misses, before.statistics.write_misses);
  EXPECT_EQ(running->status().statistics.write_hits, before.statistics.write_hits);
  EXPECT_GE(running->status().counts.promotions, before.counts.promotions);
  EXPECT_GE(running->status().counts.commits, before.counts.commits);
  expect_some_unchanged();
}

TEST_F(live_resize_test, what_clients_have_written_does_not_make_the_devices_wrong_ones) {
  start();
  fill_some();
  ASSERT_THAT(running->clean(), succeeds());
  {
    std::ofstream origin{folder / "origin", std::ios::in | std::ios::out};
    origin << "QFI\xfb" << std::string("\0\0\0\3", 4) << std::string(8 * block, 'd');
    ASSERT_TRUE(origin.flush());
  }
  options.may_format = false;
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(resize(), succeeds());
  EXPECT_EQ(running->origin_size(), bytes{2 * origin_size});
  ASSERT_THAT(running->close(), succeeds());
  running.reset();
  EXPECT_THAT(threaded_runtime::open(paths, options), fails_with(failure::failed))
      << "as at any start";
}

// Each has its own pages, side by side with those of others, and some of its writes are of parts of
// sectors.
TEST_F(live_resize_test, requests_that_come_meanwhile_wait_and_lose_nothing) {
  constexpr std::uint64_t nr_threads = 6;
  constexpr std::uint64_t page = 4096;
  constexpr std::uint64_t own = origin_size / nr_threads / page;
  start();
  std::atomic<bool> is_over = false;
  std::atomic<std::uint64_t> nr_done = 0;
  std::vector<std::thread> threads;
  threads.reserve(nr_threads);
  for (std::uint64_t t = 0; t < nr_threads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 chance{static_cast<unsigned>(t)};
      std::vector<int> expected(own);
      while (!is_over && !HasFailure()) {
        const std::uint64_t number = chance() % own;
        const std::uint64_t offset = (number * nr_threads + t) * page;
        const auto value = static_cast<int>(chance() % 256);
        if (chance() % 2 == 0) {
          EXPECT_THAT(contents(offset, page), are_all(expected[number]));
        } else if (chance() % 4 == 0) {
          fill(offset, page - 100, value);
          fill(offset + page - 100, 100, value);
          expected[number] = value;
        } else {
          fill(offset, page, value);
          expected[number] = value;
        }
        if (chance() % 100 == 0) {
          EXPECT_THAT(ask(operation::flush, 0, 0), succeeds());
        }
        ++nr_done;
      }
      for (std::uint64_t i = 0; i < own; ++i) {
        EXPECT_THAT(contents((i * nr_threads + t) * page, page), are_all(expected[i]));
      }
    });
  }
  for (std::uint64_t i = 1; i <= 8 && !HasFailure(); ++i) {
    make_as_large("origin", origin_size + i * block);
    if (i % 2 == 0) {
      make_as_large("fast", fast_size + i * block);
    }
    EXPECT_THAT(resize(), succeeds());
    EXPECT_EQ(running->origin_size(), bytes{origin_size + i * block});
    const std::uint64_t enough = nr_done + 100;
    while (nr_done < enough && !HasFailure()) {
      std::this_thread::yield();
    }
  }
  is_over = true;
  for (std::thread &each : threads) {
    each.join();
  }
  EXPECT_EQ(running->status().cache_total, 40U);
  ASSERT_THAT(running->close(), succeeds());
}

// What is refused, with nothing changed.

TEST_F(live_resize_test, what_has_shrunk_is_not_taken_up) {
  start();
  fill_some();
  make_as_large("origin", origin_size - block);
  EXPECT_THAT(resize(),
              fails_with(failure::failed,
                         "the origin has 8323072 bytes, and had 8388608: to use it smaller, stop "
                         "the cache, and start it with --accept-resize"));
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(resize(), fails_with(failure::failed,
                                   "a device was made shorter while it was served: stop the cache, "
                                   "and bring the file back from a copy"));
  EXPECT_EQ(running->origin_size(), bytes{origin_size});
}

TEST_F(live_resize_test, a_smaller_fast_or_metadata_device_is_not_taken_up) {
  start();
  make_as_large("fast", fast_size - block);
  EXPECT_THAT(resize(), fails_with(failure::failed, "the fast device has 2031616 bytes, and had "
                                                    "2097152: to use it smaller, stop the cache, "
                                                    "and start it with --accept-resize"));
  make_as_large("metadata", 1 << 19);
  EXPECT_THAT(resize(), fails_with(failure::failed, "the metadata device has 524288 bytes, and had "
                                                    "1048576: make it as large as it was"));
}

TEST_F(live_resize_test, metadata_without_room_are_not_made_to_hold_more) {
  start();
  fill_some();
  make_as_large("fast", 40000 * block);
  EXPECT_THAT(resize(), fails_with(failure::failed,
                                   AllOf(HasSubstr("the metadata have 1024 KiB, too little for "
                                                   "40000 cache blocks: stop the cache, and "),
                                         HasSubstr("cache_restore"))));
  EXPECT_EQ(running->status().cache_total, 32U);
  expect_some_unchanged();
}

TEST_F(live_resize_test, nothing_is_done_if_it_can_not_be_announced) {
  start();
  fill_some();
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(running->resize([] { return fail(failure::environment, "nobody listens"); }),
              fails_with(failure::environment, "nobody listens"));
  EXPECT_EQ(running->origin_size(), bytes{origin_size});
  expect_some_unchanged();
}

TEST_F(live_resize_test, a_cache_that_is_kept_clean_to_be_stopped_stays_so) {
  start();
  fill_some();
  ASSERT_THAT(running->clean(cache_engine::afterwards::kept_clean), succeeds());
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(resize(), fails_with(failure::failed,
                                   "the cache is being cleaned, compared, changed or stopped: try "
                                   "again when that is done"));
  fill(0, block, 3);
  EXPECT_EQ(running->status().dirty, 0U);
}

TEST_F(live_resize_test, a_closed_cache_is_not_opened_for_it) {
  start();
  ASSERT_THAT(running->close(), succeeds());
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(resize(), fails_with(failure::failed, "the cache is shut down"));
  EXPECT_TRUE(running->is_closed());
}

// What fails on the way.

class failing_policy_test : public live_resize_test, public testing::WithParamInterface<int> {};

// A larger cache's policy is made twice: before anything is written, and when the metadata are.
INSTANTIATE_TEST_SUITE_P(at, failing_policy_test, testing::Values(1, 2));

TEST_P(failing_policy_test, what_can_not_be_opened_larger_is_served_as_before) {
  int nr_made = 0;
  options.make_policy = [&](std::string_view name,
                            const policy_geometry &geometry) -> result<std::unique_ptr<policy>> {
    if (geometry.nr_cache_blocks > 32 && ++nr_made == GetParam()) {
      return fail(failure::failed, "no policy for so many");
    }
    return make_policy(name, geometry);
  };
  start();
  fill_some();
  const std::uint64_t dirty = running->status().dirty;
  make_as_large("fast", 2 * fast_size);
  make_as_large("origin", 2 * origin_size);
  EXPECT_THAT(resize(), fails_with(failure::failed,
                                   "not resized, and served as before: no policy for so many"));
  EXPECT_EQ(running->status().cache_total, 32U);
  EXPECT_EQ(running->origin_size(), bytes{origin_size});
  EXPECT_EQ(running->status().dirty, dirty);
  EXPECT_FALSE(running->is_closed());
  expect_some_unchanged();
  fill(8 * block, 8 * block, 8);
  EXPECT_THAT(resize(), succeeds()) << "the next time";
  EXPECT_EQ(running->status().cache_total, 64U);
  stop_and_start();
  expect_some_unchanged();
  EXPECT_THAT(contents(8 * block, 8 * block), are_all(8));
}

TEST_F(live_resize_test, what_can_not_be_opened_at_all_is_closed_and_whole) {
  std::atomic<bool> is_refused = false;
  options.make_policy = [&](std::string_view name,
                            const policy_geometry &geometry) -> result<std::unique_ptr<policy>> {
    return is_refused ? fail(failure::failed, "no policy today") : make_policy(name, geometry);
  };
  start();
  fill_some();
  const std::uint64_t dirty = running->status().dirty;
  make_as_large("origin", 2 * origin_size);
  is_refused = true;
  std::thread client{[&] { // which waits, or comes too late
    std::vector<std::byte> into(block);
    while (!ask(operation::read, 0, block, into)) {
    }
  }};
  const auto why =
      fails_with(failure::failed, "no policy today; no policy today: the cache was shut "
                                  "down to be resized, and can't be opened again");
  EXPECT_THAT(resize(), why);
  client.join();
  EXPECT_TRUE(running->is_closed());
  EXPECT_EQ(ask(operation::flush, 0, 0), std::errc::no_such_device);
  EXPECT_THAT(running->clean(), fails_with(failure::failed, "the cache is shut down"));
  EXPECT_THAT(running->close(), why);
  running.reset();
  options = {};
  options.accepted.resized = true;
  start();
  EXPECT_EQ(running->status().dirty, dirty);
  expect_some_unchanged();
}

TEST_F(live_resize_test, what_can_not_be_shut_down_cleanly_is_closed_and_whole) {
  start();
  fill_some();
  make_as_large("origin", 2 * origin_size);
  {
    const file_limit meanwhile{0};
    EXPECT_THAT(resize(),
                fails_with(failure::environment,
                           AllOf(HasSubstr("not cleanly shut down: the metadata can't be written"),
                                 HasSubstr("can't be opened again"))));
  }
  EXPECT_TRUE(running->is_closed());
  EXPECT_THAT(running->close(), fails_with(failure::environment));
  running.reset();
  options = {};
  options.accepted.resized = true;
  start();
  expect_some_unchanged();
}

} // namespace
} // namespace dmcache
