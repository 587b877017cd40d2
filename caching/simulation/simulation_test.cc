// The simulation finds what is wrong: each defect of a device, and a policy that errs.
#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"
#include "caching/simulation/eager_policy.h"
#include "caching/simulation/history.h"

namespace dmcache {
namespace {

using defect = simulated_device::defect;

// Of so many histories, how many go wrong with this defect?
std::uint64_t nr_violations(defect broken, std::uint64_t histories) {
  std::uint64_t count = 0;
  for (std::uint64_t seed = 1; seed <= histories; ++seed) {
    count += history{{.seed = seed, .operations = 300, .broken = broken}}.run() ? 1U : 0U;
  }
  return count;
}

TEST(simulation_test, finds_nothing_wrong_with_good_devices) {
  EXPECT_EQ(nr_violations(defect::none, 20), 0U);
}

TEST(simulation_test, finds_devices_whose_flush_does_nothing) {
  EXPECT_GE(nr_violations(defect::flush_does_nothing, 40), 10U);
}

TEST(simulation_test, finds_devices_that_forget_flushed_sectors) {
  EXPECT_GE(nr_violations(defect::forgets_flushed_sectors, 20), 10U);
}

TEST(simulation_test, finds_devices_that_lose_a_write_now_and_then) {
  EXPECT_GE(nr_violations(defect::loses_writes, 20), 10U);
}

TEST(simulation_test, finds_devices_that_write_to_the_next_sector_now_and_then) {
  EXPECT_GE(nr_violations(defect::misplaces_writes, 20), 10U);
}

// It gives away a block that is in use.
class careless_policy final : public obedient_policy {
 public:
  using obedient_policy::obedient_policy;
  std::optional<cache_block> miss(origin_block block, promotion possible) override {
    return obedient_policy::miss(block, possible) ? std::optional{cache_block{0}} : std::nullopt;
  }
};

class simulation_death_test : public cache_test {};

TEST_F(simulation_death_test, finds_a_policy_that_gives_away_a_block_in_use) {
  make();
  engine_options how = options();
  how.make_policy = [](std::string_view /*name*/, const policy_geometry &geometry) {
    return result<std::unique_ptr<dmcache::policy>>{
        std::make_unique<careless_policy>(geometry.nr_cache_blocks)};
  };
  ASSERT_THAT(in->open(how), succeeds());
  EXPECT_THAT(in->read(part(1)), succeeds());
  ASSERT_TRUE(in->settle());
  EXPECT_DEATH(
      {
        static_cast<void>(in->read(part(2)));
        in->settle();
      },
      "a cache block holds one origin block");
}

TEST(simulation_test, is_the_same_for_the_same_seed) {
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    const history_options how{.seed = seed, .operations = 200, .broken = defect::loses_writes};
    EXPECT_EQ(history{how}.run(), history{how}.run());
  }
}

} // namespace
} // namespace dmcache
