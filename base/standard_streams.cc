#include "base/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <span>

#include "base/pending_file.h"

namespace dmcache {

void occupy_closed_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF) {
      // The lowest free number is taken. Nothing can be read from O_PATH, or written to it.
      [[maybe_unused]] const int taken = ::open("/", O_PATH);
    }
  }
}

void tell(std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (written == 0 || errno != EINTR) {
      return;
    }
  }
}

result<> write_out(std::string_view text) {
  return write_all(STDOUT_FILENO, "standard output", std::as_bytes(std::span{text}));
}

} // namespace dmcache
