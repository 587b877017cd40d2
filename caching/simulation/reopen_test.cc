// From one life of a cache to the next: what has been wrong with that elsewhere is cases 3, 7, 11,
// 12 and 13 in caching/engine/engine.md, whose numbers stand before the tests.
#include <new>

#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class reopen_test : public cache_test, public testing::WithParamInterface<std::uint32_t> {
 protected:
  reopen_test() { metadata_version = GetParam(); }

  void use_blocks(std::uint64_t nr_cache_blocks) {
    in.reset();
    devices.fast_size = blocks(nr_cache_blocks);
    devices.origin_size = blocks(nr_cache_blocks + 10);
    devices.has_whole_sectors = false;
  }
  // Caches that many blocks, of which those are dirty.
  void fill(std::uint64_t count, const std::function<bool(std::uint64_t)> &is_dirty) {
    for (std::uint64_t block = 0; block < count; ++block) {
      EXPECT_THAT(is_dirty(block) ? in->write(whole(block)) : in->read(part(block)), succeeds());
      ASSERT_TRUE(in->settle());
    }
  }
};
INSTANTIATE_TEST_SUITE_P(versions, reopen_test, testing::Values(1U, 2U),
                         testing::PrintToStringParamName());

// 3.
TEST_P(reopen_test, a_start_that_failed_can_be_tried_again) {
  open();
  fill(4, [](std::uint64_t block) { return block % 2 == 0; });
  shut_down();
  simulated_device &metadata = in->device(cache_device::metadata);
  for (const bool is_read : {true, false}) {
    std::uint64_t nr_refused = 0;
    for (std::uint64_t number = 0; number < 30; ++number) {
      if (is_read) {
        metadata.fail_read_at(metadata.nr_reads() + number);
      } else {
        metadata.fail_at(metadata.nr_changes() + number);
      }
      if (!in->open(options())) {
        ++nr_refused;
        open();
      }
      metadata.clear_faults();
      in->read_everything();
      shut_down();
    }
    EXPECT_GE(nr_refused, 3U);
  }
}

// Killed when the superblock has been written, but not flushed: what stands there may be gone after
// the next power cut, and the one before must be whole then.
TEST_P(reopen_test, a_start_that_ends_in_a_power_cut_spoils_no_commit_that_it_finds_unflushed) {
  devices.nr_metadata_blocks = metadata_version == 1 ? 12 : 14; // each commit uses what is free
  for (std::uint64_t seed = 0; seed < 80; ++seed) {
    in.reset();
    devices.seed = seed;
    open();
    cache(1);
    EXPECT_THAT(in->flush(), succeeds());
    cache(2);
    in->submit(operation::flush, {});
    const auto nr_flushes = nr_ios(cache_device::metadata, engine_io::operation::flush);
    while (nr_ios(cache_device::metadata, engine_io::operation::flush) == nr_flushes &&
           in->step()) {
    }
    const auto nr_writes = nr_ios(cache_device::metadata, engine_io::operation::write);
    while (nr_ios(cache_device::metadata, engine_io::operation::write) == nr_writes && in->step()) {
    }
    in->kill();
    simulated_device &metadata = in->device(cache_device::metadata);
    metadata.cut_power_at(metadata.nr_changes() + seed % 8);
    static_cast<void>(in->open(options(), blocks(9))); // which rewrites the mappings
    in->cut_power();
    EXPECT_EQ(in->violation().value_or(""), "");
    EXPECT_TRUE(is_mapped_on_media(1));
  }
}

TEST_P(reopen_test, a_flush_covers_what_one_had_written_who_was_killed) {
  open();
  make_dirty(3);
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_THAT(in->write(part(3)), succeeds());
  in->kill();
  open();
  policy->promotes = false;
  in->read_everything();
  const auto before = nr_ios(cache_device::fast, engine_io::operation::flush);
  EXPECT_THAT(in->flush(), succeeds());
  EXPECT_EQ(nr_ios(cache_device::fast, engine_io::operation::flush), before + 1);
  in->cut_power();
}

