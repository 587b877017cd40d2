// An allocation fails in the midst of the engine's work (caching/engine/engine.md, 1.7).
#include "base/testing/matchers.h"
#include "caching/simulation/cache_test.h"

namespace dmcache {
namespace {

class shortage_test : public cache_test {};

const auto no_memory = std::make_error_code(std::errc::not_enough_memory);

TEST_F(shortage_test, a_request_of_several_blocks_fails_and_nothing_else_does) {
  open();
  EXPECT_THAT(in->write(whole(1)), succeeds());
  in->submit(operation::write, part(2));
  in->fail_allocation_after(0);
  EXPECT_EQ(in->write(whole(1, 2)), no_memory);
  EXPECT_FALSE(in->is_down());
  ASSERT_TRUE(in->finish());
  in->read_everything();
  shut_down();
}

TEST_F(shortage_test, what_a_migration_lacks_ends_the_process_and_loses_nothing) {
  open();
  make_dirty(1);
  in->fail_allocation_after(0);
  in->submit(operation::read, part(2));
  ASSERT_TRUE(in->is_down());
  EXPECT_FALSE(in->is_power_cut());
  in->take_down();
  open();
  EXPECT_TRUE(is_cached(1));
  in->read_everything();
}

TEST_F(shortage_test, what_the_end_of_an_io_leads_to_ends_the_process_as_well) {
  open();
  in->submit(operation::read, part(2));
  in->fail_allocation_after(0);
  while (in->step()) {
  }
  EXPECT_TRUE(in->is_down());
  in->take_down();
  open();
  in->read_everything();
}

} // namespace
} // namespace dmcache
