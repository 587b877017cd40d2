// How failure is told: as a value. Exceptions cross no layer.
#pragma once

#include <expected>
#include <string>
#include <utility>

namespace dmcache {

// What a failure means to the one who called the program; the values are the exit codes.
enum class failure {
  failed = 1,      // damage was found, or the operation did not succeed
  usage = 2,       // the command line makes no sense
  environment = 3, // cannot open, in use, an I/O error
};

// A failure and the text that tells the user what is wrong, where, and what to do next.
struct error {
  failure kind;
  std::string message;
};

template <typename T = void> using result = std::expected<T, error>;

inline std::unexpected<error> fail(failure kind, std::string message) {
  return std::unexpected{error{kind, std::move(message)}};
}

} // namespace dmcache
