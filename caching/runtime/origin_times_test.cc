// The policy hears what reading the origin takes, from either runtime.

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/policy/multi_queue_policy.h"
#include "caching/runtime/file_runtime.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {
namespace {

using namespace std::chrono_literals;

constexpr std::uint64_t size_of_block = 64 << 10;
constexpr auto longest_wait = 30s;

struct heard_times {
  std::atomic<std::int64_t> miss = 0; // ns
  std::atomic<std::int64_t> block = 0;
};

// Promotes every other block.
class listening_policy final : public multi_queue_policy {
 public:
  listening_policy(std::uint64_t nr_cache_blocks, heard_times &heard)
      : multi_queue_policy{nr_cache_blocks}, heard_{heard} {}

  std::string_view name() const override { return "listening"; }
  std::optional<cache_block> miss(origin_block block, promotion possible) override {
    return possible == promotion::none || block.value() % 2 != 0 ? std::nullopt : reserve();
  }
  std::optional<background_work> next_demotion() override { return {}; }
  std::optional<background_work> next_work(bool /*is_idle*/) override { return {}; }
  void measured(const origin_read_times &times) override {
    heard_.miss = times.miss.count();
    heard_.block = times.block.count();
  }

 private:
  heard_times &heard_;
};

class origin_times_test : public testing::Test {
 protected:
  origin_times_test() {
    std::string name = testing::TempDir() + "/origin_times.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    paths_ = {make_file("metadata", 1 << 20), make_file("fast", 16 * size_of_block),
              make_file("origin", 64 * size_of_block)};
    options_.block_size = sectors{size_of_block / sector_size};
    options_.policy = "listening";
    options_.make_policy = [this](std::string_view /*name*/, const policy_geometry &geometry) {
      return result<std::unique_ptr<policy>>{
          std::make_unique<listening_policy>(geometry.nr_cache_blocks, heard_)};
    };
  }
  ~origin_times_test() override { std::filesystem::remove_all(folder_); }

  std::string make_file(const char *name, std::uint64_t size) const {
    std::string path = folder_ / name;
    std::ofstream{path}.flush();
    std::filesystem::resize_file(path, size);
    return path;
  }

  request read_of(std::uint64_t block) {
    request wanted;
    wanted.op = request::operation::read;
    wanted.offset = bytes{block * size_of_block};
    wanted.length = bytes{data_.size()};
    wanted.data = data_;
    return wanted;
  }
  bool has_heard() const { return heard_.miss != 0 && heard_.block != 0; }
  void expect_plausible_times() const {
    for (const std::int64_t time : {heard_.miss.load(), heard_.block.load()}) {
      EXPECT_GT(time, 0);
      EXPECT_LT(std::chrono::nanoseconds{time}, longest_wait);
    }
  }

  heard_times heard_;
  std::filesystem::path folder_;
  cache_paths paths_;
  engine_options options_;
  alignas(4096) std::array<std::byte, 4096> data_{};
};

TEST_F(origin_times_test, are_told_by_threads) {
  const auto opened = threaded_runtime::open(paths_, options_);
  ASSERT_THAT(opened, succeeds());
  ASSERT_THAT((*opened)->start(), succeeds());
  for (std::uint64_t block = 0; block < 4; ++block) {
    request wanted = read_of(block);
    EXPECT_THAT((*opened)->carry_out(wanted), succeeds());
  }
  for (const auto end = std::chrono::steady_clock::now() + longest_wait;
       !has_heard() && std::chrono::steady_clock::now() < end;) {
    std::this_thread::sleep_for(10ms);
  }
  expect_plausible_times();
  EXPECT_THAT((*opened)->close(), succeeds());
}

TEST_F(origin_times_test, are_told_by_an_event_loop) {
  unsigned nr_completed = 0;
  const auto opened =
      file_runtime::open(paths_, options_, [&](request & /*done*/) { ++nr_completed; });
  ASSERT_THAT(opened, succeeds());
  std::vector<request> reads;
  for (std::uint64_t block = 0; block < 4; ++block) {
    reads.push_back(read_of(block));
  }
  for (request &each : reads) {
    (*opened)->submit(each);
  }
  (*opened)->run_until([&] { return nr_completed == 4; });
  const auto end = std::chrono::steady_clock::now() + longest_wait;
  (*opened)->run_until([&] { return has_heard() || std::chrono::steady_clock::now() >= end; });
  expect_plausible_times();
  EXPECT_THAT((*opened)->close(), succeeds());
}

} // namespace
} // namespace dmcache
