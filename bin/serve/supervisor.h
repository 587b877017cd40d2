// Keeps an nbdkit going that serves a cache, and ends when it ends.
//
// nbdkit can die of its clients: before 1.34 it aborts when a client vanishes whose requests are under
// way. So that the other clients don't lose the cache, it is started again, however often that happens,
// but after longer and longer pauses while it lives for a short time only. What they flushed is there,
// and so are the mode, the policy and the settings that were in force.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "bin/control/unix_socket.h"
#include "bin/serve/child_process.h"
#include "bin/serve/device_locks.h"
#include "bin/serve/held_signals.h"
#include "bin/serve/nbd_greeting.h"
#include "bin/serve/nbdkit_server.h"
#include "bin/serve/server_log.h"

namespace dmcache {

class supervisor {
 public:
  // `when_ready` is called once, when clients are answered for the first time.
  supervisor(serve_options options, server_log &log, std::function<void()> when_ready)
      : options_{std::move(options)},
        mode_{options_.engine.read_only ? access::read_only : access::read_write}, log_{log},
        when_ready_{std::move(when_ready)}, greeting_{options_.tcp, options_.socket} {}

  // Serves until nbdkit is told to end, or this process is by a signal, or nbdkit can't serve the
  // cache. If the cache is served for a command, this runs the command meanwhile. (nbdkit can run commands as
  // well, but if it is sent a signal meanwhile, it spins until the command ends.) The value is the
  // command's exit code, or 128 and the number of the signal that killed it.
  result<int> run();

 private:
  result<> start();
  result<> start_again();
  std::chrono::milliseconds next_pause();
  result<> rest(std::chrono::milliseconds pause);
  result<> wait_for_devices();
  void leave_passthrough_if_needed();
  bool may_start_again(int status) const;
  int watch_until_it_ends();
  void wait_for_news();
  bool hear_it();
  bool take_notes();
  void take_signals();
  void greet();
  void hear_what_came_before();
  void let_clients_in();
  void begin_to_serve();
  void look_after_client();
  void end_client();
  void tell_to_end();
  result<int> outcome(int status) const;
  std::string_view consequence() const;

  serve_options options_;
  access mode_;
  server_log &log_;
  std::function<void()> when_ready_;
  held_signals signals_;

  pid_t server_ = 0; // nbdkit's process; 0 while there is none
  said_lines says_;
  said_lines notes_; // the settings that cache_ctl has made
  nbd_greeting greeting_;
  bool is_answering_ = false;   // nbdkit has answered a client since it was started
  bool was_answering_ = false;  // nbdkit has ever answered a client
  bool is_told_to_end_ = false; // nbdkit is, or the command
  device_locks locks_;
  std::chrono::steady_clock::time_point started_; // nbdkit was, the last time
  std::chrono::milliseconds pause_{0};            // before it was started then
  socket_file served_at_;                         // if it has answered

  pid_t client_ = 0;      // the command's process; 0 while there is none
  int client_status_ = 0; // once it has ended
  result<> began_;        // to serve clients, and the command if there is one
};

} // namespace dmcache
