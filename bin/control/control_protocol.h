// The protocol of a running cache's control socket, and of its status socket, which grants "status"
// alone.
//
// Both sides send lines of text. A request consists of words with a blank between them:
//
//   status                              tells what the cache is doing
//   advise                              tells how large it should be
//   explain BYTE                        tells what is known of the block of the origin with that byte
//   record                              tells what clients ask for
//   message WORD...                     as dmsetup sends them to the kernel's target
//   set mode MODE                       writeback, writethrough, passthrough
//   set policy NAME [KEY VALUE]...
//   set cleaning TRIGGER                background, on-request
//   set max-dirty LIMIT                 a number of sectors, or a percentage of the cache: 25%
//   clean                               writes back everything, and waits for it
//   verify [clear-equal] [drop-stale] [force-differing]
//                                       compares all that is cached with the origin
//   resize                              takes up an origin or a fast device that has grown
//   stop                                shuts the cache down cleanly, and waits for it
//   stop clean                          the same, when everything is written back
//
// The answer is any number of lines
//
//   progress DONE TOTAL                 "0 0" where nothing can be counted
//
// of which one comes at least once a second for as long as the request takes, for verify also
//
//   found stale CACHE_BLOCK ORIGIN_BLOCK    clean, but not the same on the origin
//   found equal CACHE_BLOCK ORIGIN_BLOCK    dirty, but the same
//
// in order of the origin, and then one of
//
//   ok                                  for status, advise, explain and verify: ok JSON
//                                       (status_json.h, advice_json.h, explanation_json.h,
//                                       verification_json.h)
//                                       for resize: ok TEXT, which says what has grown
//                                       for stop: ok TEXT, if the origin isn't complete
//   error KIND TEXT                     KIND: failed, usage, environment (failure of result.h)
//
// Besides these, the answer to record is any number of lines
//
//   request TIME,OP,LBA,SIZE            seconds since the recording began, R or W, sector, bytes
//   lost COUNT                          as many requests came too fast to be told
//
// It goes on until the cache ends, or the client sends anything more, or shuts its side of the connection
// down; then it is told all up to that, and "ok". One at a time can record.
//
// A client may send its next request when it has the answer. The server hangs up on a client that
// sends more than max_request_size bytes without a line's end, takes longer than a minute to send a
// request, or doesn't take the answer. What a client asked for goes on even if the client is gone,
// but for a verification, which ends then.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/result.h"

namespace dmcache {

inline constexpr std::size_t max_request_size = 4096; // bytes, with the line's end

inline constexpr std::array<std::pair<failure, std::string_view>, 3> failure_names{{
    {failure::failed, "failed"},
    {failure::usage, "usage"},
    {failure::environment, "environment"},
}};

// "progress DONE TOTAL", with the line's end.
inline std::string progress_line(std::uint64_t done, std::uint64_t total) {
  return fmt::format("progress {} {}\n", done, total);
}

// "error KIND TEXT", with the line's end.
inline std::string error_line(const error &told) {
  const auto kind = std::ranges::find(failure_names, told.kind, [](const auto &each) {
                      return each.first;
                    })->second;
  std::string text = told.message;
  std::ranges::replace_if(
      text, [](char each) { return static_cast<unsigned char>(each) < ' '; }, ' ');
  return fmt::format("error {} {}\n", kind, text);
}

// The error that error_line() has made the line of; `text` is what follows "error " in it. If its
// kind is unknown, the server must be another one than this, which is failure::environment.
inline error parse_error(std::string_view text) {
  const std::size_t blank = std::min(text.find(' '), text.size());
  const auto *found = std::ranges::find(failure_names, text.substr(0, blank),
                                        [](const auto &each) { return each.second; });
  return {found == failure_names.end() ? failure::environment : found->first,
          std::string{text.substr(std::min(blank + 1, text.size()))}};
}

} // namespace dmcache
