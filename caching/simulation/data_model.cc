#include "caching/simulation/data_model.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/assert.h"

namespace dmcache {

data_model::data_model(std::uint64_t nr_sectors) : sectors_(nr_sectors), links_(1) {
  changes_.push_back(
      {change_kind::zeroes, state::done, false, false, {0, ~std::uint64_t{0}}, 0, 0});
}

void data_model::resize(std::uint64_t nr_sectors) {
  for (std::uint64_t i = nr_sectors; i < sectors_.size(); ++i) {
    cover(sectors_[i], ~change_id{0});
  }
  std::erase_if(unflushed_, [&](std::uint32_t each) { return each >= nr_sectors; });
  sectors_.resize(nr_sectors);
}

std::uint32_t data_model::new_link() {
  if (free_links_ == 0) {
    links_.emplace_back();
    return static_cast<std::uint32_t>(links_.size() - 1);
  }
  const std::uint32_t taken = free_links_;
  free_links_ = links_[taken].next;
  links_[taken] = {};
  return taken;
}

change_id data_model::begin(change_kind kind, sector_range where) {
  const change_id number = next_change();
  changes_.push_back({kind, state::pending, false, false, where, time_++, 0});
  for (std::uint64_t i = where.begin; i < where.end; ++i) {
    const std::uint32_t added = new_link();
    links_[added].id = number;
    std::uint32_t *at = &sectors_[i].first;
    if (*at == 0) {
      unflushed_.push_back(static_cast<std::uint32_t>(i));
    }
    while (*at != 0) {
      at = &links_[*at].next;
    }
    *at = added;
  }
  return number;
}

std::optional<std::string> data_model::end(change_id id, bool is_done, bool is_durable) {
  change &ended = changes_[id];
  require(ended.is == state::pending, "a change ends once");
  ended.is = is_done ? state::done : state::failed;
  ended.ended_at = time_++;
  if (is_done && ended.must_fail) {
    return fmt::format("change {} of [{}, {}) succeeded, but a later read didn't find it", id,
                       ended.where.begin, ended.where.end);
  }
  if (is_done && is_durable) {
    for (std::uint64_t i = ended.where.begin; i < ended.where.end; ++i) {
      cover(sectors_[i], id);
    }
  }
  return {};
}

std::optional<std::string> data_model::refuse(change_id id) {
  change &refused = changes_[id];
  require(refused.is == state::pending, "a change ends once");
  refused.is = state::failed;
  for (std::uint64_t i = refused.where.begin; i < refused.where.end; ++i) {
    if (sectors_[i].seen == id) {
      return fmt::format("sector {} was read as written by change {}, which was refused", i, id);
    }
    drop(sectors_[i], id);
  }
  return {};
}

// If it is one of the sector's.
void data_model::drop(sector_state &sector, change_id id) {
  std::uint32_t *at = &sector.first;
  while (*at != 0 && links_[*at].id != id) {
    at = &links_[*at].next;
  }
  if (const std::uint32_t dropped = *at; dropped != 0) {
    *at = links_[dropped].next;
    links_[dropped].next = free_links_;
    free_links_ = dropped;
  }
}

// Drops what is older than `durable`, if that is newer than what was.
void data_model::cover(sector_state &sector, change_id durable) {
  std::uint32_t *at = &sector.first;
  while (*at != 0 && links_[*at].id <= durable) {
    const std::uint32_t dropped = *at;
    sector.durable = links_[dropped].id;
    *at = links_[dropped].next;
    links_[dropped].next = free_links_;
    free_links_ = dropped;
  }
  if (sector.seen_at_last <= sector.durable) {
    sector.seen = 0;
    sector.seen_at_last = 0;
  }
}

void data_model::flushed(std::uint64_t submitted_at) {
  std::erase_if(unflushed_, [&](std::uint32_t number) {
    sector_state &each = sectors_[number];
    change_id durable = 0;
    bool can_be_of_lost = false; // what was read: zeroes don't tell whose they are
    for (std::uint32_t at = each.first; at != 0; at = links_[at].next) {
      const change &made = changes_[links_[at].id];
      can_be_of_lost = can_be_of_lost || (made.can_be_lost && links_[at].id <= each.seen_at_last &&
                                          made.kind == change_kind::zeroes);
      if (made.is == state::done && made.ended_at < submitted_at && !made.can_be_lost) {
        durable = links_[at].id;
      }
    }
    const bool is_settled = each.seen_at_last > durable && each.seen_time < submitted_at &&
                            !changes_[each.seen].can_be_lost && !can_be_of_lost;
    if (is_settled) {
      const change_id seen = each.seen;
      cover(each, each.seen_at_last);
      each.durable = seen;
    } else if (durable != 0) {
      cover(each, durable);
    }
    return each.first == 0;
  });
}

std::optional<std::uint64_t> data_model::lost(std::uint64_t flush_began_at) {
  std::optional<std::uint64_t> first;
  for (const std::uint32_t number : unflushed_) {
    for (std::uint32_t at = sectors_[number].first; at != 0; at = links_[at].next) {
      change &made = changes_[links_[at].id];
      const bool is_concerned = made.begun_at < flush_began_at; // all of it or a part
      if (is_concerned && made.is == state::done && !made.can_be_lost) {
        first = std::min(first.value_or(made.ended_at), made.ended_at);
      }
      made.can_be_lost = made.can_be_lost || is_concerned;
    }
  }
  return first;
}

bool data_model::was_written(std::uint64_t sector, const stamp &found, change_id before) const {
  if (found == stamp{}) {
    return true;
  }
  if (found.sector != sector || found.change == 0 || found.change >= before) {
    return false;
  }
  const change &made = changes_[found.change];
  return made.kind == change_kind::write && made.where.contains(sector);
}

// Is `found` what this change leaves of the sector?
bool data_model::is_of(change_id id, std::uint64_t sector, const stamp &found,
                       change_id before) const {
  switch (changes_[id].kind) {
  case change_kind::write:
    return found == stamp{sector, id};
  case change_kind::zeroes:
    return found == stamp{};
  case change_kind::discard:
    break;
  }
  return was_written(sector, found, before);
}

std::optional<std::string> data_model::read(std::uint64_t number, const stamp &found,
                                            change_id before) {
  sector_state &sector = sectors_[number];
  if (sector.durable >= before) { // later changes are known to be durable: what was before is gone
    return was_written(number, found, before)
               ? std::nullopt
               : std::optional{explain(number, found, "read what was never written")};
  }
  const bool is_newer =
      sector.seen_at_last != 0 && sector.seen_at_last < before; // than what was seen
  const change_id start = is_newer ? sector.seen : sector.durable;
  std::optional<change_id> match;
  if (is_of(start, number, found, before)) {
    match = start;
  }
  bool is_sure = true;
  change_id last = sector.durable;
  for (std::uint32_t at = sector.first; at != 0 && links_[at].id < before; at = links_[at].next) {
    last = links_[at].id;
    if (is_newer && last <= sector.seen_at_last) {
      continue;
    }
    is_sure = changes_[last].is == state::done;
    if (is_of(last, number, found, before)) {
      match = last;
    } else if (is_sure) {
      match.reset();
    }
  }
  if (!match) {
    return explain(number, found, "read what it doesn't hold");
  }
  if (is_sure || changes_[*match].kind == change_kind::discard) {
    return {};
  }
  if (last > sector.seen_at_last) {
    sector.seen = *match;
    sector.seen_at_last = last;
    sector.seen_time = time_++;
  }
  // What is pending has been here before the read. If the read didn't find it, it failed here.
  for (std::uint32_t at = sector.first; at != 0 && links_[at].id <= last; at = links_[at].next) {
    change &passed = changes_[links_[at].id];
    passed.must_fail = passed.must_fail || (passed.is == state::pending && links_[at].id > *match);
  }
  return {};
}

void data_model::killed(bool is_done_kept, bool is_seen_kept) {
  for (const std::uint32_t number : unflushed_) {
    for (std::uint32_t at = sectors_[number].first; at != 0; at = links_[at].next) {
      change &made = changes_[links_[at].id];
      made.is = is_done_kept && made.is == state::done ? state::done : state::failed;
    }
    if (!is_done_kept || !is_seen_kept) {
      sectors_[number].seen = 0;
      sectors_[number].seen_at_last = 0;
    }
  }
}

void data_model::interrupt() {
  for (const std::uint32_t number : unflushed_) {
    for (std::uint32_t at = sectors_[number].first; at != 0; at = links_[at].next) {
      change &made = changes_[links_[at].id];
      made.is = made.is == state::pending ? state::failed : made.is;
    }
  }
}

std::optional<std::string> data_model::survived(std::uint64_t number, const stamp &found,
                                                bool are_discards_kept) {
  sector_state &sector = sectors_[number];
  const change_id before = next_change();
  change_id discard = changes_[sector.durable].kind == change_kind::discard ? sector.durable : 0;
  std::optional<change_id> match;
  if (is_of(sector.durable, number, found, before)) {
    match = sector.durable;
  }
  for (std::uint32_t at = sector.first; at != 0; at = links_[at].next) {
    const change_id next = links_[at].id;
    match = is_of(next, number, found, before) ? next : match;
    discard = changes_[next].kind == change_kind::discard ? next : discard;
  }
  if (!match) {
    return explain(number, found, "holds after the power cut what it can't");
  }
  cover(sector, ~change_id{0});
  sector.seen = 0;
  sector.seen_at_last = 0;
  sector.durable = discard != 0 && are_discards_kept ? discard
                   : found == stamp{}                ? 0
                                                     : static_cast<change_id>(found.change);
  return {};
}

bool data_model::is_last(change_id id, std::uint64_t number) const {
  const sector_state &sector = sectors_[number];
  change_id last = sector.durable;
  for (std::uint32_t at = sector.first; at != 0; at = links_[at].next) {
    last = links_[at].id;
  }
  return last == id;
}

bool data_model::is_discarded(std::uint64_t number) const {
  const sector_state &sector = sectors_[number];
  bool is_so = changes_[sector.durable].kind == change_kind::discard;
  for (std::uint32_t at = sector.first; at != 0; at = links_[at].next) {
    const change &made = changes_[links_[at].id];
    is_so = made.kind == change_kind::discard || (is_so && made.is != state::done);
  }
  return is_so;
}

std::string data_model::explain(std::uint64_t number, const stamp &found, const char *claim) const {
  const auto describe = [&](change_id id) {
    const change &made = changes_[id];
    static constexpr const char *kinds[] = {"write", "zeroes", "discard"};
    static constexpr const char *states[] = {"pending", "done", "failed"};
    return fmt::format("{} {} [{}, {}) {}", kinds[static_cast<int>(made.kind)], id,
                       made.where.begin, made.where.end, states[static_cast<int>(made.is)]);
  };
  const sector_state &sector = sectors_[number];
  std::string text = fmt::format("sector {} {}: change {} of sector {}; durable: {}", number, claim,
                                 found.change, found.sector, describe(sector.durable));
  if (sector.seen_at_last != 0) {
    text += fmt::format("; read before: {}", describe(sector.seen));
  }
  for (std::uint32_t at = sector.first; at != 0; at = links_[at].next) {
    text += "; then " + describe(links_[at].id);
  }
  return text;
}

} // namespace dmcache
