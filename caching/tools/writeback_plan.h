// What cache_writeback is to copy, and what it leaves alone.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "caching/metadata/cache_contents.h"
#include "caching/tools/rescue_map.h"

namespace dmcache {

struct cache_block_range {
  cache_block begin;
  cache_block end;
};

struct writeback_choice {
  std::span<const cache_block_range> excluded{};
  const rescue_map *fast_map = nullptr; // which parts of the fast device could be read; null: all
  bytes fast_begin{};                   // where the cache blocks begin in what the map is about
};

// Each dirty block is in one of these.
struct writeback_plan {
  std::vector<cache_contents::location> to_copy; // in order of the origin
  std::vector<cache_block> discarded; // on the origin, so that nobody wants to have them there
  std::vector<cache_block> excluded;
  std::vector<cache_block> unreadable; // as the map has it

  std::size_t nr_dirty() const {
    return to_copy.size() + discarded.size() + excluded.size() + unreadable.size();
  }
  // How many must be copied some other way before the origin is complete.
  std::size_t nr_left_out() const { return excluded.size() + unreadable.size(); }
};

writeback_plan plan_writeback(const cache_contents &contents, const writeback_choice &chosen);

} // namespace dmcache
