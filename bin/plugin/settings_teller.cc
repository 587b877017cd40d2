#include "bin/plugin/settings_teller.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "bin/control/settings_line.h"

namespace dmcache {

settings_teller::settings_teller(file_descriptor to) : to_{std::move(to)} {
  ::fcntl(to_.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(to_.get(), F_SETFL, O_WRONLY | O_NONBLOCK);
}

result<> settings_teller::tell(threaded_runtime &of) {
  const mutex_guard telling{telling_};
  return tell_now(of);
}

result<> settings_teller::tell_before_resizing(threaded_runtime &of) {
  const mutex_guard telling{telling_};
  is_resizing_ = true;
  return tell_now(of);
}

result<> settings_teller::tell_after_resizing(threaded_runtime &of) {
  const mutex_guard telling{telling_};
  is_resizing_ = false;
  return tell_now(of);
}

// A pipe takes a line of up to PIPE_BUF bytes as a whole or not at all. Part of a longer one would
// be no line that the reader understands.
result<> settings_teller::tell_now(threaded_runtime &of) {
  if (!to_.is_open()) {
    return {};
  }
  engine_options in_force = of.options();
  in_force.accepted.resized = in_force.accepted.resized || is_resizing_;
  const std::string line = settings_line(in_force) + '\n';
  const ssize_t told = ::write(to_.get(), line.data(), line.size());
  if (told == static_cast<ssize_t>(line.size())) {
    return {};
  }
  return fail(failure::environment,
              fmt::format("this change is lost if the server dies, since who started it can't be "
                          "told: {}",
                          told < 0 ? std::error_code{errno, std::generic_category()}.message()
                                   : "it doesn't listen"));
}

} // namespace dmcache
