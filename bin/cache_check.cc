#include <functional>
#include <utility>

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
  const auto part = line.part("");
  if (!part) {
    return line.refuse(part.error().message);
  }
  auto metadata = open_metadata(*part);
  if (!metadata) {
    return to.failed(metadata.error());
  }
  const auto open_to_mend = [&] { return open_metadata(*part, access::read_write); };
  return check(std::move(*metadata),
               {.superblock_only = line.has("super-block-only"),
                .skip_mappings = line.has("skip-mappings"),
                .skip_hints = line.has("skip-hints"),
                .skip_discards = line.has("skip-discards"),
                .ignore_non_fatal = line.has("ignore-non-fatal-errors"),
                .open_to_mend = mend ? std::function{open_to_mend} : nullptr},
               to);
}

} // namespace dmcache
