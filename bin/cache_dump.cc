#include "bin/command.h"
#include "caching/tools/dump.h"

namespace dmcache {

int run_cache_dump(std::span<const std::string> arguments) {
  command_line line{"cache_dump", "[OPTION...] DEVICE",
                    "cache_dump -o cache.xml /dev/mapper/vg-pool_cmeta"};
  line.take_operand("DEVICE");
  line.add()("repair,r", "dump what can be read of damaged metadata")(
      "output,o", options::value<std::string>()->value_name("FILE"),
      "write to FILE, which appears when it is complete")(
      "as-stored", "dump the bits on disk, even if the cache was not cleanly shut down");
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  report to{"cache_dump", false};
  return dump({.device = line.operand(),
               .output = line.has("output") ? line.text("output") : "",
               .repair = line.has("repair"),
               .as_stored = line.has("as-stored")},
              to);
}

} // namespace dmcache
