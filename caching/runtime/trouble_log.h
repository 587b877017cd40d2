// What people are told of a cache's troubles, in lines of text, and not more often than is of use.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "caching/engine/instant.h"
#include "caching/engine/request.h"
#include "caching/engine/status.h"

namespace dmcache {

// What is wrong in this mode, and what to do about it. Empty if nothing is.
std::string_view trouble_of(metadata_mode mode);

// Chooses the lines. The first failure of a kind, which is a device and an operation, is told at
// once; those that follow are counted, and the last one is told after a pause. While the kind goes
// on failing pauses grow, lest a device that stays full fills the log as well.
class trouble_log {
 public:
  static constexpr instant shortest_pause = std::chrono::seconds{1};
  static constexpr instant longest_pause = std::chrono::minutes{1};

  // Each gives the lines that are to be told now, which most often are none.
  std::vector<std::string> failed(const engine_io &io, std::error_code why, instant now);
  // As time goes on. Also of the metadata, if their mode has changed.
  std::vector<std::string> due(metadata_mode mode, instant now);
  // At the end: all that is not told yet.
  std::vector<std::string> rest(metadata_mode mode);

 private:
  struct kind {
    std::uint64_t nr_untold = 0;
    std::string last; // of those
    instant pause{};
    instant pause_ends{};
  };

  static constexpr std::size_t nr_operations = 6;

  static std::string line_of(kind &which);
  static std::string line_of(kind &which, instant now);
  void add_mode(metadata_mode mode, std::vector<std::string> &to);

  std::array<kind, 3 * nr_operations> kinds_;
  std::string_view told_mode_;
};

} // namespace dmcache
