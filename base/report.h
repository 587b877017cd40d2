// What a command tells its user while it works.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/progress.h"
#include "base/result.h"

namespace dmcache {

class report {
 public:
  // `command` stands before each message. A quiet report swallows everything.
  report(std::string command, bool quiet)
      : command_{std::move(command)}, quiet_{quiet}, watcher_{quiet} {}

  // What went wrong, or needs the user's attention: to standard error.
  void problem(std::string_view text) { print(stderr, fmt::format("{}: {}\n", command_, text)); }
  // What the command was asked for: to standard output.
  void answer(std::string_view text) { print(answers_to_, fmt::format("{}\n", text)); }
  // Answers go to standard error from now on: something else goes to standard output.
  void keep_off_standard_output() { answers_to_ = stderr; }

  // That the command failed, and why, if there is a text to it. Returns the exit code.
  int failed(const error &why) {
    if (!why.message.empty()) {
      problem(why.message);
    }
    return static_cast<int>(why.kind);
  }

  progress &watcher() { return watcher_; }

 private:
  void print(std::FILE *to, const std::string &text) {
    if (!quiet_) {
      watcher_.clear();
      fmt::print(to, "{}", text);
    }
  }

  std::string command_;
  bool quiet_;
  std::FILE *answers_to_ = stdout;
  progress watcher_;
};

} // namespace dmcache
