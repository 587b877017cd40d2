// What the metadata on a device say, read back in tests.
#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "caching/metadata/metadata_reader.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {

struct stored_mapping {
  std::uint64_t origin;
  bool dirty;

  bool operator==(const stored_mapping &) const = default;
};
using mapping_map = std::map<std::uint64_t, stored_mapping>; // by cache block

struct stored_metadata {
  superblock block;
  mapping_map mapped;
  std::vector<std::uint32_t> hints;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> discards;
  std::string damage; // a line for each piece of damage, leaks included
};

// Reads what `block` describes.
inline stored_metadata stored_on(device &on, const superblock &block) {
  class visitor final : public metadata_visitor {
   public:
    void mappings(std::span<const mapping> some) override {
      for (const mapping &each : some) {
        found.mapped[each.cached_in.value()] = {each.origin.value(), each.dirty};
      }
    }
    void hints(cache_block /*first*/, std::span<const le32> some) override {
      found.hints.insert(found.hints.end(), some.begin(), some.end());
    }
    void discards(std::uint64_t begin, std::uint64_t end) override {
      found.discards.emplace_back(begin, end);
    }

    stored_metadata found;
  };
  visitor reader;
  reader.found.block = block;
  collected_damage sink;
  progress quiet{true};
  block_usage usage{on.size()};
  read_metadata({on, usage, sink, quiet}, block, {.space_map = true}, reader);
  reader.found.damage = sink.text();
  for (const std::string &fault : faults_of(block)) {
    reader.found.damage += fault + "\n";
  }
  return std::move(reader.found);
}

// Reads what the device's own superblock describes. Throws if there is none.
inline stored_metadata stored_on(device &on) {
  const auto block = read_superblock(on);
  if (!block) {
    throw std::runtime_error{block.error().message};
  }
  return stored_on(on, *block);
}

// Does the same where nothing may be wrong.
inline stored_metadata sound_on(device &on) {
  stored_metadata found = stored_on(on);
  EXPECT_EQ(found.damage, "");
  return found;
}

} // namespace dmcache
