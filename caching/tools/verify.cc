#include "caching/tools/verify.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/output_file.h"
#include "caching/metadata/cache_contents.h"
#include "caching/tools/block_comparer.h"
#include "caching/tools/rescue_map.h"
#include "caching/tools/sound_contents.h"
#include "caching/tools/verify_report.h"

namespace dmcache {
namespace {

using location = cache_contents::location;

verify_findings findings_of(const cache_contents &contents, std::span<const location> blocks,
                            std::span<const comparison> compared) {
  verify_findings found;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const location &each = blocks[i];
    const bool is_equal = compared[i] == comparison::equal;
    if (compared[i] == comparison::untried) {
      ++found.nr_untried;
    } else if (compared[i] == comparison::unreadable) {
      ++found.nr_unreadable;
    } else if (contents.is_dirty(each.cached_in)) {
      ++found.nr_dirty;
      if (is_equal) {
        found.equal.push_back(each);
      }
    } else {
      ++found.nr_clean;
      if (!is_equal && contents.is_discarded(each.origin)) {
        ++found.nr_discarded;
      } else if (!is_equal) {
        found.stale.push_back(each);
      }
    }
  }
  return found;
}

rescue_map map_of(std::span<const location> blocks, std::span<const comparison> compared,
                  const block_geometry &geometry, bytes origin_begin) {
  rescue_map map;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    if (compared[i] == comparison::equal || compared[i] == comparison::differs) {
      const std::uint64_t size = geometry.block_size.value();
      const std::uint64_t begin = blocks[i].origin.value() * size;
      const std::uint64_t end = std::min(begin + size, geometry.origin_end.value());
      map.add(origin_begin + begin, origin_begin + end, compared[i] == comparison::equal);
    }
  }
  return map;
}

std::vector<std::string> reasons_of(std::span<const block_failure> failures,
                                    const device_names &names) {
  std::vector<std::string> reasons;
  for (const auto &kind : by_reason(failures)) {
    reasons.push_back(reason_of(kind.front(), names));
  }
  return reasons;
}

void tell_failures(std::span<const block_failure> failures, const device_names &names, report &to) {
  for (const auto &kind : by_reason(failures)) {
    to.problem(fmt::format("{} times blocks could not be compared: {}", kind.size(),
                           reason_of(kind.front(), names)));
  }
}

// What is the same may still be on its way to the device.
result<> flush(device &each, const std::string &name) {
  if (const auto error = each.flush()) {
    return fail(failure::environment,
                fmt::format("cannot flush {}: {}: nothing was changed", name, error.message()));
  }
  return {};
}

struct verified_devices {
  const metadata_device &metadata;
  device &origin;
  device &fast;
};

result<> change(const verified_devices &on, cache_contents &contents, const block_usage &usage,
                const verify_findings &found, const verify_options &options, report &to) {
  const cache_contents::changes wanted{
      .cleaned = options.clear_equal ? std::span{found.equal} : std::span<const location>{},
      .unmapped = options.drop_stale ? std::span{found.stale} : std::span<const location>{}};
  if (wanted.cleaned.empty() && wanted.unmapped.empty()) {
    return {};
  }
  const std::uint64_t nr_telling = found.nr_clean - found.nr_discarded;
  if (found.stale.size() > nr_telling / 2 && !options.accepts_differing) {
    return most_differ(found.stale.size(), nr_telling, "nothing was changed");
  }
  auto done = flush(on.origin, options.names.origin);
  done = done ? flush(on.fast, options.names.fast) : done;
  done = done ? contents.change(*on.metadata.from, usage, wanted) : done;
  if (!done) {
    return done;
  }
  if (!wanted.cleaned.empty()) {
    tell_cleared(wanted.cleaned.size(), to);
  }
  if (!wanted.unmapped.empty()) {
    tell_dropped(wanted.unmapped.size(), to);
  }
  return {};
}

} // namespace

result<> verify(const metadata_device &metadata, device &origin, device &fast,
                const verify_options &options, report &to) {
  if (options.as_json) {
    to.keep_off_standard_output();
  }
  cache_contents contents{metadata.block};
  block_usage usage{metadata.from->size()};
  if (auto read = read_sound_contents(metadata, "nothing was compared", usage, contents, to);
      !read) {
    return read;
  }
  if (!metadata.block.is_clean()) {
    to.answer("note: not cleanly shut down: all mapped blocks count as dirty");
  }
  std::vector<location> blocks = contents.mapped_blocks();
  std::ranges::sort(blocks);
  const block_geometry geometry{.block_size = to_bytes(sectors{metadata.block.data_block_size}),
                                .origin_end = end_of(origin),
                                .fast_end = end_of(fast)};
  block_comparer comparer{origin, fast, geometry, blocks, options.buffer_size};
  to.watcher().begin_transfer("comparing", blocks.size() * geometry.block_size.value());
  comparer.run(options.is_stopped ? options.is_stopped : [] { return false; }, to.watcher());
  const verify_findings found = findings_of(contents, blocks, comparer.found());
  if (options.as_json) {
    tell_json(found, geometry.block_size, reasons_of(comparer.failures(), options.names), to);
  } else {
    tell_text(found, options.list, to);
  }
  tell_failures(comparer.failures(), options.names, to);
  if (options.map_path) {
    const std::string map = map_of(blocks, comparer.found(), geometry, options.origin_begin).text();
    if (auto written = write_output(*options.map_path, map); !written) {
      return written;
    }
  }
  if (found.nr_untried == 0) {
    if (auto changed = change({metadata, origin, fast}, contents, usage, found, options, to);
        !changed) {
      return changed;
    }
  }
  if (found.nr_untried != 0) {
    return fail(failure::failed,
                fmt::format("stopped: {} blocks were not compared, and nothing was changed",
                            found.nr_untried));
  }
  return outcome_of(found.nr_unreadable, options.drop_stale ? 0 : found.stale.size(),
                    options.list || options.as_json);
}

} // namespace dmcache
