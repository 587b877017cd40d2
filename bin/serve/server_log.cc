#include "bin/serve/server_log.h"

#include <syslog.h>

#include <cstdio>
#include <string>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr const char *own_name = "cache_serve";

} // namespace

void server_log::use_system_log() {
  ::openlog(own_name, LOG_PID, LOG_DAEMON);
  is_systems_ = true;
}

void server_log::tell(std::string_view text) const {
  pass_on(is_systems_ ? std::string{text} : fmt::format("{}: {}", own_name, text));
}

void server_log::pass_on(std::string_view line) const {
  if (is_systems_) {
    ::syslog(LOG_ERR, "%.*s", static_cast<int>(line.size()), line.data());
  } else {
    // If this fails because nobody reads it any more, the cache is served all the same.
    const std::string whole = fmt::format("{}\n", line);
    std::fwrite(whole.data(), 1, whole.size(), stderr);
  }
}

} // namespace dmcache