// Its hints are older each second.
class aging_policy final : public obedient_policy {
 public:
  using obedient_policy::obedient_policy;
  void tick(std::uint64_t seconds) override { now_ = seconds; }
  std::uint32_t hint(cache_block /*block*/) const override {
    return static_cast<std::uint32_t>(now_);
  }

 private:
  std::uint64_t now_ = 0;
};

TEST_P(reopen_test, a_shutdown_that_takes_long_writes_the_hints_of_one_time) {
  constexpr instant slow = std::chrono::seconds{2};
  make();
  engine_options how = options();
  how.make_policy = [](std::string_view /*name*/, const policy_geometry &geometry) {
    return result<std::unique_ptr<dmcache::policy>>{
        std::make_unique<aging_policy>(geometry.nr_cache_blocks)};
  };
  ASSERT_THAT(in->open(how), succeeds());
  cache(3);
  in->carrier().set_latency(cache_device::metadata, {slow, slow, 0, {}});
  shut_down(); // the world compares
}

// 3, for the other kind of resume.
TEST_P(reopen_test, a_reload_without_memory_for_its_policy_changes_nothing) {
  open();
  cache(3);
  engine_options large = options(cache_mode::writethrough);
  large.make_policy = [](std::string_view /*name*/, const policy_geometry & /*geometry*/)
      -> result<std::unique_ptr<dmcache::policy>> { throw std::bad_alloc{}; };
  EXPECT_THAT(in->reload(large), fails_with(failure::environment));
  EXPECT_EQ(state().mode(), cache_mode::writeback);
  EXPECT_THAT(in->write(part(3)), succeeds());
  EXPECT_EQ(nr_dirty(), 1U);
}

TEST_P(reopen_test, a_reload_that_failed_can_be_tried_again) {
  open();
  make_dirty(3);
  engine_options wrong = options();
  wrong.policy = "none";
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(in->reload(options(cache_mode::passthrough)), fails_with(failure::failed));
    EXPECT_THAT(in->reload(wrong), fails_with(failure::usage));
    EXPECT_THAT(in->write(part(3)), succeeds());
  }
  EXPECT_THAT(in->reload(options(cache_mode::writethrough)), succeeds());
  EXPECT_EQ(nr_dirty(), 1U);
  EXPECT_THAT(in->write(part(3)), succeeds());
  in->read_everything();
}

// 7: an array block has 509 mappings in it.
TEST_P(reopen_test, mappings_on_both_sides_of_an_array_block_s_end_are_kept) {
  for (const std::uint64_t count : {509U, 510U, 511U, 1021U}) {
    use_blocks(count);
    open();
    fill(count, [](std::uint64_t block) { return block % 3 == 0; });
    shut_down();
    EXPECT_EQ(in->media().mappings.size(), count);
    open();
    EXPECT_EQ(state().mappings->nr_mapped(), count);
    EXPECT_TRUE(is_cached(count - 1));
    in->read_everything();
    shut_down();
  }
}

// 7: what is used twice, or by nobody, `check` tells.
TEST_P(reopen_test, no_metadata_block_is_released_twice_or_lost) {
  use_blocks(700);
  open();
  for (std::uint64_t i = 0; i < 700; i += 50) {
    for (std::uint64_t block = i; block < i + 50; ++block) {
      EXPECT_THAT(in->write(whole(block)), succeeds());
    }
    EXPECT_THAT(in->flush(), succeeds());
  }
  EXPECT_THAT(in->clean(), succeeds());
  for (std::uint64_t block = 0; block < 700; block += 7) {
    policy->demote(block);
  }
  in->advance(std::chrono::seconds{3});
  in->cut_power();
  EXPECT_EQ(in->media().mappings.size(), 600U);
}

// 11.
TEST_P(reopen_test, what_is_clean_is_clean_after_a_clean_shutdown_and_what_is_dirty_dirty) {
  open();
  fill(8, [](std::uint64_t block) { return block == 1 || block == 6; });
  shut_down();
  for (const mapping &each : in->media().mappings) {
    EXPECT_EQ(each.dirty, each.origin.value() == 1 || each.origin.value() == 6);
  }
  open();
  EXPECT_EQ(nr_dirty(), 2U);
  EXPECT_THAT(in->clean(), succeeds());
  shut_down();
  EXPECT_EQ(nr_dirty_on_media(), 0U);
  EXPECT_EQ(in->media().mappings.size(), 8U);
}

