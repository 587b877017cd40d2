#include "caching/runtime/threaded_runtime.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <random>
#include <thread>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "caching/runtime/testing/file_limit.h"
#include "caching/runtime/testing/runtime_fixture.h"

namespace dmcache {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using operation = request::operation;

class threaded_runtime_test : public runtime_fixture {
 protected:
  threaded_runtime_test() : runtime_fixture{300} {}

  void start() {
    runtime_fixture::start([this](const std::string &line) {
      EXPECT_LE(running->status().dirty, 32U); // no lock is in the way
      const std::scoped_lock lock{telling_};
      told_.push_back(line);
    });
  }
  void stop() {
    ASSERT_THAT(running->close(), succeeds());
    running.reset();
  }

  std::string refusal() const {
    const auto opened = threaded_runtime::open(paths, options);
    return opened ? "" : opened.error().message;
  }

  std::vector<std::string> told() {
    const std::scoped_lock lock{telling_};
    return told_;
  }

 private:
  std::mutex telling_;
  std::vector<std::string> told_; // troubles
};

TEST_F(threaded_runtime_test, keeps_what_was_written_over_a_clean_shutdown) {
  start();
  EXPECT_EQ(running->origin_size(), bytes{origin_size});
  fill(0, 3 * block, 1);
  fill(block + 512, 1024, 2);
  EXPECT_GT(running->status().cache_used, 0);
  stop();
  options.may_format = false;
  start();
  EXPECT_GT(running->status().cache_used, 0);
  EXPECT_THAT(contents(0, block + 512), Each(std::byte{1}));
  EXPECT_THAT(contents(block + 512, 1024), Each(std::byte{2}));
  EXPECT_THAT(contents(block + 1536, 2 * block - 1536), Each(std::byte{1}));
  ASSERT_THAT(running->clean(), succeeds());
  EXPECT_EQ(running->status().dirty, 0);
}

TEST_F(threaded_runtime_test, without_a_clean_shutdown_all_is_dirty) {
  start();
  fill(0, 8 * block, 1);
  ASSERT_THAT(running->clean(), succeeds());
  ASSERT_THAT(ask(operation::flush, 0, 0), succeeds());
  running.reset();
  start();
  EXPECT_GT(running->status().cache_used, 0);
  EXPECT_EQ(running->status().dirty, running->status().cache_used);
  EXPECT_THAT(contents(0, 8 * block), Each(std::byte{1}));
}

TEST_F(threaded_runtime_test, closes_once_and_then_refuses_requests) {
  start();
  EXPECT_THAT(running->close(), succeeds());
  EXPECT_THAT(running->close(), succeeds());
  std::vector<std::byte> data(512);
  EXPECT_THAT(ask(operation::read, 0, 512, data), fails_with(std::errc::no_such_device));
  EXPECT_THAT(ask(operation::flush, 0, 0), fails_with(std::errc::no_such_device));
}

TEST_F(threaded_runtime_test, can_be_closed_without_having_been_started) {
  auto opened = threaded_runtime::open(paths, options);
  ASSERT_THAT(opened, succeeds());
  EXPECT_THAT((*opened)->close(), succeeds());
}

TEST_F(threaded_runtime_test, goes_on_in_a_child_process) {
  auto opened = threaded_runtime::open(paths, options);
  ASSERT_THAT(opened, succeeds());
  const pid_t child = ::fork();
  if (child == 0) {
    running = std::move(*opened);
    const bool is_good =
        running->start() && !ask(operation::write_zeroes, 0, block) && running->close();
    ::_exit(is_good ? 0 : 1);
  }
  opened->reset();
  int status = -1;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  start();
  EXPECT_EQ(running->status().dirty, running->status().cache_used); // written, cleanly shut down
  EXPECT_EQ(running->status().statistics.write_misses, 1);
}

TEST_F(threaded_runtime_test, no_device_has_two_roles) {
  paths.origin.path = folder / "link";
  ASSERT_EQ(::symlink(paths.fast.path.c_str(), paths.origin.path.c_str()), 0);
  EXPECT_EQ(refusal(), "the fast device and the origin are the same device: " + paths.fast.path +
                           ", " + paths.origin.path);
}

TEST_F(threaded_runtime_test, no_device_is_in_use_twice) {
  start();
  EXPECT_THAT(refusal(), HasSubstr(paths.metadata.path + " is in use"));
  paths.metadata.path = make_file("other", 1 << 20);
  EXPECT_THAT(refusal(), HasSubstr(paths.fast.path + " is in use"));
}

TEST_F(threaded_runtime_test, zeroes_and_discards) {
  start();
  fill(0, 4 * block, 1);
  ASSERT_THAT(ask(operation::write_zeroes, 512, 2 * block), succeeds());
  EXPECT_THAT(contents(512, 2 * block), Each(std::byte{0}));
  ASSERT_THAT(ask(operation::discard, 3 * block, block), succeeds());
  EXPECT_EQ(contents(511, 1).front(), std::byte{1});
  EXPECT_EQ(contents(512 + 2 * block, 1).front(), std::byte{1});
  ASSERT_THAT(ask(operation::prefetch, 100 * block, block), succeeds());
}

TEST_F(threaded_runtime_test, nothing_is_written_read_only) {
  start();
  fill(0, block, 1);
  stop();
  options.read_only = true;
  start();
  EXPECT_THAT(contents(0, block), Each(std::byte{1}));
  std::vector<std::byte> data(512);
  EXPECT_THAT(ask(operation::write, 0, 512, data), fails_with(std::errc::read_only_file_system));
  stop();
}

TEST_F(threaded_runtime_test, a_request_that_failed_has_been_told) {
  options.policy = "cleaner"; // which promotes nothing to the fast device, where a write succeeds
  start();
  std::vector<std::byte> data(512);
  const file_limit limit{fast_size};
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(ask(operation::write, fast_size + 4096, 512, data),
                fails_with(std::errc::file_too_large));
    EXPECT_EQ(told().at(0), fmt::format("write of 512 bytes at {} of the origin: File too large",
                                        fast_size + 4096));
  }
  EXPECT_LE(told().size(), 2U); // the second one if all this took a second
  stop();
  EXPECT_THAT(told().back(), HasSubstr("of the origin: File too large"));
  EXPECT_GE(told().size(), 2U);
}

