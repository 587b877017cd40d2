// Which flushes of the data devices failed, and whom that concerns.
//
// A flush that fails may have lost for good what was written before it: the next one succeeds, and
// yet the data aren't there (engine.md, "A flush that fails"). So whoever relies on data being
// durable takes a mark before they are written, and asks afterwards whether anything has failed
// since. And each failure is told once to a client that flushes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "caching/engine/request.h"

namespace dmcache {

class flush_record {
 public:
  using mark = std::uint64_t; // a point in time

  // A write to the device has ended, or may have been left unflushed by who had it before.
  void wrote(cache_device on) { is_needed_.at(index_of(on)) = true; }
  // Is there anything that a flush would make durable?
  bool is_needed(cache_device on) const { return is_needed_.at(index_of(on)); }

  // A flush begins: it covers what was written until now, and if it fails, may lose all of that.
  void begin(cache_device on) {
    is_needed_.at(index_of(on)) = false;
    is_under_way_.at(index_of(on)) = true;
  }
  void ended(cache_device on) { is_under_way_.at(index_of(on)) = false; }
  // Is all durable that was written?
  bool is_all_durable(cache_device on) const {
    return !is_needed_.at(index_of(on)) && !is_under_way_.at(index_of(on));
  }
  // `is_loss`: clients may have lost by it what they were told is done. A flush of the fast device
  // that fails while nothing is dirty costs them nothing, since the origin has it all.
  void failed(cache_device on, bool is_loss = true) {
    is_needed_.at(index_of(on)) = true;
    nr_failed_fast_ += on == cache_device::fast ? 1U : 0U;
    nr_failed_ += is_loss ? 1U : 0U;
  }

  // Of the losses, and of all failures of the fast device.
  mark now() const { return nr_failed_; }
  mark fast_now() const { return nr_failed_fast_; }
  bool has_failed_since(mark before) const { return nr_failed_ != before; }
  bool has_fast_failed_since(mark before) const { return nr_failed_fast_ != before; }
  bool has_ever_failed() const { return nr_failed_ != 0; }

  // Has a flush failed of which no client that flushes has been told?
  bool is_any_untold() const { return told_ != nr_failed_; }
  void told() { told_ = nr_failed_; }
  // A write was acknowledged that was under way since `begun`. A flush that failed meanwhile may
  // have lost a part of it, of which whoever was told of that flush could not know.
  void acknowledged(mark begun) { told_ = told_ < begun ? told_ : begun; }

 private:
  static std::size_t index_of(cache_device on) { return static_cast<std::size_t>(on); }

  std::array<bool, 3> is_needed_{}; // by cache_device
  std::array<bool, 3> is_under_way_{};
  std::uint64_t nr_failed_ = 0; // losses
  std::uint64_t nr_failed_fast_ = 0;
  std::uint64_t told_ = 0; // of all that failed, those that clients know of
};

} // namespace dmcache