// 12: 64 bits make a word.
TEST_P(reopen_test, dirty_bits_are_right_at_the_end_of_a_word_and_past_it) {
  for (const std::uint64_t count : {1U, 63U, 64U, 65U, 128U, 129U}) {
    use_blocks(count);
    open();
    fill(count, [&](std::uint64_t block) { return block == count - 1 || block == 62; });
    shut_down();
    EXPECT_EQ(nr_dirty_on_media(), count == 64U || count == 65U || count >= 128U ? 2U : 1U);
    open();
    EXPECT_TRUE(state().mappings->is_dirty(cache_block{count - 1}));
    shut_down();
  }
}

// 12: bits of another size.
TEST_P(reopen_test, dirty_bits_are_right_after_the_fast_device_has_grown_and_shrunk) {
  use_blocks(64);
  open();
  fill(64, [](std::uint64_t block) { return block == 40; });
  shut_down();
  for (const std::uint64_t count : {200U, 65U, 64U, 63U, 41U}) {
    EXPECT_EQ(refusal(options(), blocks(count)), "");
    EXPECT_EQ(nr_dirty(), 1U);
    EXPECT_TRUE(state().mappings->is_dirty(cache_block{40}));
    shut_down();
    EXPECT_EQ(nr_dirty_on_media(), 1U);
  }
}

// 13.
TEST_P(reopen_test, hints_are_believed_of_the_same_policy_and_major_version_only) {
  tracking = dirty_tracking::at_shutdown;
  const auto hint_after = [&](const std::string &name, std::uint32_t version) {
    policy_name = name;
    policy_version = version;
    open();
    const auto hint = policy->loaded.at(0);
    return hint;
  };
  open();
  cache(5);
  shut_down();
  EXPECT_EQ(hint_after("obedient", 1), 1000U);
  shut_down();
  EXPECT_EQ(hint_after("obedient", 2), std::nullopt);
  shut_down();
  EXPECT_EQ(hint_after("another", 2), std::nullopt);
  shut_down();
  EXPECT_EQ(hint_after("another", 2), 1000U);
  in->cut_power();
  EXPECT_EQ(hint_after("another", 2), std::nullopt);
}

TEST_P(reopen_test, a_cache_keeps_its_policy_unless_it_is_told_another_and_a_new_one_has_sift) {
  const auto policy_after = [&](const std::string &told) {
    engine_options how = options();
    how.policy = told;
    EXPECT_THAT(in->open(how), succeeds());
    EXPECT_EQ(state().options.policy, state().policy->name());
    return state().options.policy;
  };
  make();
  EXPECT_EQ(policy_after(""), "sift");
  in->cut_power(); // before it was ever shut down
  EXPECT_EQ(policy_after(""), "sift");
  shut_down();
  for (const char *name : {"smq", "mq", "cleaner", "sift"}) {
    EXPECT_EQ(policy_after(name), name);
    shut_down();
    EXPECT_EQ(policy_after(""), name);
    shut_down();
  }
  EXPECT_EQ(policy_after("obedient"), "obedient");
  shut_down();
  EXPECT_EQ(policy_after(""), "smq") << "the name is of no policy of ours";
}

TEST_P(reopen_test, statistics_and_discards_are_kept_by_a_clean_shutdown) {
  open();
  cache(5);
  EXPECT_THAT(in->read(part(5)), succeeds());
  EXPECT_THAT(in->write(part(5)), succeeds());
  EXPECT_THAT(in->perform(operation::discard, whole(9, 2)), succeeds());
  shut_down();
  EXPECT_EQ(in->media().block.read_misses, 1U);
  EXPECT_EQ(in->media().block.read_hits, 1U);
  EXPECT_EQ(in->media().block.write_hits, 1U);
  EXPECT_EQ(in->media().discards, (std::vector<key_range>{{9, 11}}));
  open();
  EXPECT_TRUE(state().discards->test(9));
  EXPECT_FALSE(state().discards->test(8));
  EXPECT_EQ(state().statistics.read_hits, 1U);
}

} // namespace
} // namespace dmcache
