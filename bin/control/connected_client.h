// What the server's end of a control socket knows of a client that is connected, and of what one waits
// for. All of it belongs to the server's thread.
#pragma once

#include <poll.h>

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include <boost/asio.hpp>

#include "base/result.h"
#include "bin/control/control_protocol.h"

namespace dmcache {

namespace asio = boost::asio;
using asio::local::stream_protocol;
using error_code = boost::system::error_code;

// Makes an operation of asio tell its error by `failed` instead of throwing it.
inline auto telling(error_code &failed) {
  return asio::redirect_error(asio::use_awaitable, failed);
}

struct client {
  client(stream_protocol::socket connected, bool is_in_control)
      : socket{std::move(connected)}, deadline{socket.get_executor()}, controls{is_in_control} {}

  void hang_up() {
    error_code ignored;
    (void)socket.close(ignored);
  }
  // It has sent another request, or at least begun to, or will send none any more.
  bool wants_more_or_leaves() {
    pollfd readable{socket.native_handle(), POLLIN, 0};
    return !received.empty() || ::poll(&readable, 1, 0) != 0;
  }

  stream_protocol::socket socket;
  asio::steady_timer deadline; // of a time_limit
  std::string received;        // what is not looked at yet
  bool controls;               // the cache, else it can only ask for its status
  bool is_idle = false;        // it has its answers, and hasn't sent another request
};

// Hangs up on a client if this lives longer than `at_most`.
class time_limit {
 public:
  time_limit(const std::shared_ptr<client> &with, std::chrono::milliseconds at_most)
      : with_{*with} {
    with_.deadline.expires_after(at_most);
    with_.deadline.async_wait([with](error_code cancelled) {
      if (!cancelled) {
        with->hang_up();
      }
    });
  }
  time_limit(const time_limit &) = delete;
  time_limit &operator=(const time_limit &) = delete;
  ~time_limit() { with_.deadline.cancel(); }

 private:
  client &with_;
};

// What a client waits for.
struct operation {
  explicit operation(asio::io_context &in) : changed{in} {}

  // The first outcome counts.
  void end(result<> ended) {
    if (!outcome) {
      outcome = std::move(ended);
    }
    changed.cancel();
  }

  std::optional<result<>> outcome;
  bool ends_with_cache = false; // unless it fails before
  asio::steady_timer changed;   // cancelled when there is an outcome
  // Lines about how far it has come, and the answer if it ends well.
  std::function<std::string()> progress = [] { return progress_line(0, 0); };
  std::function<std::string()> answer = [] { return "ok\n"; };
  std::function<void()> abandoned = [] {}; // its client is gone
};

} // namespace dmcache
