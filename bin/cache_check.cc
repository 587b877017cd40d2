#include "bin/command.h"
#include "caching/tools/check.h"

namespace dmcache {

int run_cache_check(std::span<const std::string> arguments) {
  command_line line{"cache_check", "[OPTION...] DEVICE", "cache_check /dev/mapper/vg-pool_cmeta"};
  line.take_operand("DEVICE");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add("super-block-only", "check the superblock alone");
  line.add("skip-mappings", "don't check the mappings and dirty bits");
  line.add("skip-hints", "don't check the policy hints");
  line.add("skip-discards", "don't check the discard bitset");
  line.add("ignore-non-fatal-errors", "exit with 0 unless data or metadata are at stake");
  line.add("clear-needs-check-flag", "(not in this version)");
  line.add("auto-repair", "(not in this version)");
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  for (const char *option : {"clear-needs-check-flag", "auto-repair"}) {
    if (line.has(option)) {
      return line.refuse(fmt::format("--{} is not available in this version", option));
    }
  }
  report to{"cache_check", line.has("quiet")};
  const auto metadata = open_metadata(line.operand());
  if (!metadata) {
    return to.failed(metadata.error());
  }
  return check(*metadata,
               {.superblock_only = line.has("super-block-only"),
                .skip_mappings = line.has("skip-mappings"),
                .skip_hints = line.has("skip-hints"),
                .skip_discards = line.has("skip-discards"),
                .ignore_non_fatal = line.has("ignore-non-fatal-errors")},
               to);
}

} // namespace dmcache
