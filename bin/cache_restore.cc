#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <system_error>

#include "base/file_descriptor.h"
#include "base/file_device.h"
#include "bin/command.h"
#include "caching/tools/restore.h"

namespace dmcache {
namespace {

std::unexpected<error> cannot_read(const std::string &path, int reason) {
  if (reason == ENOENT) {
    return fail(failure::environment, fmt::format("Couldn't find input file: {}", path));
  }
  return fail(failure::environment,
              fmt::format("cannot read {}: {}", path, std::generic_category().message(reason)));
}

result<file_descriptor> open_document(const std::string &path) {
  file_descriptor file{path == "-" ? ::dup(STDIN_FILENO)
                                   : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!file.is_open()) {
    return cannot_read(path, errno);
  }
  return file;
}

// Reads a document and shows how far it has come.
read_text reader_of(const file_descriptor &file, const std::string &path, progress &watcher) {
  struct stat status {};
  const bool knows_size = ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode);
  watcher.begin("reading", knows_size ? static_cast<std::uint64_t>(status.st_size) : 0);
  return [&file, path, &watcher](std::span<char> into) -> result<std::size_t> {
    while (true) {
      const ssize_t count = ::read(file.get(), into.data(), into.size());
      if (count >= 0) {
        watcher.advance(static_cast<std::uint64_t>(count));
        return static_cast<std::size_t>(count);
      }
      if (errno != EINTR) {
        return cannot_read(path, errno);
      }
    }
  };
}

std::optional<std::uint32_t> version_number(const command_line &line, const char *option,
                                            const char *otherwise) {
  const std::string text = line.text_or(option, otherwise);
  std::uint32_t version = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), version);
  const bool is_number = failed == std::errc{} && end == text.data() + text.size();
  return is_number ? std::optional{version} : std::nullopt;
}

result<> restore_file(const command_line &line, const restore_options &options, report &to) {
  const std::string input = line.text("input");
  const std::string output = line.text("output");
  if (is_same_file(input, output)) {
    return fail(failure::usage, fmt::format("input and output are the same: {}", output));
  }
  const auto document = open_document(input);
  if (!document) {
    return std::unexpected{document.error()};
  }
  const auto device = open_file_device(output, access::read_write);
  if (!device) {
    return std::unexpected{device.error()};
  }
  auto restored = restore(reader_of(*document, input, to.watcher()), **device, options);
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
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  for (const char *needed : {"input", "output"}) {
    if (!line.has(needed)) {
      return line.refuse(fmt::format("No {} given.", needed));
    }
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
