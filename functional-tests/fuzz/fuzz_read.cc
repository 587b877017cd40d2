// What is fuzzed: cache_check, cache_dump and cache_repair, in all their ways, and the engine, on
// whatever image an input says. None crashes, hangs or takes memory without bound, and they agree
// with each other: what is repaired is sound, and has the mappings of what was sound.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/assert.h"
#include "base/lent_device.h"
#include "base/memory_device.h"
#include "caching/tools/check.h"
#include "caching/tools/dump.h"
#include "caching/tools/repair.h"
#include "functional-tests/fuzz/engine_life.h"
#include "functional-tests/fuzz/sparse_image.h"

namespace dmcache::fuzz {
namespace {

result<metadata_device> metadata_of(device &image) {
  return read_metadata_device(std::make_unique<lent_device>(image));
}

bool dumps(device &image, const dump_options &options, report &to) {
  const auto nowhere = [] { return output_file::create("/dev/null"); };
  return dump(metadata_of(image).value(), options, nowhere, to).has_value();
}

bool is_sound(device &image, report &to) {
  auto metadata = metadata_of(image);
  return metadata && check(std::move(*metadata), {}, to) == 0;
}

// Can the image be repaired? If so, the output must be sound, and a cache can live on.
bool repairs(device &image, const cache_facts &known, bool use_stale, report &to) {
  // Hints may never have been written, and the space map may be smaller than it should.
  const std::uint64_t room = 2 * image.size().value() / metadata_block_size + 64;
  memory_device output{bytes{room * metadata_block_size}};
  const auto open = [&]() -> result<std::unique_ptr<device>> {
    return std::make_unique<lent_device>(output);
  };
  const auto done = repair(image, known, use_stale, open, to);
  require(!done || is_sound(output, to), "what was repaired is sound");
  if (done) {
    live(output.contents());
  }
  require(done || !read_superblock(output), "what could not be repaired leaves no metadata");
  return done.has_value();
}

// Repairs the image as if the superblock were lost, and only the sizes in it known.
void search(memory_device &image, const superblock &block, report &to) {
  cache_facts known;
  known.cache_blocks = block.cache_blocks;
  known.data_block_size = is_legal_data_block_size(block.data_block_size)
                              ? std::uint32_t{block.data_block_size}
                              : min_data_block_size;
  [[maybe_unused]] const auto listed = list_roots(image, {}, to);
  std::ranges::fill(image.contents().first(metadata_block_size), std::byte{});
  repairs(image, known, false, to);
  repairs(image, known, true, to);
}

void read(memory_device &image) {
  const auto metadata = metadata_of(image);
  if (!metadata) {
    return;
  }
  report quiet{"fuzz", true};
  const bool sound = is_sound(image, quiet);
  require(dumps(image, {}, quiet) || !sound, "what a check finds sound is dumped");
  const bool repaired = dumps(image, {.repair = true, .as_stored = true}, quiet);
  require(repaired || !is_legal_data_block_size(metadata->block.data_block_size),
          "a repairing dump fails only without a block size");
  require(repairs(image, {}, false, quiet) || !sound, "what a check finds sound is repaired");
  repairs(image, {}, true, quiet);
  search(image, metadata->block, quiet);
}

} // namespace
} // namespace dmcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  using namespace dmcache::fuzz;
  dmcache::memory_device image{unpack(decode(std::as_bytes(std::span{data, size})))};
  live(image.contents());
  read(image);
  return 0;
}