TEST_F(threaded_runtime_test, tells_what_cannot_be_written_back) {
  start();
  fill(fast_size, block, 1);
  ASSERT_EQ(running->status().dirty, 1U);
  const file_limit limit{fast_size};
  const std::string line =
      fmt::format("write of {} bytes at {} of the origin: File too large", block, fast_size);
  EXPECT_THAT(running->clean(), fails_with(failure::failed, "1 blocks are dirty still: " + line));
  EXPECT_THAT(told(), Contains(line));
}

TEST_F(threaded_runtime_test, tells_that_the_metadata_cannot_be_written) {
  start();
  fill(0, block, 1);
  {
    const file_limit only_superblock{4096};
    EXPECT_THAT(running->close(), fails());
  }
  EXPECT_EQ(running->status().mode_of_metadata, metadata_mode::read_only);
  EXPECT_THAT(told(), Contains(HasSubstr("of the metadata device: File too large")));
  EXPECT_THAT(told(), Contains(HasSubstr("run cache_check --clear-needs-check-flag")).Times(1));
}

TEST_F(threaded_runtime_test, a_hole_is_where_neither_device_has_anything) {
  start();
  fill(2 * block, block, 1); // cached, and a hole on the origin
  std::ofstream{paths.origin.path, std::ios::in}.seekp(4 * block) << "data" << std::flush;
  const auto found = running->extents(bytes{100}, bytes{origin_size - 100});
  ASSERT_EQ(found.size(), 5U);
  EXPECT_EQ(found[0], (origin_extent{bytes{2 * block - 100}, true}));
  EXPECT_EQ(found[1], (origin_extent{bytes{block}, false}));
  EXPECT_EQ(found[2], (origin_extent{bytes{block}, true}));
  EXPECT_FALSE(found[3].is_hole);
  EXPECT_TRUE(found[4].is_hole);
  std::uint64_t size = 100;
  for (const origin_extent &each : found) {
    size += each.length.value();
  }
  EXPECT_EQ(size, origin_size);
  stop();
}

TEST_F(threaded_runtime_test, after_the_end_no_extents_are_told) {
  start();
  EXPECT_THAT(running->close(), succeeds());
  EXPECT_TRUE(running->extents(bytes{0}, bytes{block}).empty());
}

