#include "caching/engine/block_locks.h"

#include <deque>

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using operation = request::operation;

class block_locks_test : public testing::Test {
 protected:
  // A request for [begin, end) of a block, with its one piece.
  struct client {
    client(operation op, std::uint32_t begin, std::uint32_t end, std::uint64_t block = 7) {
      of.op = op;
      part().of = &of;
      part().block = origin_block{block};
      part().begin = begin;
      part().end = end;
    }
    piece &part() { return of.first; }
    request of;
  };

  flow<> hold(exclusion kind, bool &is_held, flow_event &until) {
    co_await locks.exclude(origin_block{7}, kind);
    is_held = true;
    co_await until;
    locks.release(origin_block{7});
    is_held = false;
  }

  void run_flows() {
    while (!ready.empty()) {
      ready.run_one();
    }
  }
  void start(flow<> started) {
    flows.start(std::move(started));
    run_flows();
  }

  ready_flows ready;
  block_locks locks{ready};
  flow_event finish{ready};
  flow_set flows;
};

TEST_F(block_locks_test, reads_share_a_range) {
  client one{operation::read, 0, 4096};
  client other{operation::read, 0, 4096};
  EXPECT_TRUE(locks.enter(one.part()));
  EXPECT_TRUE(locks.enter(other.part()));
}

TEST_F(block_locks_test, writes_share_a_block_but_no_range) {
  client one{operation::write, 0, 4096};
  client beside{operation::write, 4096, 8192};
  client over{operation::write, 4000, 4608};
  EXPECT_TRUE(locks.enter(one.part()));
  EXPECT_TRUE(locks.enter(beside.part()));
  EXPECT_FALSE(locks.enter(over.part()));
  locks.leave(one.part());
  EXPECT_EQ(locks.next_admitted(), nullptr);
  locks.leave(beside.part());
  EXPECT_EQ(locks.next_admitted(), &over.part());
}

TEST_F(block_locks_test, a_read_waits_for_the_write_before_it) {
  client write{operation::write, 0, 4096};
  client read{operation::read, 512, 1024};
  EXPECT_TRUE(locks.enter(write.part()));
  EXPECT_FALSE(locks.enter(read.part()));
  locks.leave(write.part());
  EXPECT_EQ(locks.next_admitted(), &read.part());
}

TEST_F(block_locks_test, nothing_overtakes_what_waits_for_its_range) {
  client first{operation::read, 0, 4096};
  client write{operation::write, 0, 4096};
  client late{operation::read, 0, 512};
  client elsewhere{operation::read, 8192, 8704};
  EXPECT_TRUE(locks.enter(first.part()));
  EXPECT_FALSE(locks.enter(write.part()));
  EXPECT_FALSE(locks.enter(late.part()));
  EXPECT_TRUE(locks.enter(elsewhere.part()));
  locks.leave(first.part());
  EXPECT_EQ(locks.next_admitted(), &write.part());
  EXPECT_EQ(locks.next_admitted(), nullptr);
  locks.leave(write.part());
  EXPECT_EQ(locks.next_admitted(), &late.part());
}

TEST_F(block_locks_test, other_blocks_are_not_held_up) {
  bool is_held = false;
  start(hold(exclusion::all, is_held, finish));
  client elsewhere{operation::write, 0, 4096, 8};
  EXPECT_TRUE(is_held);
  EXPECT_TRUE(locks.enter(elsewhere.part()));
}

TEST_F(block_locks_test, a_migration_waits_for_the_writes_in_flight_and_keeps_others_out) {
  client before{operation::write, 0, 512};
  client after{operation::write, 4096, 8192};
  client read{operation::read, 4096, 8192};
  EXPECT_TRUE(locks.enter(before.part()));
  bool is_held = false;
  start(hold(exclusion::writes, is_held, finish));
  EXPECT_FALSE(is_held);
  EXPECT_TRUE(locks.enter(read.part()));
  EXPECT_FALSE(locks.enter(after.part()));
  locks.leave(read.part());
  locks.leave(before.part());
  run_flows();
  EXPECT_TRUE(is_held);
  EXPECT_EQ(locks.next_admitted(), nullptr);
  finish.happen();
  run_flows();
  EXPECT_EQ(locks.next_admitted(), &after.part());
}

TEST_F(block_locks_test, the_switch_of_a_mapping_keeps_everything_out) {
  client read{operation::read, 0, 512};
  EXPECT_TRUE(locks.enter(read.part()));
  bool is_held = false;
  start(hold(exclusion::all, is_held, finish));
  EXPECT_FALSE(is_held);
  client late{operation::read, 4096, 8192};
  EXPECT_FALSE(locks.enter(late.part()));
  locks.leave(read.part());
  run_flows();
  EXPECT_TRUE(is_held);
}

TEST_F(block_locks_test, what_is_held_less_lets_reads_in_at_once) {
  client read{operation::read, 0, 512};
  client late{operation::read, 0, 512};
  client write{operation::write, 0, 512};
  bool is_held = false;
  start(hold(exclusion::all, is_held, finish));
  EXPECT_TRUE(is_held);
  EXPECT_FALSE(locks.enter(read.part()));
  locks.weaken(origin_block{7}, exclusion::writes);
  EXPECT_EQ(locks.next_admitted(), &read.part());
  EXPECT_TRUE(locks.enter(late.part()));
  EXPECT_FALSE(locks.enter(write.part()));
  finish.happen();
  run_flows();
}

TEST_F(block_locks_test, migrations_of_a_block_take_turns) {
  bool is_first = false;
  bool is_second = false;
  flow_event finish_second{ready};
  start(hold(exclusion::writes, is_first, finish));
  start(hold(exclusion::all, is_second, finish_second));
  EXPECT_TRUE(is_first);
  EXPECT_FALSE(is_second);
  finish.happen();
  run_flows();
  EXPECT_TRUE(is_second);
  EXPECT_TRUE(locks.has_migration(origin_block{7}));
  finish_second.happen();
  run_flows();
  EXPECT_FALSE(locks.has_migration(origin_block{7}));
}

TEST_F(block_locks_test, what_is_put_back_comes_before_what_waits) {
  client writer{operation::write, 0, 512};
  client waiting{operation::write, 0, 512};
  EXPECT_TRUE(locks.enter(writer.part()));
  EXPECT_FALSE(locks.enter(waiting.part()));
  bool is_held = false;
  start(hold(exclusion::all, is_held, finish));
  locks.put_back(writer.part());
  run_flows();
  EXPECT_TRUE(is_held);
  finish.happen();
  run_flows();
  EXPECT_EQ(locks.next_admitted(), &writer.part());
  EXPECT_EQ(locks.next_admitted(), nullptr);
}

TEST_F(block_locks_test, knows_any_number_of_blocks_apart) {
  constexpr std::uint64_t count = 5000;
  std::deque<client> ones;
  for (std::uint64_t block = 0; block < count; ++block) {
    EXPECT_TRUE(locks.enter(ones.emplace_back(operation::write, 0, 512, block << 20).part()));
  }
  for (std::uint64_t block = 0; block < count; ++block) {
    client late{operation::write, 0, 512, block << 20};
    EXPECT_FALSE(locks.enter(late.part())) << block;
    locks.leave(ones[block].part());
    EXPECT_EQ(locks.next_admitted(), &late.part());
    locks.leave(late.part());
  }
}

} // namespace
} // namespace dmcache
