// A cache's metadata in use, for tests: what an engine does with them, without any data.
#pragma once

#include <stdexcept>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/memory_device.h"
#include "caching/metadata/testing/stored_metadata.h"
#include "caching/online-metadata/online_metadata.h"

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
  using location = stored_mapping;
  using mapping_map = dmcache::mapping_map;

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

inline std::vector<std::uint64_t> set_in(const discard_set &discards) {
  std::vector<std::uint64_t> found;
  for (std::uint64_t block = 0; block < discards.nr_blocks(); ++block) {
    if (discards.test(block)) {
      found.push_back(block);
    }
  }
  return found;
}

} // namespace dmcache
