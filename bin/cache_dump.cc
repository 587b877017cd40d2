#include "base/file_device.h"
#include "base/storage_layers.h"
#include "bin/command.h"
#include "caching/tools/dump.h"

namespace dmcache {
namespace {

result<> dump_device(const command_line &line, report &to) {
  const std::string output = line.text_or("output", "");
  const auto part = line.part("");
  if (!part) {
    return std::unexpected{part.error()};
  }
  // A document goes over all of its output, and a part of the metadata's device is none of its own.
  if (auto checked = check_that_they_are_apart(part->path, output); !output.empty() && !checked) {
    return checked;
  }
  auto metadata = open_metadata(*part);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  const auto open = [&]() -> result<output_file> {
    return output.empty() ? output_file::standard_output() : output_file::create(output);
  };
  return dump(std::move(*metadata),
              {.repair = line.has("repair"), .as_stored = line.has("as-stored")}, open, to);
}

} // namespace

int run_cache_dump(std::span<const std::string> arguments) {
  command_line line{"cache_dump", "[OPTION...] DEVICE",
                    "cache_dump -o cache.xml /dev/mapper/vg-pool_cmeta"};
  line.take_operand("DEVICE");
  line.add("repair,r", "dump what can be read of damaged metadata");
  line.add("output,o", "FILE", "write to FILE, which appears when it is complete; - is stdout");
  line.add("as-stored", "dump the bits on disk, even if the cache was not cleanly shut down");
  line.add_parts_of({""});
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  report to{"cache_dump", false};
  const auto dumped = dump_device(line, to);
  return to.ended(dumped);
}

} // namespace dmcache
