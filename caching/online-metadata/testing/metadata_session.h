// A cache's metadata in use, for tests: what an engine does with them, without any data.
#pragma once

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "caching/metadata/metadata_reader.h"
#include "caching/online-metadata/online_metadata.h"
#include "persistent-data/testing/image_builder.h"

namespace dmcache {

inline constexpr sectors test_block_size{128};

// As many cache blocks, and origin blocks.
inline online_metadata::open_options devices(std::uint64_t nr_cache_blocks,
                                             std::uint64_t nr_origin_blocks = 10000) {
  return {.block_size = test_block_size,
          .fast_size = sectors{nr_cache_blocks * test_block_size.value()},
          .origin_size = sectors{nr_origin_blocks * test_block_size.value()}};
}

class metadata_session {
 public:
  struct location {
    std::uint64_t origin;
    bool dirty;

    bool operator==(const location &) const = default;
  };
  using mapping_map = std::map<std::uint64_t, location>; // by cache block

  // Throws what open() refuses.
  metadata_session(device &on, const online_metadata::open_options &options)
      : on_{on}, opened{opened_or_throw(on, options)} {}

  void map(std::uint64_t block, std::uint64_t origin) {
    opened.mappings->map(cache_block{block}, origin_block{origin});
    opened.metadata->changed(cache_block{block});
  }
  void unmap(std::uint64_t block) {
    opened.mappings->unmap(cache_block{block});
    opened.metadata->changed(cache_block{block});
  }
  void mark_dirty(std::uint64_t block) { opened.mappings->mark_dirty(cache_block{block}); }

  // False: the device failed.
  bool commit() {
    const auto made = opened.metadata->freeze();
    if (!made) {
      throw std::runtime_error{made.error().message};
    }
    return write(*made);
  }

  bool write(const online_metadata::commit &made) {
    bool is_good = true;
    for (const auto &each : made.blocks) {
      is_good = is_good && !transfer_and_wait(on_, io_request::operation::write,
                                              offset_of(each.where), each.data);
    }
    is_good = is_good && !on_.flush();
    is_good = is_good && write_superblock(made.superblock);
    if (is_good) {
      opened.metadata->committed();
    }
    return is_good;
  }

  bool write_superblock(std::span<std::byte> data) {
    return !transfer_and_wait(on_, io_request::operation::write, bytes{0}, data) && !on_.flush();
  }

  // How many commits it took; 0: the device failed.
  unsigned shut_down() {
    for (unsigned nr = 1;; ++nr) {
      const auto prepared = prepare();
      if (!prepared) {
        throw std::runtime_error{prepared.error().message};
      }
      if (!commit()) {
        return 0;
      }
      if (*prepared) {
        return nr;
      }
    }
  }

  result<bool> prepare() {
    return opened.metadata->prepare_shutdown(
        {*opened.discards, opened.statistics, "smq", {2, 0, 0}, [](cache_block block) {
           return hint_of(block);
         }});
  }

  static std::uint32_t hint_of(cache_block block) {
    return static_cast<std::uint32_t>(block.value() * 7 % 64);
  }

  mapping_map mappings() const {
    mapping_map found;
    const mapping_table &table = *opened.mappings;
    for (std::uint64_t i = 0; i < table.nr_cache_blocks(); ++i) {
      if (const cache_block block{i}; table.is_mapped(block)) {
        found[i] = {table.origin_of(block).value(), table.is_dirty(block)};
      }
    }
    return found;
  }

 private:
  static online_metadata::contents opened_or_throw(device &on,
                                                   const online_metadata::open_options &options) {
    auto opened = online_metadata::open(on, options);
    if (!opened) {
      throw std::runtime_error{opened.error().message};
    }
    return std::move(*opened);
  }

  device &on_;

 public:
  online_metadata::contents opened;
};

struct stored_metadata {
  superblock block;
  metadata_session::mapping_map mapped;
  std::vector<std::uint32_t> hints;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> discards;
  std::string damage; // all of it, a line each, leaks too
};

inline stored_metadata stored_on(device &on) {
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
  const auto block = read_superblock(on);
  if (!block) {
    throw std::runtime_error{block.error().message};
  }
  visitor reader;
  reader.found.block = *block;
  collected_damage sink;
  progress quiet{true};
  block_usage usage{on.size()};
  const walk_context context{on, usage, sink, quiet};
  read_metadata(context, *block, {.space_map = true}, reader);
  reader.found.damage = sink.text();
  for (const std::string &fault : faults_of(*block)) {
    reader.found.damage += fault + "\n";
  }
  return std::move(reader.found);
}

// The same where nothing may be wrong.
inline stored_metadata sound_on(device &on) {
  stored_metadata found = stored_on(on);
  EXPECT_EQ(found.damage, "");
  return found;
}

} // namespace dmcache
