#include "caching/tools/damage_report.h"

#include <algorithm>

#include <fmt/format.h>

namespace dmcache {
namespace {

std::string range(key_range keys) {
  return keys.end - keys.begin == 1 ? fmt::format(" {}", keys.begin)
                                    : fmt::format("s {}-{}", keys.begin, keys.end - 1);
}

// "the mappings of cache blocks 509-1017 are lost"
std::string loss(structure in, key_range keys) {
  switch (in) {
  case structure::mappings:
    return fmt::format("; the mapping of cache block{} is lost", range(keys));
  case structure::dirty_bits:
    return fmt::format("; whether cache block{} is dirty is lost", range(keys));
  case structure::hints:
    return fmt::format("; the hint of cache block{} is lost", range(keys));
  case structure::discards:
    return fmt::format("; whether discard block{} is discarded is lost", range(keys));
  case structure::space_map:
    return fmt::format("; the reference count of block{} is lost", range(keys));
  case structure::superblock:
    break;
  }
  return {};
}

} // namespace

std::vector<key_range> merged(std::vector<key_range> sorted) {
  std::vector<key_range> merged;
  for (const key_range &each : sorted) {
    if (!merged.empty() && each.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, each.end);
    } else {
      merged.push_back(each);
    }
  }
  return merged;
}

void damage_report::found(const damage &finding) {
  ++nr_found_;
  nr_fatal_ += finding.fatal ? 1 : 0;
  has_io_error_ = has_io_error_ || finding.io_error;
  tally &mine = tallies_.at(static_cast<std::size_t>(finding.in));
  mine.found = true;
  mine.fatal = mine.fatal || finding.fatal;
  std::string text = describe(finding);
  if (finding.lost && finding.lost->begin < finding.lost->end) {
    mine.lost += finding.lost->end - finding.lost->begin;
    text += loss(finding.in, *finding.lost);
    if (finding.in == structure::mappings) {
      lost_mappings_.push_back(*finding.lost);
    }
  }
  to_.problem(text);
}

bool damage_report::is_confined_to(structure part) const {
  for (std::size_t i = 0; i < tallies_.size(); ++i) {
    if (tallies_.at(i).found && static_cast<structure>(i) != part) {
      return false;
    }
  }
  return nr_fatal_ == 0 && !has_io_error_;
}

std::vector<key_range> damage_report::lost_mappings() const {
  std::vector<key_range> sorted = lost_mappings_;
  std::ranges::sort(sorted, {}, &key_range::begin);
  return merged(std::move(sorted));
}

void damage_report::explain() {
  for (std::size_t i = 0; i < tallies_.size(); ++i) {
    if (tallies_.at(i).found) {
      to_.problem(meaning(static_cast<structure>(i), tallies_.at(i)));
    }
  }
}

std::string damage_report::meaning(structure part, const tally &of) const {
  switch (part) {
  case structure::superblock:
    return "the superblock can't be relied on: don't activate this cache";
  case structure::mappings:
    return of.lost == 0
               ? std::string{"the mappings contradict themselves: don't activate this cache, it "
                             "could serve wrong data"}
               : fmt::format("{} cache blocks are out of reach; what was dirty in them is not on "
                             "the origin: keep the fast device as it is, and don't activate",
                             of.lost);
  case structure::dirty_bits:
    return of.lost == 0 ? std::string{"the dirty bits contradict the mappings"}
                        : fmt::format("the dirty state of {} cache blocks is unknown: they must "
                                      "count as dirty (cache_dump --repair does so)",
                                      of.lost);
  case structure::hints:
    return "hints only tell the policy what was hot: no data is at stake";
  case structure::discards:
    return "discards only save work: no data is at stake";
  case structure::space_map:
    return of.fatal ? "the space map can't be relied on: metadata in use could be overwritten; "
                      "don't activate this cache"
                    : "the space map wastes space or has stale totals: no data is at stake";
  }
  return {};
}

} // namespace dmcache
