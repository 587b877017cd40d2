#include "caching/tools/verify_report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dmcache {
namespace {

using location = cache_contents::location;

nlohmann::json listed(std::span<const location> blocks) {
  auto list = nlohmann::json::array();
  for (const location &each : blocks) {
    list.push_back(
        {{"cache_block", each.cached_in.value()}, {"origin_block", each.origin.value()}});
  }
  return list;
}

} // namespace

void tell_json(const verify_findings &found, bytes block_size, std::span<const std::string> reasons,
               report &to) {
  nlohmann::json summary{{"block_size", block_size.value()},
                         {"clean", found.nr_clean},
                         {"clean_discarded", found.nr_discarded},
                         {"clean_differing", listed(found.stale)},
                         {"dirty", found.nr_dirty},
                         {"dirty_equal", listed(found.equal)},
                         {"unreadable", found.nr_unreadable},
                         {"unreadable_because", reasons},
                         {"left", found.nr_untried}};
  if (found.nr_cleared) {
    summary["cleared"] = *found.nr_cleared;
  }
  if (found.nr_dropped) {
    summary["dropped"] = *found.nr_dropped;
  }
  to.document(summary.dump(2) + "\n");
}

void tell_text(const verify_findings &found, bool list, report &to) {
  to.answer(fmt::format("{} clean blocks: {} differ from the origin", found.nr_clean,
                        found.stale.size()));
  if (found.nr_discarded != 0) {
    to.answer(fmt::format("  {} more do that the origin has discarded, which says nothing",
                          found.nr_discarded));
  }
  to.answer(fmt::format("{} dirty blocks: {} are the same on the origin", found.nr_dirty,
                        found.equal.size()));
  if (list) {
    for (const location &each : found.stale) {
      to.answer(fmt::format("clean and differs: cache block {}, origin block {}", each.cached_in,
                            each.origin));
    }
    for (const location &each : found.equal) {
      to.answer(fmt::format("dirty and the same: cache block {}, origin block {}", each.cached_in,
                            each.origin));
    }
  }
}

void tell_cleared(std::uint64_t nr_blocks, report &to) {
  to.remark(fmt::format("{} dirty blocks are clean now", nr_blocks));
}

void tell_dropped(std::uint64_t nr_blocks, report &to) {
  to.remark(
      fmt::format("{} clean blocks are out of the cache now: the origin's data count", nr_blocks));
}

std::unexpected<error> most_differ(std::uint64_t nr_stale, std::uint64_t nr_telling,
                                   std::string_view refusal) {
  return fail(failure::failed,
              fmt::format("{}: {} of {} clean blocks differ: are these the devices of one cache? "
                          "--force differing changes it all the same",
                          refusal, nr_stale, nr_telling));
}

result<> outcome_of(std::uint64_t nr_unreadable, std::uint64_t nr_stale, bool are_listed) {
  if (nr_unreadable != 0) {
    return fail(failure::environment,
                fmt::format("{} blocks could not be compared", nr_unreadable));
  }
  if (nr_stale != 0) {
    return fail(failure::failed,
                fmt::format("{} clean blocks differ: the origin was written to without the cache, "
                            "or a device doesn't keep what it was given; or these aren't the "
                            "devices of one cache{}",
                            nr_stale, are_listed ? "" : " (--list shows the blocks)"));
  }
  return {};
}

} // namespace dmcache
