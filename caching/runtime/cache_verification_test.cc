#include "caching/runtime/cache_verification.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"

namespace dmcache {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t block = 128 * sector_size;

// Of what take_found() gives.
MATCHER_P(is_origin_block, number, "") {
  return arg.block == origin_block{static_cast<std::uint64_t>(number)};
}

// A cache in writeback mode in which some blocks are cached, and dirty unless they are cleaned.
class cache_verification_test : public testing::Test {
 protected:
  cache_verification_test() {
    std::string name = testing::TempDir() + "/cache_verification.XXXXXX";
    folder_ = ::mkdtemp(name.data());
    engine_options options;
    options.block_size = sectors{block / sector_size};
    options.policy = "smq";
    options.cleaning = cleaning_trigger::on_request;
    auto opened =
        threaded_runtime::open({make_file("metadata", 1 << 20), make_file("fast", 32 * block),
                                make_file("origin", 128 * block)},
                               options);
    EXPECT_THAT(opened, succeeds());
    running = std::move(*opened);
    EXPECT_THAT(running->start(), succeeds());
  }
  ~cache_verification_test() override {
    running.reset();
    std::filesystem::remove_all(folder_);
  }

  void write(std::initializer_list<std::uint64_t> blocks) {
    for (const std::uint64_t each : blocks) {
      std::vector data(block, std::byte(each));
      request wanted;
      wanted.op = request::operation::write;
      wanted.offset = bytes{each * block};
      wanted.length = bytes{block};
      wanted.data = data;
      ASSERT_THAT(running->carry_out(wanted), succeeds());
    }
    ASSERT_EQ(running->status().dirty, blocks.size());
  }
  void clean() { ASSERT_THAT(running->clean(), succeeds()); }
  // Of all of the block, behind the cache's back.
  void fill_on_origin(std::uint64_t number, char with) {
    std::fstream file{folder_ / "origin", std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(static_cast<std::streamoff>(number * block));
    file << std::string(block, with);
    ASSERT_TRUE(file.flush());
  }
  verification_summary verify(const verification_options &how = {}) {
    cache_verification work{*running, how};
    const auto done = work.run();
    EXPECT_THAT(done, succeeds());
    EXPECT_EQ(work.nr_compared(), work.nr_blocks());
    found = work.take_found();
    return done.value_or(verification_summary{});
  }

  std::unique_ptr<threaded_runtime> running;
  std::vector<compared_block> found;

 private:
  std::string make_file(const char *name, std::uint64_t size) const {
    std::string path = folder_ / name;
    std::ofstream{path}.flush();
    std::filesystem::resize_file(path, size);
    return path;
  }

  std::filesystem::path folder_;
};

TEST_F(cache_verification_test, finds_what_has_changed_behind_the_cache) {
  write({3, 9, 2, 5});
  clean();
  EXPECT_EQ(verify().clean, 4U);
  EXPECT_THAT(found, IsEmpty());
  fill_on_origin(9, 'x');
  fill_on_origin(2, 'x');
  const auto summary = verify();
  EXPECT_EQ(summary.clean_differing, 2U);
  EXPECT_EQ(summary.stale_left, 2U);
  EXPECT_THAT(found, ElementsAre(is_origin_block(2), is_origin_block(9)));
}

TEST_F(cache_verification_test, drops_what_is_stale_unless_most_is) {
  write({1, 2, 3, 4});
  clean();
  for (const std::uint64_t each : {1U, 2U, 3U}) {
    fill_on_origin(each, 'x');
  }
  const auto refused = verify({.drop_stale = true});
  EXPECT_TRUE(refused.is_drop_refused);
  EXPECT_EQ(refused.dropped, 0U);
  EXPECT_EQ(refused.stale_left, 3U);
  const auto forced = verify({.drop_stale = true, .accepts_differing = true});
  EXPECT_EQ(forced.dropped, 3U);
  EXPECT_EQ(forced.stale_left, 0U);
  EXPECT_EQ(running->status().cache_used, 1U);
  fill_on_origin(4, 'x');
  write({5, 6});
  clean();
  EXPECT_EQ(verify({.drop_stale = true}).dropped, 1U);
}

TEST_F(cache_verification_test, clears_what_is_equal_and_drops_nothing_dirty) {
  write({1, 2});
  fill_on_origin(2, 2);
  EXPECT_EQ(verify().dirty_equal, 1U);
  EXPECT_EQ(running->status().dirty, 2U);
  const auto summary = verify({.clear_equal = true, .drop_stale = true, .accepts_differing = true});
  EXPECT_THAT(found, ElementsAre(is_origin_block(2)));
  EXPECT_EQ(summary.dirty, 2U);
  EXPECT_EQ(summary.cleared, 1U);
  EXPECT_EQ(running->status().dirty, 1U);
  EXPECT_EQ(running->status().cache_used, 2U);
}

TEST_F(cache_verification_test, ends_when_it_is_stopped_or_the_cache_is) {
  write({1});
  cache_verification stopped{*running, {}};
  stopped.stop();
  EXPECT_THAT(stopped.run(), fails_with(failure::failed, "stopped"));
  EXPECT_THAT(running->close(), succeeds());
  cache_verification late{*running, {}};
  EXPECT_THAT(late.run(), fails_with(failure::failed, "the cache is shut down"));
}

} // namespace
} // namespace dmcache
