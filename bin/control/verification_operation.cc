#include "bin/control/verification_operation.h"

#include <fmt/format.h>

#include "bin/control/control_protocol.h"
#include "bin/control/verification_json.h"

namespace dmcache {
namespace {

struct verification {
  verification(threaded_runtime &of, const verification_options &how) : work{of, how} {}

  cache_verification work;
  verification_summary found{}; // when it has ended well
};

std::string found_lines(cache_verification &by) {
  std::string lines;
  for (const compared_block &each : by.take_found()) {
    lines += fmt::format("found {} {} {}\n", each.is_dirty ? "equal" : "stale", each.cached_in,
                         each.block);
  }
  return lines;
}

} // namespace

std::optional<verification_options> verification_options_of(std::span<const std::string> words) {
  verification_options how;
  for (const std::string &word : words) {
    bool *const wanted = word == "clear-equal"       ? &how.clear_equal
                         : word == "drop-stale"      ? &how.drop_stale
                         : word == "force-differing" ? &how.accepts_differing
                                                     : nullptr;
    if (wanted == nullptr) {
      return {};
    }
    *wanted = true;
  }
  return how;
}

std::function<result<>()> verification_for(operation &made, threaded_runtime &of,
                                           const verification_options &how) {
  const auto asked = std::make_shared<verification>(of, how);
  made.progress = [asked] {
    return found_lines(asked->work) +
           progress_line(asked->work.nr_compared(), asked->work.nr_blocks());
  };
  made.answer = [asked] {
    return found_lines(asked->work) + fmt::format("ok {}\n", to_json(asked->found));
  };
  made.abandoned = [asked] { asked->work.stop(); };
  return [asked]() -> result<> {
    auto done = asked->work.run();
    if (!done) {
      return std::unexpected{done.error()};
    }
    asked->found = std::move(*done);
    return {};
  };
}

} // namespace dmcache
