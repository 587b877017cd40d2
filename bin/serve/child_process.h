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

// What a process says, line by line.
class said_lines {
 public:
  said_lines() = default; // of nobody
  // `from` doesn't block.
  explicit said_lines(file_descriptor from) : from_{std::move(from)} {}

  // Can be read from, as poll() tells, when something was said; negative after the end.
  int descriptor() const { return from_.get(); }
  // Takes some of what was said until now, never waits. A line is given without its end. The value
  // says whether there may be more.
  bool read(const std::function<void(std::string_view line)> &take);

 private:
  void take_lines(const std::function<void(std::string_view line)> &take, std::size_t longest);

  file_descriptor from_;
  std::string unfinished_;
};

struct server_process {
  pid_t id;
  said_lines says; // on standard output and standard error
};

// Both start a program by its path, as if a shell had, with no signal held back. They fail with
// failure::environment.

// With this process' terminal and files.
result<pid_t> start_command(std::vector<std::string> command);
// In a session of its own: a terminal's signals are for this process, which passes them on.
result<server_process> start_server(std::vector<std::string> command);

} // namespace dmcache
