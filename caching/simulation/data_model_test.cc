#include "caching/simulation/data_model.h"

#include <gtest/gtest.h>

namespace dmcache {
namespace {

using kind = data_model::change_kind;

class data_model_test : public testing::Test {
 protected:
  change_id begin(kind how = kind::write) { return model.begin(how, {0, 4}); }
  change_id done(kind how = kind::write, bool is_durable = false) {
    const change_id made = begin(how);
    EXPECT_FALSE(model.end(made, true, is_durable));
    return made;
  }
  change_id failed() {
    const change_id made = begin();
    EXPECT_FALSE(model.end(made, false, false));
    return made;
  }
  void flush() { model.flushed(model.now()); }

  static stamp of(change_id change) { return change == 0 ? stamp{} : stamp{1, change}; }
  // Of sector 1.
  bool may_read(change_id change) { return may_read(change, model.next_change()); }
  bool may_read(change_id change, change_id before) {
    return !model.read(1, of(change), before).has_value();
  }
  bool survives(change_id change, bool are_discards_kept = false) {
    model.interrupt();
    return !model.survived(1, of(change), are_discards_kept).has_value();
  }

  data_model model{8};
};

TEST_F(data_model_test, a_read_gives_what_was_written_last) {
  EXPECT_TRUE(may_read(0));
  const change_id first = done();
  EXPECT_TRUE(may_read(first));
  EXPECT_FALSE(may_read(0));
  const change_id second = done();
  EXPECT_FALSE(may_read(first));
  EXPECT_TRUE(may_read(second));
  done(kind::zeroes);
  EXPECT_TRUE(may_read(0));
}

TEST_F(data_model_test, of_another_sector_nothing_is_right) {
  const change_id written = done();
  EXPECT_TRUE(model.read(1, {2, written}, model.next_change()));
}

TEST_F(data_model_test, a_read_does_not_see_what_is_submitted_after_it) {
  const change_id first = done();
  const change_id second = done();
  EXPECT_TRUE(may_read(first, second));
  EXPECT_FALSE(may_read(second, second));
}

TEST_F(data_model_test, a_failed_write_leaves_old_or_new_but_one_of_them) {
  const change_id first = done();
  const change_id second = failed();
  EXPECT_TRUE(may_read(first));
  EXPECT_FALSE(may_read(second)); // it was the other one
  EXPECT_TRUE(may_read(first));
  const change_id third = failed();
  EXPECT_TRUE(may_read(third));
  EXPECT_FALSE(may_read(first));
}

TEST_F(data_model_test, a_write_that_a_read_did_not_find_has_to_fail) {
  const change_id first = done();
  const change_id second = begin();
  EXPECT_TRUE(may_read(first));
  EXPECT_TRUE(model.end(second, true, false));
}

TEST_F(data_model_test, what_is_discarded_is_old_or_zero) {
  const change_id first = done();
  const change_id second = done();
  done(kind::discard);
  EXPECT_TRUE(may_read(0));
  EXPECT_TRUE(may_read(first));
  EXPECT_TRUE(may_read(second));
  EXPECT_TRUE(model.read(1, {2, first}, model.next_change()));
  const change_id third = done();
  EXPECT_FALSE(may_read(first));
  EXPECT_TRUE(may_read(third));
}

TEST_F(data_model_test, a_power_cut_takes_what_was_not_flushed_and_only_that) {
  const change_id first = done();
  flush();
  const change_id second = done();
  const change_id third = begin();
  for (const change_id each : {first, second, third}) {
    data_model copy = model;
    copy.interrupt();
    EXPECT_FALSE(copy.survived(1, of(each), false)) << each;
  }
  EXPECT_FALSE(survives(0));
}

TEST_F(data_model_test, a_kill_keeps_what_was_done_and_what_was_read_of_a_failed_write_if_told_so) {
  const change_id written = done();
  const change_id lost = failed();
  EXPECT_TRUE(may_read(lost));
  data_model copy = model;
  model.killed(true, true);
  EXPECT_FALSE(may_read(written));
  EXPECT_TRUE(may_read(lost));
  copy.killed(true, false);
  EXPECT_TRUE(copy.read(1, of(0), copy.next_change()));
  EXPECT_FALSE(copy.read(1, of(written), copy.next_change()));
}

TEST_F(data_model_test, what_has_survived_stays) {
  const change_id first = done();
  const change_id second = done();
  EXPECT_TRUE(survives(first));
  EXPECT_TRUE(may_read(first));
  EXPECT_FALSE(may_read(second));
  EXPECT_FALSE(survives(second));
  EXPECT_TRUE(survives(first));
}

TEST_F(data_model_test, a_flush_covers_what_had_ended_when_it_was_submitted) {
  const change_id first = done();
  flush();
  const change_id second = begin();
  const std::uint64_t submitted = model.now();
  EXPECT_FALSE(model.end(second, true, false));
  model.flushed(submitted);
  EXPECT_TRUE(survives(first));
}

TEST_F(data_model_test, fua_covers_the_write_itself) {
  const change_id first = done();
  const change_id second = done(kind::write, true);
  EXPECT_FALSE(survives(first));
  EXPECT_TRUE(survives(second));
}

TEST_F(data_model_test, what_a_device_has_lost_no_flush_covers) {
  const change_id first = done(kind::write, true);
  done();
  model.lost(model.now());
  flush();
  EXPECT_TRUE(survives(first));
}

TEST_F(data_model_test, zeroes_that_were_read_may_be_those_that_were_lost) {
  const change_id old = done();
  flush();
  done(kind::zeroes);
  EXPECT_TRUE(model.lost(model.now()));
  EXPECT_FALSE(model.end(begin(kind::zeroes), false, false));
  EXPECT_TRUE(may_read(0));
  flush();
  EXPECT_TRUE(survives(old));
}

TEST_F(data_model_test, discards_are_forgotten_by_a_power_cut_unless_they_are_kept) {
  const change_id first = done();
  const change_id second = done();
  done(kind::discard, true);
  EXPECT_TRUE(survives(first, true));
  EXPECT_TRUE(may_read(second));
  EXPECT_TRUE(survives(first, false));
  EXPECT_FALSE(may_read(second));
}

TEST_F(data_model_test, what_is_cut_off_comes_back_as_zeroes) {
  const change_id first = done(kind::write, true);
  model.resize(1);
  model.resize(8);
  EXPECT_FALSE(may_read(first));
  EXPECT_TRUE(may_read(0));
}

} // namespace
} // namespace dmcache
