// Where a server's messages go: to standard error, to the system's log, or to a file.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

class server_log {
 public:
  server_log() = default; // standard error
  // `where` is "stderr", "journal" for the system's log, or the path of a file, to which it adds. Fails
  // with failure::environment if there is no such log, or the file can't be written to.
  static result<server_log> open(const std::string &where);
  // The system's log, where there is one, and else the file.
  static result<server_log> open_best(const std::string &file);

  // Does it need standard error, which somebody else may wait for?
  bool is_stderr() const { return kind_ == kind::stderr_; }

  // Tells a message of this program.
  void tell(std::string_view text);
  // Tells a line that another program said. It has that program's name in it already. What is said
  // over and over again is told now and then, with how often it was said.
  void pass_on(std::string_view line);

 private:
  enum class kind : std::uint8_t { stderr_, systems, file };

  void write(std::string_view line) const;
  void tell_repeated();

  kind kind_ = kind::stderr_;
  file_descriptor file_;
  std::string last_; // that was passed on
  std::uint64_t nr_repeated_ = 0;
  std::chrono::steady_clock::time_point told_; // `last_` was
};

} // namespace dmcache
