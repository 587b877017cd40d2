// Keeps signals from ending a supervisor, which asks for those that have come.
#pragma once

#include <csignal>

#include "base/file_descriptor.h"

namespace dmcache {

// For as long as this lives it holds SIGTERM, SIGINT, SIGHUP and SIGCHLD, which comes when a child
// ends.
class held_signals {
 public:
  held_signals();
  held_signals(const held_signals &) = delete;
  held_signals &operator=(const held_signals &) = delete;
  ~held_signals();

  // For poll(), and nothing else: it becomes readable when a signal has come.
  int descriptor() const { return come_.get(); }
  // A signal that has come, or 0 if there is none.
  int next() const;

 private:
  sigset_t before_{};
  file_descriptor come_;
};

} // namespace dmcache
