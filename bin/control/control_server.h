// The server's end of a control socket, by which clients ask for the status of a running cache and
// tell it what to do (control_protocol.h, cache_ctl).
//
// One thread speaks with all clients. It never waits for one of them, or for the cache: a few other
// threads do what takes time. Nothing that a client sends, or fails to send, harms the cache or the
// other clients.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "bin/control/socket_access.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

// What a server's owner does about what clients ask for.
struct control_handlers {
  // A client asks for the end. Called by the server's thread, it must not wait, but must cause that
  // the cache is closed, and then finish() called.
  std::function<void()> stop;
  // A client has changed mode, policy or settings, and is told so afterwards. Several threads may
  // call it at a time.
  std::function<void()> changed = [] {};
  // A client has the cache take up devices that have grown: threaded_runtime::resize(). Any thread may
  // call it.
  std::function<result<std::string>()> resize;
};

// Paths of sockets, absolute if the process may change its folder. One that is empty isn't made.
struct control_addresses {
  std::string control; // where all requests are granted
  socket_access access = {};
  std::string status = {}; // where nothing but the status is told, to everybody
};

struct control_limits {
  std::chrono::milliseconds request{60000}; // within which a client has to send a request
  std::chrono::milliseconds answer{10000};  // within which it has to take an answer
  unsigned nr_clients = 64; // of each socket, at a time; more are told so, and sent away
};

class control_server {
 public:
  // Fails with failure::environment.
  static result<std::unique_ptr<control_server>> start(threaded_runtime &of,
                                                       const control_addresses &at,
                                                       control_handlers handlers,
                                                       const control_limits &limits = {});
  // Does what finish() does, and tells clients that nothing is known about the cache's end.
  ~control_server();
  control_server(const control_server &) = delete;
  control_server &operator=(const control_server &) = delete;

  // Tells `closed`, the outcome of the runtime's close(), to the clients that wait for the end, and
  // ends the server. Waits for all requests to the cache that are under way, so the cache must be
  // closed before, which ends them.
  void finish(const result<> &closed);

 private:
  class implementation;

  explicit control_server(std::unique_ptr<implementation> made);

  std::unique_ptr<implementation> made_;
};

} // namespace dmcache
