// What is fuzzed: cache_check and cache_dump, in all their ways, on whatever image an input says.
// Neither crashes, hangs or takes memory without bound, and they agree with each other.

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/assert.h"
#include "base/memory_device.h"
#include "caching/tools/check.h"
#include "caching/tools/dump.h"
#include "functional-tests/fuzz/sparse_image.h"

namespace dmcache::fuzz {
namespace {

// Lends a device to those who want one of their own.
class lent_device final : public device {
 public:
  explicit lent_device(device &lent) : lent_{lent} {}

  bytes size() const override { return lent_.size(); }
  void submit(std::span<const io_request> requests) override { lent_.submit(requests); }
  void wait() override { lent_.wait(); }
  std::error_code flush() override { return lent_.flush(); }

 private:
  device &lent_;
};

result<metadata_device> metadata_of(device &image) {
  return read_metadata_device(std::make_unique<lent_device>(image));
}

bool dumps(device &image, const dump_options &options, report &to) {
  const auto nowhere = [] { return output_file::create("/dev/null"); };
  return dump(metadata_of(image).value(), options, nowhere, to).has_value();
}

void read(device &image) {
  const auto metadata = metadata_of(image);
  if (!metadata) {
    return;
  }
  report quiet{"fuzz", true};
  const bool is_sound = check(*metadata, {}, quiet) == 0;
  require(dumps(image, {}, quiet) || !is_sound, "what a check finds sound is dumped");
  const bool repaired = dumps(image, {.repair = true, .as_stored = true}, quiet);
  require(repaired || !is_legal_data_block_size(metadata->block.data_block_size),
          "a repairing dump fails only without a block size");
}

} // namespace
} // namespace dmcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  using namespace dmcache::fuzz;
  dmcache::memory_device image{unpack(decode(std::as_bytes(std::span{data, size})))};
  read(image);
  return 0;
}
