// Caches that are used at random, on a metadata device that loses its power or fails at any write
// or flush: what stands there afterwards is the last commit, or the one that was on its way.

#include <cstdlib>
#include <random>

#include "base/testing/matchers.h"
#include "base/testing/simulated_device.h"
#include "caching/online-metadata/testing/metadata_session.h"

namespace dmcache {
namespace {

using mapping_map = metadata_session::mapping_map;

// What a device may hold.
struct state {
  std::uint64_t cache_blocks = 0;
  bool is_clean = false;
  mapping_map mapped; // all dirty, unless clean

  bool operator==(const state &) const = default;
};

state stored_state(std::vector<std::byte> image) {
  memory_device on{std::move(image)};
  stored_metadata stored = sound_on(on);
  return {stored.block.cache_blocks, stored.block.is_clean(), std::move(stored.mapped)};
}

mapping_map all_dirty(mapping_map mapped) {
  for (auto &[block, its] : mapped) {
    its.dirty = true;
  }
  return mapped;
}

class random_use {
 public:
  random_use(std::uint64_t seed, std::uint32_t version) : chance_{seed}, version_{version} {
    memory_device on{bytes{device_blocks * metadata_block_size}};
    const metadata_session session{on, options(max_cache_blocks)};
    image_.assign(on.contents().begin(), on.contents().end());
    durable_ = stored_state(image_);
  }

  // Uses the cache until it is shut down or the device fails.
  void use() {
    simulated_device on{image_, chance_()};
    const std::uint64_t when = chance_() % 300;
    if (chance_() % 2 == 0) {
      on.cut_power_at(when);
    } else {
      on.fail_at(when);
    }
    possible_ = {durable_};
    run(on);
    image_ = on.after_power_cut();
    const state left = stored_state(image_);
    ASSERT_TRUE(std::ranges::find(possible_, left) != possible_.end());
    saw_old_ = saw_old_ || (possible_.size() == 2 && left == possible_[0]);
    saw_new_ = saw_new_ || (possible_.size() == 2 && left == possible_[1]);
    durable_ = left;
    clear_needs_check();
  }

  bool saw_all() const { return saw_old_ && saw_new_ && saw_clean_ && saw_given_up_; }

 private:
  static constexpr std::uint64_t device_blocks = 40;
  static constexpr std::uint64_t max_cache_blocks = 3000;

  online_metadata::open_options options(std::uint64_t nr_cache_blocks) const {
    auto made = devices(nr_cache_blocks);
    made.format_version = version_;
    return made;
  }

  void run(simulated_device &on) {
    const auto session = open(on);
    if (!session) {
      return;
    }
    for (std::uint64_t left = chance_() % 400; left > 0; --left) {
      change(*session);
      if (chance_() % 20 == 0 && !commit(*session, false)) {
        return;
      }
    }
    if (chance_() % 2 != 0) {
      return;
    }
    for (bool is_last = false; !is_last;) {
      is_last = session->prepare().value();
      if (!commit(*session, is_last)) {
        return;
      }
    }
    saw_clean_ = true;
  }

  // Nothing if the device failed; what is dirty and in the way is not.
  std::unique_ptr<metadata_session> open(simulated_device &on) {
    const std::uint64_t smaller = 1 + chance_() % max_cache_blocks;
    for (const std::uint64_t size : {smaller, durable_.cache_blocks, max_cache_blocks}) {
      state opened = durable_;
      opened.cache_blocks = size;
      std::erase_if(opened.mapped, [&](const auto &each) { return each.first >= size; });
      opened.mapped = all_dirty(std::move(opened.mapped));
      opened.is_clean = false;
      try {
        auto session = std::make_unique<metadata_session>(on, options(size));
        EXPECT_EQ(all_dirty(session->mappings()), opened.mapped);
        possible_ = {opened};
        return session;
      } catch (const std::runtime_error &why) {
        if (std::string_view{why.what()}.find("lie beyond") == std::string_view::npos) {
          possible_.push_back(opened);
          return {};
        }
      }
    }
    throw std::logic_error{"a cache of the old size is never refused"};
  }

  void change(metadata_session &session) {
    const mapping_table &table = *session.opened.mappings;
    const cache_block block{chance_() % table.nr_cache_blocks()};
    if (!session.opened.metadata->has_room_for(block)) {
      return;
    }
    if (table.is_mapped(block) && chance_() % 2 == 0) {
      session.unmap(block.value());
    } else if (table.is_mapped(block)) {
      table.is_dirty(block) ? session.opened.mappings->mark_clean(block)
                            : session.mark_dirty(block.value());
    } else if (const std::uint64_t origin = chance_() % 5000; !table.find(origin_block{origin})) {
      session.map(block.value(), origin);
    }
  }

  // Of which the possible states become the one before and this one; only this one, if it is
  // durable.
  bool commit(metadata_session &session, bool is_clean) {
    auto mapped = session.mappings();
    const auto made = session.opened.metadata->freeze();
    if (!made) {
      throw std::logic_error{made.error().message};
    }
    const state next{session.opened.mappings->nr_cache_blocks(), is_clean,
                     is_clean ? std::move(mapped) : all_dirty(std::move(mapped))};
    if (!is_clean) {
      change(session); // of the next commit
    }
    const state before = possible_.front();
    possible_.push_back(next);
    if (session.write(*made)) {
      possible_ = {next};
      return true;
    }
    if (session.write_superblock(session.opened.metadata->abort())) {
      possible_ = {before};
      saw_given_up_ = true;
    }
    return false;
  }

  // As somebody would who has checked the metadata.
  void clear_needs_check() {
    memory_device on{image_};
    auto block = read_superblock(on);
    if (block && block->is_needs_check()) {
      block->flags = block->flags & ~superblock::needs_check;
      ASSERT_THAT(commit_superblock(on, *block), succeeds());
      image_.assign(on.contents().begin(), on.contents().end());
    }
  }

  std::mt19937_64 chance_;
  std::uint32_t version_;
  std::vector<std::byte> image_;
  state durable_;
  std::vector<state> possible_;
  bool saw_old_ = false;
  bool saw_new_ = false;
  bool saw_clean_ = false;
  bool saw_given_up_ = false;
};

class power_test : public testing::TestWithParam<std::uint32_t> {};

INSTANTIATE_TEST_SUITE_P(versions, power_test, testing::Values(1, 2));

TEST_P(power_test, the_last_commit_or_the_one_on_its_way_is_what_is_left) {
  const char *wanted = std::getenv("DMCACHE_SEED");
  const std::uint64_t seed = wanted ? std::stoull(wanted) : std::random_device{}();
  SCOPED_TRACE(fmt::format("DMCACHE_SEED={} repeats this", seed));
  random_use cache{seed, GetParam()};
  for (int round = 0; round < 50; ++round) {
    ASSERT_NO_FATAL_FAILURE(cache.use()) << "round " << round;
  }
}

TEST_P(power_test, either_is_seen_and_so_is_all_else_that_can_happen) {
  random_use cache{1, GetParam()};
  for (int round = 0; round < 100 && !cache.saw_all(); ++round) {
    ASSERT_NO_FATAL_FAILURE(cache.use()) << "round " << round;
  }
  EXPECT_TRUE(cache.saw_all());
}

} // namespace
} // namespace dmcache
