// The map file of GNU ddrescue: which parts of a device could be read, and which are to be looked at.
// The ddrescue manual, "Mapfile structure".
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace dmcache {

class rescue_map {
 public:
  // Adds a part, in bytes of the device; requires that no part before reaches into it. What lies
  // between two parts counts as untried.
  void add(bytes begin, bytes end, bool is_rescued);

  // Could every byte of this be read?
  bool is_rescued(bytes begin, bytes end) const;

  // As ddrescue and its fellows read it.
  std::string text() const;

 private:
  struct part {
    std::uint64_t begin;
    std::uint64_t end;
    bool is_rescued;
  };
  std::vector<part> parts_; // ascending, neighbours of one kind joined
};

// Reads the map file `path`. Fails with failure::environment if it can't be opened, and with
// failure::usage, naming the line, if it is no map file.
result<rescue_map> read_rescue_map(const std::string &path);

} // namespace dmcache