// While they come into the cache, are written back and leave it.
TEST_F(threaded_runtime_test, blocks_that_were_written_are_never_holes) {
  constexpr std::uint64_t nr_threads = 4; // each with its own blocks
  start();
  std::atomic<unsigned> nr_running = nr_threads;
  std::vector<std::thread> threads;
  threads.reserve(nr_threads);
  for (std::uint64_t t = 0; t < nr_threads; ++t) {
    threads.emplace_back([this, t, &nr_running] {
      for (std::uint64_t i = 0; i < 300; ++i) {
        const std::uint64_t at = (i * nr_threads + t) * block % origin_size;
        EXPECT_THAT(ask(operation::discard, at, block), succeeds());
        fill(at, block, 1);
        for (int again = 0; again < 20; ++again) {
          const auto found = running->extents(bytes{at}, bytes{block});
          EXPECT_TRUE(found.size() == 1 && !found.front().is_hole) << i;
        }
      }
      --nr_running;
    });
  }
  while (nr_running != 0) {
    EXPECT_THAT(running->clean(), succeeds());
  }
  for (std::thread &each : threads) {
    each.join();
  }
  EXPECT_GT(running->status().counts.writebacks, 0U);
}

TEST_F(threaded_runtime_test, bytes_that_are_no_sectors) {
  start();
  fill(0, 2 * block, 1);
  fill(block - 700, 1400, 2);
  fill(100, 10, 3);
  ASSERT_THAT(ask(operation::write_zeroes, 1000, 3000), succeeds());
  ASSERT_THAT(ask(operation::discard, 5001, 510),
              succeeds()); // within two sectors, neither of them whole
  std::vector<std::byte> expected(2 * block, std::byte{1});
  std::fill_n(expected.begin() + block - 700, 1400, std::byte{2});
  std::fill_n(expected.begin() + 100, 10, std::byte{3});
  std::fill_n(expected.begin() + 1000, 3000, std::byte{0});
  EXPECT_EQ(contents(0, 2 * block), expected);
  EXPECT_EQ(contents(99, 12), std::vector(expected.begin() + 99, expected.begin() + 111));
}

// Each has its own bytes of the same sectors.
TEST_F(threaded_runtime_test, what_does_not_lie_within_the_origin_changes_nothing) {
  constexpr std::uint64_t last = ~std::uint64_t{0};
  start();
  fill(origin_size - 1024, 1024, 5);
  const auto refused = fails_with(std::errc::invalid_argument);
  std::vector<std::byte> data(1024, std::byte{6});
  for (const operation op : {operation::read, operation::write}) {
    EXPECT_THAT(ask(op, origin_size - 900, 901, data), refused);
    EXPECT_THAT(ask(op, origin_size - 512, 1024, data), refused);
    EXPECT_THAT(ask(op, last - 99, 300, data), refused); // whose end is 200
    EXPECT_THAT(ask(op, last - 511, 1024, data), refused);
  }
  for (const operation op : {operation::write_zeroes, operation::discard, operation::prefetch}) {
    EXPECT_THAT(ask(op, origin_size - 900, 901), refused);
    EXPECT_THAT(ask(op, 100, last - 50), refused); // whose end is 49
    EXPECT_THAT(ask(op, 512, last - 511), refused);
    EXPECT_THAT(ask(op, last, last), refused);
  }
  EXPECT_THAT(contents(origin_size - 1024, 1024), Each(std::byte{5}));
  EXPECT_THAT(running->extents(bytes{last - 511}, bytes{1024}), ElementsAre());
  EXPECT_THAT(running->extents(bytes{origin_size}, bytes{1}), ElementsAre());
  std::uint64_t covered = 0;
  for (const origin_extent &each : running->extents(bytes{512}, bytes{last})) {
    covered += each.length.value();
  }
  EXPECT_GT(covered, 0U);
  EXPECT_LE(covered, origin_size - 512);
  stop();
}

TEST_F(threaded_runtime_test, nobody_loses_bytes_beside_those_of_others) {
  constexpr std::uint64_t nr_threads = 4;
  constexpr std::uint64_t nr_slots = 64;
  constexpr std::uint64_t share = 100;
  start();
  std::vector<std::thread> threads;
  threads.reserve(nr_threads);
  for (std::uint64_t t = 0; t < nr_threads; ++t) {
    threads.emplace_back([this, t] {
      for (int round = 1; round <= 5; ++round) {
        for (std::uint64_t slot = 0; slot < nr_slots; ++slot) {
          fill((slot * nr_threads + t) * share, share, round * 16 + static_cast<int>(t));
        }
      }
    });
  }
  for (std::thread &each : threads) {
    each.join();
  }
  for (std::uint64_t i = 0; i < nr_slots * nr_threads; ++i) {
    EXPECT_THAT(contents(i * share, share), Each(std::byte(std::uint64_t{5} * 16 + i % nr_threads)))
        << i;
  }
}

