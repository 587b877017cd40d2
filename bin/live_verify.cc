#include "bin/live_verify.h"

#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "bin/control/verification_json.h"
#include "caching/tools/verify_report.h"

namespace dmcache {
namespace {

std::string request_of(const live_verify_options &how) {
  return fmt::format("verify{}{}{}", how.clear_equal ? " clear-equal" : "",
                     how.drop_stale ? " drop-stale" : "",
                     how.accepts_differing ? " force-differing" : "");
}

// "stale 7 1234", as the server says it.
void note(std::string_view find, verify_findings &found) {
  std::istringstream words{std::string{find}};
  std::string kind;
  std::uint64_t cached_in = 0;
  std::uint64_t origin = 0;
  if (words >> kind >> cached_in >> origin) {
    (kind == "stale" ? found.stale : found.equal)
        .push_back({origin_block{origin}, cache_block{cached_in}});
  }
}

} // namespace

result<> verify_live(control_client &server, const live_verify_options &how, report &to) {
  verify_findings found;
  std::uint64_t so_far = 0;
  bool has_begun = false;
  const auto answer = server.ask(
      request_of(how),
      [&](std::uint64_t done, std::uint64_t total) {
        if (total != 0 && !std::exchange(has_begun, true)) {
          to.watcher().begin("comparing", total);
        }
        to.watcher().advance(done - std::exchange(so_far, done));
      },
      [&](std::string_view find) { note(find, found); });
  to.watcher().clear();
  const auto told = answer ? summary_from_json(*answer)
                           : result<verification_summary>{std::unexpected{answer.error()}};
  if (!told) {
    return std::unexpected{told.error()};
  }
  found.nr_clean = told->clean;
  found.nr_dirty = told->dirty;
  found.nr_discarded = told->clean_discarded;
  found.nr_unreadable = told->unreadable;
  found.nr_cleared = told->cleared;
  found.nr_dropped = told->dropped;
  if (how.as_json) {
    to.keep_off_standard_output();
    tell_json(found, told->block_size,
              std::vector<std::string>{told->reasons.begin(), told->reasons.end()}, to);
  } else {
    tell_text(found, how.list, to);
  }
  for (const std::string &reason : told->reasons) {
    to.problem(fmt::format("blocks could not be compared: {}", reason));
  }
  if (told->cleared != 0) {
    tell_cleared(told->cleared, to);
  }
  if (told->dropped != 0) {
    tell_dropped(told->dropped, to);
  }
  if (told->is_drop_refused) {
    return most_differ(found.stale.size(), told->clean - told->clean_discarded,
                       "nothing was dropped");
  }
  return outcome_of(told->unreadable, told->stale_left, how.list || how.as_json);
}

} // namespace dmcache
