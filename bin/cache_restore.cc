#include "base/file_device.h"
#include "base/storage_layers.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "bin/document_file.h"
#include "caching/tools/metadata_output.h"
#include "caching/tools/restore.h"

namespace dmcache {
namespace {

std::optional<std::uint32_t> version_number(const command_line &line, const char *option,
                                            const char *otherwise) {
  return whole_number<std::uint32_t>(line.text_or(option, otherwise));
}

// Nothing is opened for writing before the document has shown that it is a good one: it may come
// from a dump of what is in the output, which has ended then.
result<> restore_file(const command_line &line, const restore_options &options, report &to) {
  const std::string input = line.text("input");
  const auto output = line.part("output");
  if (!output) {
    return std::unexpected{output.error()};
  }
  if (auto checked = check_that_they_are_apart(input, *output); !checked) {
    return checked;
  }
  const auto document = open_document(input, to.watcher());
  if (!document) {
    return std::unexpected{document.error()};
  }
  auto target = metadata_output::find(*output, line.has("force"));
  if (!target) {
    return std::unexpected{target.error()};
  }
  const auto contents = read_document(*document, target->size(), options);
  if (!contents) {
    const error &wrong = contents.error();
    return fail(wrong.kind, wrong.kind == failure::failed
                                ? fmt::format("{} ({})", wrong.message, input)
                                : wrong.message);
  }
  auto device = target->open(device_size_for(**contents));
  if (!device) {
    return std::unexpected{device.error()};
  }
  if (auto restored = restore(**contents, **device, options, to); !restored) {
    return restored;
  }
  device->reset();
  return target->commit();
}

} // namespace

int run_cache_restore(std::span<const std::string> arguments) {
  command_line line{"cache_restore", "[OPTION...] -i FILE -o DEVICE",
                    "cache_restore -i cache.xml -o /dev/mapper/vg-new_cmeta"};
  line.add("input,i", "FILE", "the XML, as cache_dump writes it; - is standard input");
  line.add("output,o", "DEVICE", "a device or file; a file that isn't there is made");
  line.add("force", "overwrite something else than the metadata of a cache");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add("metadata-version", "1|2", "format of the metadata (default: 2)");
  line.add("omit-clean-shutdown", "leave the flag of a clean shutdown out");
  line.add("debug-override-metadata-version", "N", "claim another version in the superblock");
  line.add_parts_of({"output"});
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
  return to.ended(restored);
}

} // namespace dmcache
