#include "bin/document_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/file_descriptor.h"
#include "base/pending_file.h"

namespace dmcache {
namespace {

std::unexpected<error> cannot_read(const std::string &path, int reason) {
  if (reason == ENOENT) {
    return fail(failure::environment, fmt::format("Couldn't find input file: {}", path));
  }
  return fail(failure::environment,
              fmt::format("cannot read {}: {}", path, std::generic_category().message(reason)));
}

using shared_file = std::shared_ptr<file_descriptor>;

result<shared_file> open_input(const std::string &path, progress &watcher) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0 && S_ISFIFO(status.st_mode)) {
    watcher.wait_for(fmt::format("somebody to write to {}", path));
  }
  auto file = std::make_shared<file_descriptor>(
      path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file->is_open()) {
    return cannot_read(path, errno);
  }
  return file;
}

// The size of a regular file; 0 of anything else.
std::uint64_t size_of(const file_descriptor &file) {
  struct stat status{};
  return ::fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode)
             ? static_cast<std::uint64_t>(status.st_size)
             : 0;
}

// Hands on what `read` finds, which returns what the system call does.
template <typename Read>
result<std::size_t> read_some(Read read, const std::string &path, progress &watcher) {
  while (true) {
    const ssize_t count = read();
    if (count >= 0) {
      watcher.advance(static_cast<std::uint64_t>(count));
      return static_cast<std::size_t>(count);
    }
    if (errno != EINTR) {
      return cannot_read(path, errno);
    }
  }
}

} // namespace

result<read_text> open_document(const std::string &path, progress &watcher) {
  const auto file = open_input(path, watcher);
  if (!file) {
    return std::unexpected{file.error()};
  }
  watcher.begin("reading", size_of(**file));
  return [file = *file, path, &watcher](std::span<char> into) {
    return read_some([&] { return ::read(file->get(), into.data(), into.size()); }, path, watcher);
  };
}

result<open_text> open_to_read_again(const std::string &path, progress &watcher) {
  auto file = open_input(path, watcher);
  if (!file) {
    return std::unexpected{file.error()};
  }
  struct stat status{};
  if (::fstat((*file)->get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    auto copy = make_nameless_file();
    if (!copy) {
      return std::unexpected{copy.error()};
    }
    if (auto copied = copy_file((*file)->get(), path, copy->get(), "a temporary file"); !copied) {
      return std::unexpected{copied.error()};
    }
    **file = std::move(*copy);
  }
  return [file = *file, path, &watcher]() -> result<read_text> {
    watcher.begin("reading", size_of(*file));
    return [file, path, &watcher, at = off_t{0}](std::span<char> into) mutable {
      const auto count = read_some(
          [&] { return ::pread(file->get(), into.data(), into.size(), at); }, path, watcher);
      at += static_cast<off_t>(count.value_or(0));
      return count;
    };
  };
}

} // namespace dmcache
