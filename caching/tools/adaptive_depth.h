// How many transfers to have under way at a time. The more a device is asked for at once the quicker it
// may be, or the slower: an array of disks wants many, a disk behind a virtual machine's monitor may want
// one. So that is tried out while the work goes on.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

namespace dmcache {

class adaptive_depth {
 public:
  using instant = std::chrono::steady_clock::time_point;

  // Never more than `most`, which is at least 1.
  explicit adaptive_depth(std::size_t most);

  // So many transfers may be under way: at least one.
  std::size_t now() const { return tried_; }

  // A transfer of so many bytes has ended.
  void ended(std::uint64_t length, instant when);
  // The work goes on after a pause, which says nothing of the device.
  void resume();

 private:
  void judge(double rate);
  void try_next();
  void turn();
  void measure(std::size_t depth);

  std::size_t most_;
  std::size_t best_ = 1; // so far
  double best_rate_ = 0;
  std::size_t tried_ = best_;
  bool goes_up_ = true; // where the next one to be tried is
  unsigned rests_ = 0;  // measurements of the best one before another is tried

  // Of the measurement under way.
  std::size_t nr_ignored_ = 0;   // transfers still to end that began at another depth
  std::optional<instant> begin_; // when the one before the first that counts had ended
  std::uint64_t transferred_ = 0;
};

} // namespace dmcache
