#include "caching/policy/multi_queue.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace dmcache {

queue_nodes::queue_nodes(std::uint64_t count) : nodes_(count) {
  require(count <= queue_node::nr_links, "a link has room for the number of every node");
  for (std::uint32_t node = 0; node < count; ++node) {
    nodes_[node].set_next(node);
    nodes_[node].set_previous(node);
  }
}

void queue_nodes::link_before(std::uint32_t position, std::uint32_t node) {
  const std::uint32_t before = nodes_[position].previous();
  nodes_[node].set_next(position);
  nodes_[node].set_previous(before);
  nodes_[before].set_next(node);
  nodes_[position].set_previous(node);
}

void queue_nodes::unlink(std::uint32_t node) {
  const std::uint32_t before = nodes_[node].previous();
  const std::uint32_t after = nodes_[node].next();
  nodes_[before].set_next(after);
  nodes_[after].set_previous(before);
}

multi_queue::multi_queue(queue_nodes &nodes, std::uint32_t first_own, top narrowed)
    : nodes_{nodes}, first_own_{first_own}, narrowed_{narrowed} {
  for (std::uint32_t level = 0; level < nr_levels; ++level) {
    nodes_.link_before(head(level), sentinel(level, 0));
    nodes_.link_before(head(level), sentinel(level, 1));
  }
}

void multi_queue::link(std::uint32_t entry, std::uint32_t position, std::uint32_t level) {
  nodes_.link_before(position, entry);
  nodes_[entry].set_level(level);
}

void multi_queue::count_one(std::uint32_t level) {
  occupied_ |= std::uint64_t{1} << level;
  ++sizes_[level];
  ++size_;
}

void multi_queue::push(std::uint32_t entry, std::uint32_t level) {
  require(entry < first_own_ && level < nr_levels, "an entry and its level exist");
  link(entry, head(level), level);
  count_one(level);
}

void multi_queue::remove(std::uint32_t entry) {
  const std::uint32_t level = nodes_[entry].level();
  require(sizes_[level] > 0, "a level has the entries that are removed from it");
  nodes_.unlink(entry);
  --size_;
  if (--sizes_[level] == 0) {
    occupied_ &= ~(std::uint64_t{1} << level);
  }
}

multi_queue::aged_entry multi_queue::oldest_of(std::uint32_t level) const {
  aged_entry found{nodes_[head(level)].next(), 2};
  while (is_sentinel(found.entry)) {
    found = {nodes_[found.entry].next(), found.nr_newer_sentinels - 1};
  }
  return found;
}

multi_queue::aged_entry multi_queue::newest_of(std::uint32_t level) const {
  aged_entry found{nodes_[head(level)].previous(), 0};
  while (is_sentinel(found.entry)) {
    found = {nodes_[found.entry].previous(), found.nr_newer_sentinels + 1};
  }
  return found;
}

// The node of a level before which an entry of this age belongs: behind all that are as old.
std::uint32_t multi_queue::place_for(aged_entry aged, std::uint32_t level) const {
  switch (aged.nr_newer_sentinels) {
  case 0:
    return head(level);
  case 1:
    return sentinel(level, newer_sentinels_);
  default:
    return sentinel(level, 1 - newer_sentinels_);
  }
}

void multi_queue::move(aged_entry moved, std::uint32_t level) {
  remove(moved.entry);
  link(moved.entry, place_for(moved, level), level);
  count_one(level);
}

void multi_queue::requeue(std::uint32_t entry, std::uint32_t rise) {
  const std::uint32_t from = nodes_[entry].level();
  const std::uint32_t to = std::min(nr_levels - 1, from + rise);
  if (to != from && sizes_[to] == 0) {
    remove(entry);
    push(entry, to);
    return;
  }
  nodes_.unlink(entry); // no level gets more or fewer
  if (to != from) {
    const aged_entry down = oldest_of(to);
    nodes_.unlink(down.entry);
    link(down.entry, place_for(down, from), from);
  }
  link(entry, head(to), to);
}

std::optional<std::uint32_t> multi_queue::oldest(std::uint32_t end_level) const {
  const auto lowest = static_cast<std::uint32_t>(std::countr_zero(occupied_));
  if (lowest >= end_level) {
    return {};
  }
  return oldest_of(lowest).entry;
}

std::optional<std::uint32_t> multi_queue::oldest_before_sentinels() const {
  for (std::uint64_t left = occupied_; left != 0; left &= left - 1) {
    const auto level = static_cast<std::uint32_t>(std::countr_zero(left));
    const std::uint32_t first = nodes_[head(level)].next();
    if (!is_sentinel(first)) {
      return first;
    }
  }
  return {};
}

void multi_queue::rotate_sentinels() {
  newer_sentinels_ = 1 - newer_sentinels_;
  for (std::uint32_t level = 0; level < nr_levels; ++level) {
    nodes_.unlink(sentinel(level, newer_sentinels_));
    nodes_.link_before(head(level), sentinel(level, newer_sentinels_));
  }
}

std::uint32_t multi_queue::target_of(std::uint32_t level) const {
  const std::uint32_t nr_lower = nr_levels - narrowed_.levels;
  const std::uint32_t in_top = std::min(size_, narrowed_.max_entries);
  const bool is_top = level >= nr_lower;
  const std::uint32_t entries = is_top ? in_top : size_ - in_top;
  const std::uint32_t sharing = is_top ? narrowed_.levels : nr_lower;
  const std::uint32_t place = is_top ? level - nr_lower : level;
  return entries / sharing + (place < entries % sharing ? 1 : 0);
}

bool multi_queue::redistribute(std::uint32_t max_moves) {
  for (std::uint32_t level = 0; level < nr_levels; ++level) {
    const std::uint32_t target = target_of(level);
    while (sizes_[level] < target && occupied_from(level + 1) != 0) {
      if (max_moves-- == 0) {
        return false;
      }
      const int nearest = std::countr_zero(occupied_from(level + 1));
      move(oldest_of(static_cast<std::uint32_t>(nearest)), level);
    }
    while (sizes_[level] > target && level + 1 < nr_levels) {
      if (max_moves-- == 0) {
        return false;
      }
      move(newest_of(level), level + 1);
    }
  }
  return true;
}

} // namespace dmcache
