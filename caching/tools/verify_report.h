// What a comparison of a cache with its origin has found, and how it is told: by cache_verify, and
// by cache_ctl verify of a cache in use.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/report.h"
#include "caching/metadata/cache_contents.h"

namespace dmcache {

struct verify_findings {
  using location = cache_contents::location;

  // Each in order of the origin.
  std::vector<location> stale{}; // clean, but not the same
  std::vector<location> equal{}; // dirty, but the same
  std::uint64_t nr_clean = 0;
  std::uint64_t nr_dirty = 0;
  std::uint64_t nr_discarded = 0; // clean and not the same, which says nothing
  std::uint64_t nr_unreadable = 0;
  std::uint64_t nr_untried = 0;
  // What has become of them already, if that is to be told.
  std::optional<std::uint64_t> nr_cleared{};
  std::optional<std::uint64_t> nr_dropped{};
};

// `list`: each block that is stale or equal, a line each.
void tell_text(const verify_findings &found, bool list, report &to);

// As a JSON object, on standard output. `reasons` say why blocks are unreadable.
void tell_json(const verify_findings &found, bytes block_size, std::span<const std::string> reasons,
               report &to);

void tell_cleared(std::uint64_t nr_blocks, report &to);
void tell_dropped(std::uint64_t nr_blocks, report &to);

// Why something is refused ("nothing was changed"): of `nr_telling` clean blocks most differ.
std::unexpected<error> most_differ(std::uint64_t nr_stale, std::uint64_t nr_telling,
                                   std::string_view refusal);

// Of the end, if so many blocks could not be read, or are stale and still cached. `are_listed`: the
// user knows which ones.
result<> outcome_of(std::uint64_t nr_unreadable, std::uint64_t nr_stale, bool are_listed);

} // namespace dmcache
