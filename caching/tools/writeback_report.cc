#include "caching/tools/writeback_report.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace dmcache {
namespace {

std::vector<std::uint64_t> numbers(std::span<const cache_block> blocks) {
  std::vector<std::uint64_t> all;
  std::ranges::transform(blocks, std::back_inserter(all), &cache_block::value);
  return all;
}

} // namespace

void writeback_report::tell_plan() {
  if (options_.as_json) {
    tell_json(0, plan_.to_copy.size(), {});
    return;
  }
  to_.answer(fmt::format("{} of {} dirty blocks would be copied, {} bytes at most",
                         plan_.to_copy.size(), plan_.nr_dirty(),
                         plan_.to_copy.size() * block_size_.value()));
  tell_left_out();
}

void writeback_report::tell_result(std::size_t nr_copied, std::size_t nr_left,
                                   std::span<const block_failure> failed) {
  if (options_.as_json) {
    tell_json(nr_copied, nr_left, failed);
  } else {
    to_.remark(fmt::format("{} of {} dirty blocks copied", nr_copied, plan_.nr_dirty()));
  }
  tell_left_out();
  tell_failed(failed);
}

void writeback_report::tell_left_out() {
  if (!plan_.discarded.empty()) {
    to_.remark(fmt::format("{} dirty blocks are discarded on the origin: nothing was written to "
                           "them since, so they are not copied, and stay as they are",
                           plan_.discarded.size()));
  }
  if (!plan_.excluded.empty()) {
    to_.problem(fmt::format("{} dirty blocks are excluded, and stay dirty", plan_.excluded.size()));
  }
  if (!plan_.unreadable.empty()) {
    to_.problem(fmt::format("{} dirty blocks were not wholly read from the fast device, as its map "
                            "says: the origin keeps what it has, and they stay dirty",
                            plan_.unreadable.size()));
  }
}

void writeback_report::tell_failed(std::span<const block_failure> failed) {
  for (const auto &kind : by_reason(failed)) {
    to_.problem(fmt::format("{} blocks could not be copied: {}", kind.size(),
                            reason_of(kind.front(), options_.names)));
  }
  if (!failed.empty()) {
    to_.problem(fmt::format("what could not be copied is on the fast device only, and stays "
                            "dirty{}",
                            options_.list_failed ? "" : " (--list-failed-blocks shows it)"));
  }
  if (options_.list_failed && !options_.as_json) {
    std::vector<cache_block> blocks = plan_.unreadable;
    std::ranges::transform(failed, std::back_inserter(blocks), &block_failure::block);
    std::ranges::sort(blocks);
    for (const cache_block each : blocks) {
      to_.answer(fmt::format("{}", each));
    }
  }
}

void writeback_report::tell_json(std::size_t nr_copied, std::size_t nr_left,
                                 std::span<const block_failure> failed) {
  auto reasons = nlohmann::json::array();
  for (const auto &kind : by_reason(failed)) {
    std::vector<std::uint64_t> blocks;
    std::ranges::transform(kind, std::back_inserter(blocks),
                           [](const block_failure &each) { return each.block.value(); });
    reasons.push_back(
        {{"reason", reason_of(kind.front(), options_.names)}, {"cache_blocks", blocks}});
  }
  const nlohmann::json summary{{"dry_run", options_.only_plan},
                               {"block_size", block_size_.value()},
                               {"dirty", plan_.nr_dirty()},
                               {"copied", nr_copied},
                               {"left", nr_left},
                               {"failed", reasons},
                               {"discarded", numbers(plan_.discarded)},
                               {"excluded", numbers(plan_.excluded)},
                               {"unreadable", numbers(plan_.unreadable)}};
  to_.document(summary.dump(2) + "\n");
}

} // namespace dmcache
