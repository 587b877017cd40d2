// What is wrong with metadata, found while reading it. Damage is a value that is told as it is
// found, so that hostile input can't fill the memory with it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/units.h"

namespace dmcache {

// What is damaged. The caching layer adds what that means for the user.
enum class structure : std::uint8_t {
  superblock,
  mappings,
  dirty_bits,
  hints,
  discards,
  space_map,
};

// "mappings", "dirty bits", …
const char *name_of(structure part);

// A half-open range of an array's entries, a bitset's bits, or a tree's keys.
struct key_range {
  std::uint64_t begin;
  std::uint64_t end;

  bool operator==(const key_range &) const = default;
};

struct damage {
  structure in;
  bool fatal;                    // data or metadata can be lost by it, or has been
  metadata_block block;          // where it was found
  std::string path;              // from the root of the tree: "19 -> 231"; may be empty
  std::string fault;             // what is wrong there
  std::optional<key_range> lost; // what can't be read because of it
  bool io_error = false;         // the device failed, rather than its contents
};

class damage_sink {
 public:
  damage_sink() = default;
  damage_sink(const damage_sink &) = delete;
  damage_sink &operator=(const damage_sink &) = delete;
  virtual ~damage_sink() = default;

  virtual void found(const damage &finding) = 0;
};

// For those who don't care what is damaged, but may want to know whether anything is.
class damage_counter final : public damage_sink {
 public:
  void found(const damage & /*finding*/) override { ++nr_found_; }
  std::uint64_t nr_found() const { return nr_found_; }

 private:
  std::uint64_t nr_found_ = 0;
};

// The keys as a range of what the user counts in: each key stands for `per_key` of these, of which
// there are `limit` in all.
key_range scaled(key_range keys, std::uint64_t per_key, std::uint64_t limit);

// "block 231: bad checksum (19 -> 231)"
std::string describe(const damage &finding);

} // namespace dmcache