TEST_F(threaded_runtime_test, whole_sectors_are_not_taken_back_by_a_write_to_a_part_of_them) {
  start();
  std::atomic<bool> is_over = false;
  std::thread beside{[&] {
    while (!is_over) {
      fill(512, 100, 7);
    }
  }};
  for (int round = 1; round <= 200; ++round) {
    fill(0, 1536, round);
    ASSERT_THAT(contents(612, 924), Each(std::byte(round)));
  }
  is_over = true;
  beside.join();
}

TEST_F(threaded_runtime_test, what_a_message_set_outlives_a_change_of_the_mode) {
  options.policy = "mq";
  options.policy_settings = {{"sequential_threshold", "1"}};
  start();
  EXPECT_THAT(running->message({"migration_threshold", "4096"}), succeeds());
  EXPECT_THAT(running->message({"random_threshold", "4"}), succeeds());
  EXPECT_THAT(running->message({"random_threshold", "5"}), succeeds());
  EXPECT_THAT(running->message({"random_threshold", "many"}), fails());
  EXPECT_THAT(
      running->reload([](engine_options &changed) { changed.mode = cache_mode::writethrough; }),
      succeeds());
  EXPECT_EQ(running->status().mode, cache_mode::writethrough);
  EXPECT_EQ(running->options().migration_threshold, sectors{4096});
  EXPECT_THAT(
      running->options().policy_settings,
      ElementsAre(std::pair{"sequential_threshold", "1"}, std::pair{"random_threshold", "5"}));
}

// Each changes something else, and finds it changed while the others are at it.
TEST_F(threaded_runtime_test, changes_made_at_a_time_are_all_made) {
  constexpr unsigned nr_rounds = 300;
  start();
  std::thread by_message{[&] {
    for (unsigned i = 1; i <= nr_rounds; ++i) {
      EXPECT_THAT(running->message({"migration_threshold", std::to_string(i)}), succeeds());
      EXPECT_EQ(running->options().migration_threshold, sectors{i});
    }
  }};
  std::thread by_reload{[&] {
    for (unsigned i = 1; i <= nr_rounds; ++i) {
      const bool wanted = i % 2 == 0;
      EXPECT_THAT(
          running->reload([wanted](engine_options &changed) { changed.discard_passdown = wanted; }),
          succeeds());
      EXPECT_EQ(running->options().discard_passdown, wanted);
    }
  }};
  for (unsigned i = 1; i <= nr_rounds; ++i) {
    const cache_mode wanted = i % 2 == 0 ? cache_mode::writeback : cache_mode::writethrough;
    EXPECT_THAT(running->reload([wanted](engine_options &changed) { changed.mode = wanted; }),
                succeeds());
    EXPECT_EQ(running->options().mode, wanted);
  }
  by_message.join();
  by_reload.join();
}

// Each thread has its own blocks, all of which compete for the cache, and knows what they hold.
TEST_F(threaded_runtime_test, many_threads_read_what_they_wrote) {
  constexpr std::uint64_t nr_threads = 8;
  constexpr std::uint64_t own = origin_size / nr_threads / 4096; // pages
  options.migration_threshold = sectors{1024};
  start();
  std::vector<std::thread> threads;
  threads.reserve(nr_threads);
  for (std::uint64_t t = 0; t < nr_threads; ++t) {
    threads.emplace_back([this, t] {
      std::mt19937 chance{static_cast<unsigned>(t)};
      std::vector<int> expected(own);
      for (int round = 0; round < 500; ++round) {
        const std::uint64_t page = chance() % own;
        // Pages of all threads lie side by side, in the same blocks.
        const std::uint64_t offset = (page * nr_threads + t) * 4096;
        if (chance() % 2 == 0) {
          expected[page] = static_cast<int>(chance() % 256);
          fill(offset, 4096, expected[page]);
        } else {
          ASSERT_EQ(contents(offset, 4096),
                    std::vector<std::byte>(4096, std::byte(expected[page])));
        }
        if (chance() % 200 == 0) {
          ASSERT_THAT(ask(operation::flush, 0, 0), succeeds());
        }
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    EXPECT_LE(running->status().dirty, running->status().cache_used);
    EXPECT_THAT(running->message({"migration_threshold", "2048"}), succeeds());
  }
  EXPECT_THAT(running->reload([](engine_options &changed) { changed.policy = "cleaner"; }),
              succeeds());
  for (std::thread &each : threads) {
    each.join();
  }
  stop();
}

} // namespace
} // namespace dmcache
