#include "base/file_device.h"
#include "bin/command.h"
#include "bin/document_file.h"
#include "caching/tools/metadata_pack.h"

namespace dmcache {
namespace {

result<> pack_device(const std::string &input, const std::string &output,
                     const pack_options &options, report &to) {
  if (is_same_file(input, output)) {
    return fail(failure::usage, fmt::format("input and output are the same: {}", output));
  }
  const auto from = open_file_device(input, access::read_only);
  if (!from) {
    return std::unexpected{from.error()};
  }
  auto file = output_file::create(output);
  if (!file) {
    return std::unexpected{file.error()};
  }
  const auto packed = pack(**from, options, *file, to);
  return packed ? file->commit() : packed;
}

result<> unpack_device(const std::string &input, const std::string &output, report &to) {
  if (is_same_file(input, output)) {
    return fail(failure::usage, fmt::format("input and output are the same: {}", output));
  }
  const auto open = [&] { return open_document(input, to.watcher()); };
  if (auto there = open(); !there) {
    return std::unexpected{there.error()};
  }
  const auto device = open_file_device(output, access::read_write);
  if (!device) {
    return std::unexpected{device.error()};
  }
  return unpack(open, **device);
}

} // namespace

int run_cache_metadata_pack(std::span<const std::string> arguments) {
  command_line line{"cache_metadata_pack", "[OPTION...] -i DEVICE -o FILE",
                    "cache_metadata_pack -i /dev/mapper/vg-pool_cmeta -o cmeta.pack"};
  line.add("input,i", "DEVICE", "the metadata");
  line.add("output,o", "FILE", "the pack, which appears when it is complete");
  line.add("all-valid", "pack all that validates, rather than what is in use");
  line.add("quiet,q", "print nothing; the exit status tells");
  if (const auto done = line.parse_with(arguments, {"input", "output"})) {
    return *done;
  }
  report to{"cache_metadata_pack", line.has("quiet")};
  const auto packed = pack_device(line.text("input"), line.text("output"),
                                  {.all_valid = line.has("all-valid")}, to);
  return packed ? 0 : to.failed(packed.error());
}

int run_cache_metadata_unpack(std::span<const std::string> arguments) {
  command_line line{"cache_metadata_unpack", "[OPTION...] -i FILE -o DEVICE",
                    "cache_metadata_unpack -i cmeta.pack -o cmeta.img"};
  line.add("input,i", "FILE", "what cache_metadata_pack wrote");
  line.add("output,o", "DEVICE", "a device, or an existing file that is large enough");
  line.add("quiet,q", "print nothing; the exit status tells");
  if (const auto done = line.parse_with(arguments, {"input", "output"})) {
    return *done;
  }
  report to{"cache_metadata_unpack", line.has("quiet")};
  const auto unpacked = unpack_device(line.text("input"), line.text("output"), to);
  return unpacked ? 0 : to.failed(unpacked.error());
}

} // namespace dmcache
