#include "bin/recording.h"

#include <utility>

#include <fmt/format.h>

#include "bin/control/status_text.h"
#include "bin/stop_signals.h"
#include "bin/trace_file.h"

namespace dmcache {

result<> record(control_client &server, const recording_options &how, report &to) {
  auto file = trace_file::create(how.path);
  if (!file) {
    return std::unexpected{file.error()};
  }
  if (how.path == "-") {
    to.keep_off_standard_output();
  }
  stop_on_signals();
  const auto begun = std::chrono::steady_clock::now();
  std::uint64_t nr_written = 0;
  bool is_begun = false;
  result<> written;
  const auto recorded = server.record(
      [&](std::string_view line) {
        if (bytes{file->size()} < how.max_size) {
          written = file->add(line);
          ++nr_written;
        }
        return written;
      },
      [&] {
        if (!std::exchange(is_begun, true)) { // the cache has answered
          to.problem("recording: interrupt this to end it");
        }
        return is_stop_wanted() || bytes{file->size()} >= how.max_size ||
               (how.at_most && std::chrono::steady_clock::now() - begun >= *how.at_most);
      });
  if (!written || (!recorded && nr_written == 0)) {
    return std::unexpected{recorded.error()};
  }
  if (auto complete = file->commit(); !complete) {
    return complete;
  }
  to.remark(
      fmt::format("{} requests recorded, in {}", nr_written, readable_size(bytes{file->size()})));
  if (!recorded) {
    return std::unexpected{recorded.error()};
  }
  if (recorded->nr_lost != 0) {
    to.problem(
        fmt::format("{} requests are missing in between: they came faster than they could be "
                    "taken away",
                    recorded->nr_lost));
  }
  return {};
}

} // namespace dmcache
