#include "bin/document_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>

#include <fmt/format.h>

#include "base/file_descriptor.h"

namespace dmcache {
namespace {

std::unexpected<error> cannot_read(const std::string &path, int reason) {
  if (reason == ENOENT) {
    return fail(failure::environment, fmt::format("Couldn't find input file: {}", path));
  }
  return fail(failure::environment,
              fmt::format("cannot read {}: {}", path, std::generic_category().message(reason)));
}

} // namespace

result<read_text> open_document(const std::string &path, progress &watcher) {
  const auto file = std::make_shared<file_descriptor>(
      path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file->is_open()) {
    return cannot_read(path, errno);
  }
  struct stat status{};
  const bool knows_size = ::fstat(file->get(), &status) == 0 && S_ISREG(status.st_mode);
  watcher.begin("reading", knows_size ? static_cast<std::uint64_t>(status.st_size) : 0);
  return [file, path, &watcher](std::span<char> into) -> result<std::size_t> {
    while (true) {
      const ssize_t count = ::read(file->get(), into.data(), into.size());
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

} // namespace dmcache
