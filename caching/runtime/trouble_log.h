// Decides what people are told about a cache's troubles, and how often.
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

// Says what is wrong in this mode and what to do about it. Empty if nothing is wrong.
std::string_view trouble_of(metadata_mode mode);

// Failures of the same operation on the same device are of one kind. The first of a kind is told at
// once. Those that follow are counted, and after a pause the last of them is told, with the count.
// While the failures go on the pauses grow, lest a device that stays full fills the log as well.
class trouble_log {
 public:
  static constexpr instant shortest_pause = std::chrono::seconds{1};
  static constexpr instant longest_pause = std::chrono::minutes{1};

  // Each of these returns the lines that are to be told now. Most often there are none.

  // To be called when an I/O failed.
  std::vector<std::string> failed(const engine_io &io, std::error_code error, instant now);
  // To be called now and then. If `mode` is another one than before, its trouble is told as well.
  std::vector<std::string> due(metadata_mode mode, instant now);
  // To be called at the end, for all that is not told yet.
  std::vector<std::string> rest(metadata_mode mode);

 private:
  struct kind {
    std::uint64_t nr_untold = 0;
    std::string last; // describes the last failure that is not told yet
    instant pause{};
    instant pause_ends{};
  };

  static constexpr std::size_t nr_operations = 6;

  static std::string line_of(kind &failing);
  static std::string line_of(kind &failing, instant now);
  void add_mode(metadata_mode mode, std::vector<std::string> &to);

  std::array<kind, 3 * nr_operations> kinds_;
  std::string_view told_mode_;
};

} // namespace dmcache
