#include "base/file_device.h"
#include "bin/command.h"
#include "caching/tools/repair.h"

namespace dmcache {
namespace {

result<> repair_device(const std::string &input, const std::string &output, report &to) {
  if (is_same_file(input, output)) {
    return fail(failure::usage, fmt::format("input and output are the same: {}", output));
  }
  auto metadata = open_metadata(input);
  if (!metadata) {
    return std::unexpected{metadata.error()};
  }
  const auto open = [&] { return open_file_device(output, access::read_write); };
  return repair(std::move(*metadata), open, to);
}

} // namespace

int run_cache_repair(std::span<const std::string> arguments) {
  command_line line{"cache_repair", "[OPTION...] -i DEVICE -o DEVICE",
                    "cache_repair -i /dev/mapper/vg-pool_cmeta -o /dev/mapper/vg-new_cmeta"};
  line.ignore_empty_operand();
  line.add("input,i", "DEVICE", "the damaged metadata; never written to");
  line.add("output,o", "DEVICE", "another device, or an existing file that is large enough");
  line.add("quiet,q", "print nothing; the exit status tells");
  if (const auto done = line.parse_with(arguments, {"input", "output"})) {
    return *done;
  }
  report to{"cache_repair", line.has("quiet")};
  const auto repaired = repair_device(line.text("input"), line.text("output"), to);
  return repaired ? 0 : to.failed(repaired.error());
}

} // namespace dmcache
