// Shows how far a long piece of work has come to somebody who watches a terminal.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace dmcache {

// Shows nothing where standard error is no terminal, when told to be quiet, and in the first half
// second of a piece of work.
class progress {
 public:
  explicit progress(bool quiet);
  progress(const progress &) = delete;
  progress &operator=(const progress &) = delete;
  ~progress() { clear(); }

  // Begins a new piece of work, which will take `total` steps.
  void begin(std::string work, std::uint64_t total);
  // The same, where a step is a byte: the rate and the remaining time are shown, too.
  void begin_transfer(std::string work, std::uint64_t total);
  // Adds `more` steps to that work if it is under way, and begins it otherwise.
  void expect(std::string work, std::uint64_t more);
  void advance(std::uint64_t steps);
  // Says at once what is waited for, until the next piece of work begins.
  void wait_for(std::string_view awaited);

  // Wipes the line, so that something else can be printed.
  void clear();

 private:
  using clock = std::chrono::steady_clock;

  void show();
  std::string rate() const;

  bool enabled_;
  bool shown_ = false;
  std::string work_;
  std::uint64_t total_ = 0;
  std::uint64_t done_ = 0;
  bool is_transfer_ = false;
  clock::time_point begun_;
  clock::time_point next_;
};

} // namespace dmcache
