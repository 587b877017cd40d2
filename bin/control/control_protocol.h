// How a running cache is spoken to, over its control socket.
//
// Both sides send lines of text. A request is words with a blank between them:
//
//   status                              what the cache is doing
//   message WORD...                     what dmsetup could send to the kernel's target
//   set mode MODE                       writeback, writethrough, passthrough
//   set policy NAME [KEY VALUE]...
//   clean                               write back everything, and wait for it
//   stop                                a clean shutdown of the cache, and wait for it
//
// The answer is any number of lines
//
//   progress DONE TOTAL                 "0 0" where nothing can be counted
//
// which come at least once a second for as long as the request takes, and then one of
//
//   ok                                  or, of status: ok JSON (status_json.h)
//   error KIND TEXT                     KIND: failed, usage, environment (failure of result.h)
//
// A client may send its next request when it has the answer. It is sent away if it sends more than
// max_request_size bytes without a line's end, takes longer than a minute to send a request, or
// doesn't take the answer. What it asked for goes on, even if it is gone.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/result.h"

namespace dmcache {

inline constexpr std::size_t max_request_size = 4096; // bytes, with the line's end

inline constexpr std::array<std::pair<failure, std::string_view>, 3> failure_names{{
    {failure::failed, "failed"},
    {failure::usage, "usage"},
    {failure::environment, "environment"},
}};

// "error KIND TEXT", with the line's end.
inline std::string error_line(const error &what) {
  const auto kind = std::ranges::find(failure_names, what.kind, [](const auto &each) {
                      return each.first;
                    })->second;
  std::string text = what.message;
  std::ranges::replace_if(
      text, [](char each) { return static_cast<unsigned char>(each) < ' '; }, ' ');
  return fmt::format("error {} {}\n", kind, text);
}

// What error_line() made it of; `text` is what follows "error ". An unknown kind is the server's
// failure.
inline error parse_error(std::string_view text) {
  const std::size_t blank = std::min(text.find(' '), text.size());
  const auto *found = std::ranges::find(failure_names, text.substr(0, blank),
                                        [](const auto &each) { return each.second; });
  return {found == failure_names.end() ? failure::environment : found->first,
          std::string{text.substr(std::min(blank + 1, text.size()))}};
}

} // namespace dmcache
