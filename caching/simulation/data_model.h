// What a cache may answer: for each sector, the contents that what was asked of the cache so far
// allows.
//
// Requests happen in the order of submission wherever they overlap and are not both reads. So a
// read gives, for each sector, what the last change before it made of it. A write that failed
// leaves old or new; but once that was read, it stays, durably if a flush follows. What was
// discarded is old, however old, or zero, until it is written again. After a power cut a sector
// holds any of the contents since the last one that a flush, or a FUA write, made durable.
//
// Where requests are of bytes, what is called a sector here is a part of one (sector_parts.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "caching/simulation/stamp.h"

namespace dmcache {

struct sector_range {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;

  std::uint64_t size() const { return end - begin; }
  bool contains(std::uint64_t sector) const { return sector >= begin && sector < end; }
};

class data_model {
 public:
  enum class change_kind : std::uint8_t { write, zeroes, discard };

  // All zero.
  explicit data_model(std::uint64_t nr_sectors);

  std::uint64_t nr_sectors() const { return sectors_.size(); }
  // Cuts off, or adds zeroes.
  void resize(std::uint64_t nr_sectors);

  // A change is submitted.
  change_id begin(change_kind kind, sector_range where);
  // Nothing of it is done yet, until it is let in.
  void hold(change_id id) { changes_[id].begun_at = ~std::uint64_t{0}; }
  void let_in(change_id id) { changes_[id].begun_at = time_++; }
  // It has ended. If that gives away that an earlier read was wrong, says so.
  std::optional<std::string> end(change_id id, bool is_done, bool is_durable);

  // It was refused: nothing of it has been done. If a read found any of it, says so.
  std::optional<std::string> refuse(change_id id);

  // What is submitted from now on has this number or a higher one.
  change_id next_change() const { return static_cast<change_id>(changes_.size()); }
  // Is this what a read may have found, of a sector, if it was submitted when next_change() was
  // `before`? If not, says why.
  std::optional<std::string> read(std::uint64_t sector, const stamp &found, change_id before);

  // A point in time: what ended before is durable if a flush that is submitted now succeeds.
  std::uint64_t now() const { return time_; }
  void flushed(std::uint64_t submitted_at);
  // A device gave up what it should have made durable by a flush begun then: later flushes don't
  // help. When the first of the changes that may be concerned had ended, if any has.
  std::optional<std::uint64_t> lost(std::uint64_t flush_began_at);
  // May that be so of this one, though it ended well?
  bool can_be_lost(change_id id) const { return changes_[id].can_be_lost; }

  // The engine is gone, the devices are not: what was under way is old or new, as if it had failed.
  // So is what was done and not flushed, unless that is known to be where the next engine looks. What
  // was read of a change that failed stays only if all that the engine read is there as well.
  void killed(bool is_done_kept, bool is_seen_kept);
  // The power was cut, or the engine is gone; then survived() is due for every sector.
  void interrupt();
  // This is what was left of the sector. If it may not be, says why. It stays so; unless the sector
  // is discarded and `are_discards_kept`.
  std::optional<std::string> survived(std::uint64_t sector, const stamp &found,
                                      bool are_discards_kept);

  // Is the change the last one of the sector that was submitted?
  bool is_last(change_id id, std::uint64_t sector) const;
  // May the sector hold anything because it was discarded?
  bool is_discarded(std::uint64_t sector) const;

 private:
  enum class state : std::uint8_t { pending, done, failed };

  struct change {
    change_kind kind{};
    state is{};
    bool must_fail = false;   // a read found that it had no effect
    bool can_be_lost = false; // though a flush succeeds
    sector_range where;
    std::uint64_t begun_at = 0;
    std::uint64_t ended_at = 0;
  };

  // A change of a sector that is not known to be durable. A list, in order of submission.
  struct link {
    change_id id = 0;
    std::uint32_t next = 0; // 0: none
  };

  struct sector_state {
    change_id durable = 0;      // no older contents are possible
    std::uint32_t first = 0;    // of the links; 0: none
    change_id seen = 0;         // what was read ...
    change_id seen_at_last = 0; // ... when this was the last change; 0: nothing of interest
    std::uint64_t seen_time = 0;
  };

  bool is_of(change_id id, std::uint64_t sector, const stamp &found, change_id before) const;
  bool was_written(std::uint64_t sector, const stamp &found, change_id before) const;
  void drop(sector_state &sector, change_id id);
  void cover(sector_state &sector, change_id durable);
  std::uint32_t new_link();
  std::string explain(std::uint64_t sector, const stamp &found, const char *claim) const;

  std::vector<sector_state> sectors_;
  std::vector<change> changes_; // by number
  std::vector<link> links_;
  std::uint32_t free_links_ = 0;
  std::vector<std::uint32_t> unflushed_; // sectors that have links; some that have none any more
  std::uint64_t time_ = 1;
};

} // namespace dmcache
