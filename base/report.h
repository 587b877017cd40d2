// What a command tells its user while it works.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/progress.h"
#include "base/result.h"
#include "base/standard_streams.h"

namespace dmcache {

class report {
 public:
  // `command` stands before each message. A quiet report swallows everything but documents.
  report(std::string command, bool quiet)
      : command_{std::move(command)}, quiet_{quiet}, watcher_{quiet} {}

  // What went wrong, or needs the user's attention: to standard error.
  void problem(std::string_view text) {
    if (!quiet_) {
      watcher_.clear();
      tell(fmt::format("{}: {}\n", command_, text));
    }
  }

  // What the command was asked for: to standard output. That it didn't arrive shows in the exit
  // code; with that, the command has not failed in what else it does.
  void answer(std::string_view text) {
    if (!quiet_) {
      say(text, true);
    }
  }

  // What a command that was asked for something else says of it: to standard output. Whether it
  // arrives or not matters to nothing else.
  void remark(std::string_view text) {
    if (!quiet_) {
      say(text, false);
    }
  }

  // Answers and remarks go to standard error from now on: something else goes to standard output.
  void keep_off_standard_output() { has_standard_output_ = false; }

  // The something else, whole lines. It is an answer, and never swallowed.
  void document(std::string_view text) {
    watcher_.clear();
    note_arrival(write_out(text));
  }

  // That the command failed, and why, if there is a text to it. Returns the exit code.
  int failed(const error &why) {
    if (!why.message.empty()) {
      problem(why.message);
    }
    return ended(static_cast<int>(why.kind));
  }

  // The exit code of a command that ended so; it has failed, too, if an answer didn't arrive.
  int ended(const result<> &done) { return done ? ended(0) : failed(done.error()); }
  int ended(int code) const {
    return is_answer_lost_ ? static_cast<int>(failure::environment) : code;
  }

  progress &watcher() { return watcher_; }

 private:
  void say(std::string_view text, bool is_answer) {
    watcher_.clear();
    const std::string line = fmt::format("{}\n", text);
    if (!has_standard_output_) {
      tell(line);
    } else if (const auto written = write_out(line); is_answer) {
      note_arrival(written);
    }
  }

  // Says once that answers don't arrive.
  void note_arrival(const result<> &written) {
    if (!written && !std::exchange(is_answer_lost_, true) && !written.error().message.empty()) {
      problem(written.error().message);
    }
  }

  std::string command_;
  bool quiet_;
  bool has_standard_output_ = true;
  bool is_answer_lost_ = false;
  progress watcher_;
};

} // namespace dmcache
