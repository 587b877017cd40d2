#include "base/file_device.h"
#include "base/storage_layers.h"
#include "bin/command.h"
#include "bin/document_file.h"
#include "caching/tools/metadata_device.h"
#include "caching/tools/metadata_output.h"
#include "caching/tools/metadata_pack.h"
#include "caching/tools/metadata_unpack.h"

namespace dmcache {
namespace {

result<> pack_device(const command_line &line, report &to) {
  const auto input = line.part("input");
  if (!input) {
    return std::unexpected{input.error()};
  }
  const std::string output = line.text("output");
  if (auto checked = check_that_they_are_apart(input->path, output); !checked) {
    return checked;
  }
  const auto from = open_metadata_device(*input);
  if (!from) {
    return std::unexpected{from.error()};
  }
  auto file = output_file::create(output);
  if (!file) {
    return std::unexpected{file.error()};
  }
  const auto nr_unreadable = pack(**from, {.all_valid = line.has("all-valid")}, *file, to);
  if (!nr_unreadable) {
    return std::unexpected{nr_unreadable.error()};
  }
  if (auto complete = file->commit(); !complete || *nr_unreadable == 0) {
    return complete;
  }
  return fail(
      failure::environment,
      fmt::format("the pack is written, but for {} blocks that can't be read", *nr_unreadable));
}

result<> unpack_device(const command_line &line, report &to) {
  const std::string input = line.text("input");
  const auto output = line.part("output");
  if (!output) {
    return std::unexpected{output.error()};
  }
  if (auto checked = check_that_they_are_apart(input, *output); !checked) {
    return checked;
  }
  auto target = metadata_output::find(*output, line.has("force"));
  if (!target) {
    return std::unexpected{target.error()};
  }
  const auto pack = open_to_read_again(input, to.watcher());
  if (!pack) {
    return std::unexpected{pack.error()};
  }
  const auto verified = verify_pack(*pack);
  if (!verified) {
    return std::unexpected{verified.error()};
  }
  auto device = target->open(verified->size);
  if (!device) {
    return std::unexpected{device.error()};
  }
  if (auto unpacked = unpack(*pack, *verified, **device, to.watcher()); !unpacked) {
    return unpacked;
  }
  device->reset();
  return target->commit();
}

} // namespace

int run_cache_metadata_pack(std::span<const std::string> arguments) {
  command_line line{"cache_metadata_pack", "[OPTION...] -i DEVICE -o FILE",
                    "cache_metadata_pack -i /dev/mapper/vg-pool_cmeta -o cmeta.pack"};
  line.add("input,i", "DEVICE", "the metadata");
  line.add("output,o", "FILE", "the pack, which appears when it is complete");
  line.add("all-valid", "pack all that validates, rather than what is in use");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add_parts_of({"input"});
  if (const auto done = line.parse_with(arguments, {"input", "output"})) {
    return *done;
  }
  report to{"cache_metadata_pack", line.has("quiet")};
  const auto packed = pack_device(line, to);
  return to.ended(packed);
}

int run_cache_metadata_unpack(std::span<const std::string> arguments) {
  command_line line{"cache_metadata_unpack", "[OPTION...] -i FILE -o DEVICE",
                    "cache_metadata_unpack -i cmeta.pack -o cmeta.img"};
  line.add("input,i", "FILE", "what cache_metadata_pack wrote");
  line.add("output,o", "DEVICE", "a device or file; a file that isn't there is made");
  line.add("force", "overwrite something else than the metadata of a cache");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add_parts_of({"output"});
  if (const auto done = line.parse_with(arguments, {"input", "output"})) {
    return *done;
  }
  report to{"cache_metadata_unpack", line.has("quiet")};
  const auto unpacked = unpack_device(line, to);
  return to.ended(unpacked);
}

} // namespace dmcache
