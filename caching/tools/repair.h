// cache_repair: sound metadata from what can be read of damaged metadata.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/report.h"
#include "caching/metadata/superblock.h"

namespace dmcache {

// What the user knows of the cache.
struct cache_facts {
  std::optional<std::uint32_t> data_block_size; // sectors
  std::optional<std::uint32_t> cache_blocks;
  std::optional<std::uint32_t> version;
  std::optional<std::string> policy;
};

// Opens the output of a repair. It is called only once it is known that there will be one.
using open_device = std::function<result<std::unique_ptr<device>>()>;

// Tells `to` what is damaged and what is lost by it, and writes the rest. What is unknown becomes
// dirty; after anything but a clean shutdown everything does, and hints and discards are left out.
// What only earlier versions of the metadata say is reported, and taken if `use_stale`. A
// superblock that can't be read is replaced by what `known` says and what is found on the device;
// one that can be read must agree with `known`.
result<> repair(device &from, const cache_facts &known, bool use_stale, const open_device &open,
                report &to);

// Answers with the mapping trees that are on the device, the one in force and earlier ones.
result<> list_roots(device &from, const cache_facts &known, report &to);

} // namespace dmcache
