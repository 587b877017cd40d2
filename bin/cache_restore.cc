#include "base/file_device.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "bin/document_file.h"
#include "caching/tools/restore.h"

namespace dmcache {
namespace {

std::optional<std::uint32_t> version_number(const command_line &line, const char *option,
                                            const char *otherwise) {
  return whole_number<std::uint32_t>(line.text_or(option, otherwise));
}

result<> restore_file(const command_line &line, const restore_options &options, report &to) {
  const std::string input = line.text("input");
  const std::string output = line.text("output");
  if (is_same_file(input, output)) {
    return fail(failure::usage, fmt::format("input and output are the same: {}", output));
  }
  const auto document = open_document(input, to.watcher());
  if (!document) {
    return std::unexpected{document.error()};
  }
  const auto device = open_file_device(output, access::read_write);
  if (!device) {
    return std::unexpected{device.error()};
  }
  auto restored = restore(*document, **device, options);
  if (!restored && restored.error().kind == failure::failed) {
    restored.error().message += fmt::format(" ({})", input);
  }
  return restored;
}

} // namespace

int run_cache_restore(std::span<const std::string> arguments) {
  command_line line{"cache_restore", "[OPTION...] -i FILE -o DEVICE",
                    "cache_restore -i cache.xml -o /dev/mapper/vg-new_cmeta"};
  line.add("input,i", "FILE", "the XML, as cache_dump writes it; - is standard input");
  line.add("output,o", "DEVICE", "a device, or an existing file that is large enough");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add("metadata-version", "1|2", "format of the metadata (default: 2)");
  line.add("omit-clean-shutdown", "leave the flag of a clean shutdown out");
  line.add("debug-override-metadata-version", "N", "claim another version in the superblock");
  if (const auto done = line.parse_with(arguments, {"input", "output"})) {
    return *done;
  }
  const auto format = version_number(line, "metadata-version", "2");
  if (!format || (*format != 1 && *format != 2)) {
    return line.refuse("the metadata version is 1 or 2");
  }
  const auto claimed = version_number(line, "debug-override-metadata-version", "0");
  if (!claimed) {
    return line.refuse("the version to claim is no number");
  }
  report to{"cache_restore", line.has("quiet")};
  const auto restored = restore_file(line,
                                     {.metadata_version = *format,
                                      .claimed_version = *claimed,
                                      .clean_shutdown = !line.has("omit-clean-shutdown")},
                                     to);
  return restored ? 0 : to.failed(restored.error());
}

} // namespace dmcache
