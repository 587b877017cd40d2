// What sift knows of a block, in words.
#include <fmt/format.h>

#include "base/assert.h"
#include "caching/policy/sift.h"

namespace dmcache {
namespace {

std::string times(std::uint32_t count, std::uint32_t most) {
  return fmt::format("{}{} time{}", count, count >= most ? " or more" : "", count == 1 ? "" : "s");
}

// What has to happen after `count` touches, so that a touch is the one that is needed.
std::string still_missing(std::uint32_t count, std::uint32_t needed) {
  const std::uint32_t before = needed <= count + 1 ? 0 : needed - count - 1;
  return before == 0 ? "the next one"
                     : fmt::format("one after {} more touch{}", before, before == 1 ? "" : "es");
}

} // namespace

// Why a read needs as many touches as it does, if that isn't what read_touches says.
std::string sift::reason_for_touches() const {
  if (budget_.touches_needed(touch_tally::max_count) > 1) {
    return " There are not many promotions left of what fill_budget allows, so it takes more "
           "touches "
           "than usual.";
  }
  if (takes_whatever_comes()) {
    return " The cache has room, so one touch is enough.";
  }
  if (!reuse_.is_likely()) {
    return " What is touched once is seldom touched again at present, as in a scan, so one touch "
           "isn't "
           "enough.";
  }
  return "";
}

block_account sift::account_of_uncached(origin_block block) const {
  const std::uint32_t count = tally_.count_of(block);
  const std::uint32_t of_read = touches_needed(promotion::by_copy);
  const std::uint32_t of_write = touches_needed(promotion::after_write);
  std::string text = count == 0 ? "It was not touched of late, or is forgotten."
                                : fmt::format("It was touched {} of late, and was not cached.",
                                              times(count, touch_tally::max_count));
  text +=
      fmt::format(" A read promotes it at touch {}, that is, {}; a write at touch {}, that is, {}.",
                  of_read, still_missing(count, of_read), of_write, still_missing(count, of_write));
  text += reason_for_touches();
  if (free_ == 0) {
    text += " But no cache block is free at the moment: blocks that nobody comes to have to leave "
            "first.";
  }
  if (!budget_.has_any()) {
    text += " But fill_budget is used up, and nothing is promoted until there is some again.";
  }
  return {.counts = {{"touches", count},
                     {"touches_for_read", of_read},
                     {"touches_for_write", of_write},
                     {"cache_blocks_free", free_}},
          .text = std::move(text)};
}

block_account sift::account_of_cached(cache_block block) const {
  const slot &of = slot_of(block);
  require(is_in_use(of), "a block that is told about is in use");
  const std::uint32_t count = of.count;
  return {.counts = {{"hits", count}},
          .text = fmt::format(
              "It was hit {} of late; each round of the hand takes one off, and at 0 it "
              "leaves, to make room.",
              times(count, max_hits))};
}

} // namespace dmcache
