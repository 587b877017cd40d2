#include "bin/serve/server_log.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/file_error.h"

namespace dmcache {
namespace {

using clock = std::chrono::steady_clock;

constexpr const char *own_name = "cache_serve";
constexpr std::chrono::seconds between_repetitions{10};

// Does somebody take what syslog(3) sends?
bool has_system_log() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, "/dev/log");
  const auto *const generic = reinterpret_cast<const sockaddr *>(&address);
  return std::ranges::any_of(std::array{SOCK_DGRAM, SOCK_STREAM}, [&](int type) {
    const file_descriptor made{::socket(AF_UNIX, type | SOCK_CLOEXEC, 0)};
    return made.is_open() && ::connect(made.get(), generic, sizeof address) == 0;
  });
}

} // namespace

result<server_log> server_log::open(const std::string &where) {
  server_log made;
  if (where == "stderr") {
    return made;
  }
  if (where == "journal") {
    if (!has_system_log()) {
      return fail(failure::environment,
                  "nobody listens at /dev/log, the system's log: give --log FILE, or --log stderr");
    }
    ::openlog(own_name, LOG_PID, LOG_DAEMON);
    made.kind_ = kind::systems;
    return made;
  }
  made.kind_ = kind::file;
  made.file_ =
      file_descriptor{::open(where.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
  if (!made.file_.is_open()) {
    return cannot("write messages to", where, errno);
  }
  return made;
}

result<server_log> server_log::open_best(const std::string &file) {
  return open(has_system_log() ? "journal" : file);
}

void server_log::tell(std::string_view text) {
  tell_repeated();
  last_.clear();
  write(kind_ == kind::systems ? std::string{text} : fmt::format("{}: {}", own_name, text));
}

void server_log::pass_on(std::string_view line) {
  const bool is_repeated = line == last_;
  if (is_repeated) {
    ++nr_repeated_;
  }
  if (!is_repeated || clock::now() - told_ >= between_repetitions) {
    tell_repeated();
  }
  if (!is_repeated) {
    last_ = line;
    told_ = clock::now();
    write(line);
  }
}

void server_log::tell_repeated() {
  const std::uint64_t count = std::exchange(nr_repeated_, 0);
  if (count != 0) {
    told_ = clock::now();
    write(count == 1 ? last_ : fmt::format("{} ({} times more)", last_, count));
  }
}

// If this fails, because nobody reads it any more or the file system is full, the cache is served all
// the same.
void server_log::write(std::string_view line) const {
  if (kind_ == kind::systems) {
    ::syslog(LOG_ERR, "%.*s", static_cast<int>(line.size()), line.data());
    return;
  }
  const std::time_t now = std::time(nullptr);
  const std::string whole = kind_ == kind::file
                                ? fmt::format("{:%FT%TZ} {}\n", fmt::gmtime(now), line)
                                : fmt::format("{}\n", line);
  const int to = kind_ == kind::file ? file_.get() : STDERR_FILENO;
  [[maybe_unused]] const auto written = ::write(to, whole.data(), whole.size());
}

} // namespace dmcache
