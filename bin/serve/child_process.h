// Processes that this one starts and watches.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

// The output of a process, line by line.
class said_lines {
 public:
  said_lines() = default; // no process's
  // `from` doesn't block.
  explicit said_lines(file_descriptor from) : from_{std::move(from)} {}

  // For poll(): becomes readable when the process has said something. Negative after the end.
  int descriptor() const { return from_.get(); }
  // Gives `take` some of the lines that were said until now, without their ends. Never waits. The
  // value says whether there may be more.
  bool read(const std::function<void(std::string_view line)> &take);

 private:
  void take_lines(const std::function<void(std::string_view line)> &take, std::size_t longest);

  file_descriptor from_;
  std::string unfinished_;
};

// The descriptor at which a server can say what isn't meant for people.
inline constexpr int notes_descriptor = 3;
// The first of those that it shares with this process.
inline constexpr int first_shared_descriptor = 4;

struct server_process {
  pid_t id;
  said_lines says; // its standard output and standard error
  said_lines notes;
};

// Both functions start the program at the path that comes first, as a shell does, with no signal
// blocked. They fail with failure::environment.

// The new process shares this one's terminal and files.
result<pid_t> start_command(std::vector<std::string> command);
// The new process has a session of its own, so that a terminal's signals reach only this process,
// which passes them on. It gets copies of the descriptors `shared`, in this order.
result<server_process> start_server(std::vector<std::string> command,
                                    const std::vector<int> &shared);

} // namespace dmcache
