// Lists of small numbers, and 64 of them as the levels of a multi-queue: the higher the level, the
// more an entry is worth; in each level the newest stands at the tail.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>
#include <vector>

namespace dmcache {

// Where an entry stands, in 8 bytes: there is one for every cache block.
class queue_node {
 public:
  static constexpr std::uint64_t nr_links = std::uint64_t{1} << 28;

  std::uint32_t next() const { return static_cast<std::uint32_t>(next_); }
  std::uint32_t previous() const { return static_cast<std::uint32_t>(previous_); }
  std::uint32_t level() const { return static_cast<std::uint32_t>(level_); }
  // What the state means is up to the node's owner.
  std::uint8_t state() const { return static_cast<std::uint8_t>(state_); }

  void set_next(std::uint32_t node) { next_ = node & (nr_links - 1); }
  void set_previous(std::uint32_t node) { previous_ = node & (nr_links - 1); }
  void set_level(std::uint32_t level) { level_ = level & 63; }
  void set_state(std::uint8_t state) { state_ = state & 3; }

 private:
  std::uint64_t next_ : 28;
  std::uint64_t previous_ : 28;
  std::uint64_t level_ : 6;
  std::uint64_t state_ : 2;
};
static_assert(sizeof(queue_node) == 8);

// Nodes that are linked to rings by their numbers. Each ring has one node, its head, that always
// stays.
class queue_nodes {
 public:
  // At first every node is a ring of its own.
  explicit queue_nodes(std::uint64_t count);

  queue_node &operator[](std::uint32_t node) { return nodes_[node]; }
  const queue_node &operator[](std::uint32_t node) const { return nodes_[node]; }

  // Requires that `node` is in no ring.
  void link_before(std::uint32_t position, std::uint32_t node);
  // Takes `node` out of its ring. Its links mean nothing then.
  void unlink(std::uint32_t node);

 private:
  std::vector<queue_node> nodes_;
};

// A level is a ring with a head and two sentinels, which tell three ages of entries apart: those
// older than both were there before the rotation before last. Entries that come to another level
// because others rise or levels are evened keep their age.
//
// Invariants: an entry is in the ring of its node's level; sizes_ counts the entries of each level,
// without sentinels, and a bit of occupied_ says whether there are any.
class multi_queue {
 public:
  static constexpr std::uint32_t nr_levels = 64;
  static constexpr std::uint32_t nr_own_nodes = 3 * nr_levels; // heads and sentinels

  // The topmost `levels` share at most `max_entries`; those below, the rest.
  struct top {
    std::uint32_t levels;
    std::uint32_t max_entries;
  };

  // `nodes`, which must outlive the queue, are shared with others; those from `first_own` on are
  // the queue's alone, and entries have smaller numbers.
  multi_queue(queue_nodes &nodes, std::uint32_t first_own, top narrowed = {0, 0});

  std::uint32_t size() const { return size_; }
  std::uint32_t size_of(std::uint32_t level) const { return sizes_[level]; }

  // Makes the entry, which must be in no ring, the newest of the level.
  void push(std::uint32_t entry, std::uint32_t level);
  void remove(std::uint32_t entry);
  // Makes the entry the newest of the level that is higher by `rise`, or of the highest one. The
  // oldest entry of that level comes down in exchange, unless it is the same level.
  void requeue(std::uint32_t entry, std::uint32_t rise);

  // The oldest entry of the lowest level that has any, if that level is below `end_level`.
  std::optional<std::uint32_t> oldest(std::uint32_t end_level = nr_levels) const;
  // The oldest entry of the lowest level that has any which were there before the rotation before
  // last.
  std::optional<std::uint32_t> oldest_before_sentinels() const;
  void rotate_sentinels();

  // Evens the levels: takes the oldest of a higher one for one that has too few, and pushes the
  // newest up where there are too many. False if more than `max_moves` are needed for that.
  bool redistribute(std::uint32_t max_moves);

 private:
  struct aged_entry {
    std::uint32_t entry;
    unsigned nr_newer_sentinels; // how many sentinels stand behind it
  };

  std::uint32_t head(std::uint32_t level) const { return first_own_ + level; }
  std::uint32_t sentinel(std::uint32_t level, std::uint32_t number) const {
    return first_own_ + nr_levels * (1 + number) + level;
  }
  bool is_sentinel(std::uint32_t node) const { return node >= first_own_ + nr_levels; }
  std::uint64_t occupied_from(std::uint32_t level) const {
    return level < nr_levels ? occupied_ & ~std::uint64_t{0} << level : 0;
  }

  aged_entry oldest_of(std::uint32_t level) const;
  aged_entry newest_of(std::uint32_t level) const;
  std::uint32_t place_for(aged_entry aged, std::uint32_t level) const;
  void link(std::uint32_t entry, std::uint32_t position, std::uint32_t level);
  void count_one(std::uint32_t level);
  void move(aged_entry moved, std::uint32_t level);
  std::uint32_t target_of(std::uint32_t level) const;

  queue_nodes &nodes_;
  std::uint32_t first_own_;
  top narrowed_;
  std::uint32_t newer_sentinels_ = 1; // which of the two stand further back
  std::uint32_t size_ = 0;
  std::uint64_t occupied_ = 0;
  std::array<std::uint32_t, nr_levels> sizes_{};
};

} // namespace dmcache
