#include "bin/serve/nbdkit_server.h"

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "bin/serve/background.h"
#include "bin/serve/server_log.h"
#include "bin/serve/service_manager.h"
#include "bin/serve/supervisor.h"

namespace dmcache {
namespace {

// A folder that lives as long as this does.
class temporary_folder {
 public:
  temporary_folder() {
    std::error_code failed;
    const auto parent = std::filesystem::temp_directory_path(failed);
    std::string name = (failed ? std::filesystem::path{"/tmp"} : parent) / "cache_serve.XXXXXX";
    if (::mkdtemp(name.data()) != nullptr) {
      path_ = name;
    }
  }
  temporary_folder(const temporary_folder &) = delete;
  temporary_folder &operator=(const temporary_folder &) = delete;
  ~temporary_folder() {
    std::error_code ignored;
    if (!path_.empty()) {
      std::filesystem::remove_all(path_, ignored);
    }
  }

  const std::filesystem::path &path() const { return path_; } // empty if none could be made

 private:
  std::filesystem::path path_;
};

void tell_uri(const serve_options &options, report &to) {
  to.answer(uri_of(options));
  std::fflush(stdout); // a script may be waiting for this at the other end of a pipe
}

// As long as somebody sees standard error, messages go there.
result<server_log> log_in_foreground(const serve_options &options) {
  return server_log::open(options.log.empty() ? "stderr" : options.log);
}

// Nobody sees it any more then. The control socket is always there, and its folder can be written to.
result<server_log> log_in_background(const serve_options &options) {
  return options.log.empty() ? server_log::open_best(options.control + ".log")
                             : server_log::open(options.log);
}

result<int> serve_command(serve_options options) {
  const temporary_folder folder;
  if (folder.path().empty()) {
    return fail(failure::environment, "no temporary folder can be made: see TMPDIR");
  }
  if (!options.tcp && options.socket.empty()) {
    options.socket = folder.path() / "nbd";
  }
  auto log = log_in_foreground(options);
  if (!log) {
    return std::unexpected{log.error()};
  }
  return supervisor{options, *log, [] {}}.run();
}

result<int> serve_in_foreground(const serve_options &options, report &to) {
  auto log = log_in_foreground(options);
  if (!log) {
    return std::unexpected{log.error()};
  }
  const auto tell_ready = [&] {
    tell_uri(options, to);
    notify_service_manager(fmt::format("READY=1\nSTATUS=serving {}", uri_of(options)));
  };
  return supervisor{options, *log, tell_ready}.run();
}

result<int> serve_in_background(const serve_options &options, report &to) {
  return run_in_background([&](const auto &leave) {
    server_log log; // standard error, until this process leaves
    auto later = log_in_background(options);
    if (!later) {
      return to.failed(later.error());
    }
    const auto go = [&] {
      tell_uri(options, to);
      leave(later->is_stderr() ? standard_error::is_kept : standard_error::is_left);
      log = std::move(*later);
    };
    const auto ended = supervisor{options, log, go}.run();
    if (!ended) {
      log.tell(ended.error().message);
      return static_cast<int>(ended.error().kind);
    }
    return *ended;
  });
}

} // namespace

result<int> run_nbdkit(const serve_options &options, report &to) {
  std::signal(SIGCHLD, SIG_DFL); // if it were ignored, the status of children would be lost
  if (!options.run.empty()) {
    return serve_command(options);
  }
  return options.foreground ? serve_in_foreground(options, to) : serve_in_background(options, to);
}

} // namespace dmcache
