#include "bin/command.h"
#include "caching/tools/check.h"

namespace dmcache {
namespace {

result<metadata_device> open_device(const command_line &line, bool to_mend) {
  const auto part = line.part("");
  if (!part) {
    return std::unexpected{part.error()};
  }
  if (to_mend) {
    if (auto metadata = open_metadata(*part, access::read_write)) {
      return metadata;
    }
    // Sound metadata need no mending, so they are checked even on a device that can't be written to.
  }
  return open_metadata(*part);
}

} // namespace

int run_cache_check(std::span<const std::string> arguments) {
  command_line line{"cache_check", "[OPTION...] DEVICE", "cache_check /dev/mapper/vg-pool_cmeta"};
  line.take_operand("DEVICE");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add("super-block-only", "check the superblock alone");
  line.add("skip-mappings", "don't check the mappings and dirty bits");
  line.add("skip-hints", "don't check the policy hints");
  line.add("skip-discards", "don't check the discard bitset");
  line.add("ignore-non-fatal-errors", "exit with 0 unless data or metadata are at stake");
  line.add("clear-needs-check-flag", "clear NEEDS_CHECK and mend leaks, if all else is sound");
  line.add("auto-repair", "the same");
  line.add_parts_of({""});
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  const bool mend = line.has("clear-needs-check-flag") || line.has("auto-repair");
  for (const char *partial : {"super-block-only", "skip-mappings", "skip-hints", "skip-discards"}) {
    if (mend && line.has(partial)) {
      return line.refuse(fmt::format("--{} leaves unchecked what must be sound before anything is "
                                     "mended",
                                     partial));
    }
  }
  report to{"cache_check", line.has("quiet")};
  const auto metadata = open_device(line, mend);
  if (!metadata) {
    return to.failed(metadata.error());
  }
  return check(*metadata,
               {.superblock_only = line.has("super-block-only"),
                .skip_mappings = line.has("skip-mappings"),
                .skip_hints = line.has("skip-hints"),
                .skip_discards = line.has("skip-discards"),
                .ignore_non_fatal = line.has("ignore-non-fatal-errors"),
                .mend = mend},
               to);
}

} // namespace dmcache
