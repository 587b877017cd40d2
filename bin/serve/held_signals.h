// The signals that a supervisor takes note of, instead of ending by them.
#pragma once

#include <csignal>

#include "base/file_descriptor.h"

namespace dmcache {

// SIGTERM, SIGINT, SIGHUP, and SIGCHLD for each child that ends; as long as this lives.
class held_signals {
 public:
  held_signals();
  held_signals(const held_signals &) = delete;
  held_signals &operator=(const held_signals &) = delete;
  ~held_signals();

  // Can be read from, as poll() tells, when one has come. Is for nothing else.
  int descriptor() const { return come_.get(); }
  // One that has come; 0: none.
  int next() const;

 private:
  sigset_t before_{};
  file_descriptor come_;
};

} // namespace dmcache
