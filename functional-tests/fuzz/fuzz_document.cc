// What is fuzzed: cache_restore on whatever document an input says. It is read the same by the fast
// reader and by expat alone, and what it describes, if it has room, stands soundly on the device.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

#include "base/assert.h"
#include "base/lent_device.h"
#include "base/memory_device.h"
#include "caching/tools/check.h"
#include "caching/tools/restore.h"

namespace dmcache::fuzz {
namespace {

constexpr bytes device_size{std::uint64_t{256} * metadata_block_size};

// Hands out at most `piece` bytes at a time.
read_text text_of(std::string_view text, std::size_t piece) {
  return [text, piece](std::span<char> into) mutable -> result<std::size_t> {
    const std::size_t count = std::min({text.size(), into.size(), piece});
    std::ranges::copy(text.substr(0, count), into.begin());
    text.remove_prefix(count);
    return count;
  };
}

result<std::unique_ptr<cache_contents>> read_by_expat(std::string_view text,
                                                      std::uint32_t version) {
  const auto accept = [](const superblock &described) -> xml_elements::fault {
    return cache_contents::check_room(described, device_size) ? xml_elements::fault{} : "no room";
  };
  return read_xml(text_of(text, text.size()),
                  {.metadata_version = version, .accept = accept, .only_expat = true});
}

void restore(const cache_contents &contents, memory_device &to, std::uint32_t version) {
  report quiet{"fuzz", true};
  const auto done = dmcache::restore(contents, to, {.metadata_version = version}, quiet);
  require(done.has_value(), "a document that is accepted can be restored");
  auto metadata = read_metadata_device(std::make_unique<lent_device>(to));
  require(metadata && check(std::move(*metadata), {}, quiet) == 0, "what is restored is sound");
}

void read(std::string_view text, std::uint32_t version, std::size_t piece) {
  const auto contents =
      read_document(text_of(text, piece), device_size, {.metadata_version = version});
  const auto by_expat = read_by_expat(text, version);
  require(contents.has_value() == by_expat.has_value(), "both readers accept the same documents");
  if (!contents) {
    return;
  }
  memory_device device{device_size};
  memory_device device_by_expat{device_size};
  restore(**contents, device, version);
  restore(**by_expat, device_by_expat, version);
  require(std::ranges::equal(device.contents(), device_by_expat.contents()),
          "both readers read the same");
}

} // namespace
} // namespace dmcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

// The first byte says the format of the metadata, and in which pieces the document comes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  if (size != 0) {
    const std::string_view text{reinterpret_cast<const char *>(data) + 1, size - 1}; // NOLINT
    const std::uint32_t version = data[0] % 2 == 0 ? 2 : 1;
    dmcache::fuzz::read(text, version, data[0] < 128 ? size : 1 + data[0] % 64);
  }
  return 0;
}
