// Learns of the signals that end a server whose own handlers for them are set already.
#pragma once

#include <functional>
#include <thread>

namespace dmcache {

// A process has one of these at a time.
class quit_signals {
 public:
  // `on_quit` is called once, by a thread of this, after the first SIGTERM, SIGINT, SIGHUP or
  // SIGQUIT that the server handles, which goes on to the server; or after raise(). Throws
  // std::system_error if no thread can be made.
  explicit quit_signals(std::function<void()> on_quit);
  quit_signals(const quit_signals &) = delete;
  quit_signals &operator=(const quit_signals &) = delete;
  ~quit_signals() { finish(); }

  // Has the same effect as a signal. Requires that there was one of these. Any thread may call this,
  // also while it goes, and when it is gone.
  static void raise();
  // Calls `on_quit` now, if it wasn't called yet, and waits for its end.
  void finish();

 private:
  std::thread thread_;
};

} // namespace dmcache
