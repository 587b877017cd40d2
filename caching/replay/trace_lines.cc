#include "caching/replay/trace_lines.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 17;
static_assert(buffer_size >= 2 * trace_lines::max_line);

std::unexpected<error> cannot_read(const std::string &name, int reason) {
  return fail(failure::environment,
              fmt::format("cannot read {}: {}", name, std::generic_category().message(reason)));
}

} // namespace

trace_lines::trace_lines(std::string name, opened file, progress &watcher)
    : name_{std::move(name)}, file_{std::move(file)}, watcher_{&watcher}, buffer_(buffer_size) {}

result<trace_lines> trace_lines::open(const std::string &path, progress &watcher) {
  const bool is_input = path == "-";
  const std::string name = is_input ? "standard input" : path;
  const int input = is_input ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (input < 0) {
    return cannot_read(name, errno);
  }
  struct stat status{};
  const bool has_size = ::fstat(input, &status) == 0 && S_ISREG(status.st_mode);
  opened file{::gzdopen(input, "rb")}; // which closes `input` at its end
  if (!file) {
    ::close(input);
    return cannot_read(name, ENOMEM);
  }
  watcher.begin("reading", has_size ? static_cast<std::uint64_t>(status.st_size) : 0);
  return trace_lines{name, std::move(file), watcher};
}

result<std::string_view> trace_lines::beginning() {
  if (auto filled = fill(); !filled) {
    return std::unexpected{filled.error()};
  }
  return std::string_view{buffer_.data(), end_};
}

result<std::optional<std::string_view>> trace_lines::next() {
  std::size_t looked_at = 0;
  while (true) {
    const std::string_view left{buffer_.data() + begin_, end_ - begin_};
    std::size_t length = left.find('\n', looked_at);
    looked_at = left.size();
    const bool is_whole = length != std::string_view::npos;
    if (!is_whole && is_at_end_) {
      length = left.size();
    }
    if (std::min(length, left.size()) > max_line) {
      return fail(failure::failed,
                  fmt::format("{}: line {}: longer than {} bytes", name_, number_ + 1, max_line));
    }
    if (is_whole || (is_at_end_ && length > 0)) {
      begin_ += length + (is_whole ? 1 : 0);
      ++number_;
      const std::string_view line = left.substr(0, length);
      return line.ends_with('\r') ? line.substr(0, length - 1) : line;
    }
    if (is_at_end_) {
      return std::nullopt;
    }
    if (auto filled = fill(); !filled) {
      return std::unexpected{filled.error()};
    }
  }
}

// Moves what is left to the beginning of the buffer, and reads more behind it.
result<> trace_lines::fill() {
  std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
  end_ -= std::exchange(begin_, 0);
  errno = 0;
  const int count =
      ::gzread(file_.get(), buffer_.data() + end_, static_cast<unsigned>(buffer_.size() - end_));
  if (count <= 0) {
    is_at_end_ = true;
    return broken_off();
  }
  end_ += static_cast<std::size_t>(count);
  const auto offset = static_cast<std::uint64_t>(std::max<z_off_t>(0, ::gzoffset(file_.get())));
  watcher_->advance(std::max(offset, shown_) - std::exchange(shown_, std::max(offset, shown_)));
  return {};
}

// Whether the file ends here as it should.
result<> trace_lines::broken_off() {
  const int reason = errno;
  int broken = Z_OK;
  std::string_view text = ::gzerror(file_.get(), &broken);
  if (broken == Z_OK || broken == Z_STREAM_END) {
    return {};
  }
  if (broken == Z_ERRNO) {
    return cannot_read(name_, reason);
  }
  if (const std::size_t end = text.find(">: "); end != std::string_view::npos) {
    text.remove_prefix(end + 3); // what zlib calls the descriptor
  }
  return fail(failure::failed,
              fmt::format("{} breaks off at line {}: {}", name_, number_ + 1, text));
}

} // namespace dmcache
