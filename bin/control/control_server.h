// The control socket of a running cache, on which its status is asked for and it is told what to do
// (control_protocol.h, cache_ctl).
//
// One thread speaks with all clients and never waits for one of them, or for the cache: what takes
// time is done by a few others. Whatever a client sends, or fails to, harms neither the cache nor
// the other clients.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

struct control_limits {
  std::chrono::milliseconds request{60000}; // for a client to send one
  std::chrono::milliseconds answer{10000};  // for it to take what it is sent
  unsigned nr_clients = 64;                 // at a time; others are told so, and sent away
};

class control_server {
 public:
  // Listens at `path`, which only the user of this process can connect to; absolute, if the process
  // may change its folder. `stop` is called, by the server's thread, each time that a client asks
  // for the end. It must not wait: it sees to it that the cache gets closed, and then finish()
  // called. Fails with failure::environment.
  static result<std::unique_ptr<control_server>> start(threaded_runtime &of,
                                                       const std::string &path,
                                                       std::function<void()> stop,
                                                       const control_limits &limits = {});
  // As finish(), with the news that nothing is known about the end.
  ~control_server();
  control_server(const control_server &) = delete;
  control_server &operator=(const control_server &) = delete;

  // Tells `closed`, the outcome of the runtime's close(), to the clients that wait for the end, and
  // ends. Waits for what was asked of the cache: close it before, which ends all that.
  void finish(const result<> &closed);

 private:
  class implementation;

  explicit control_server(std::unique_ptr<implementation> made);

  std::unique_ptr<implementation> made_;
};

} // namespace dmcache
