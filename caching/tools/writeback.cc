#include "caching/tools/writeback.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "caching/metadata/cache_contents.h"
#include "caching/metadata/clean_sample.h"
#include "caching/tools/block_copier.h"
#include "caching/tools/sound_contents.h"
#include "caching/tools/writeback_report.h"

namespace dmcache {
namespace {

// Before anything is written.
result<> check_devices(const cache_contents &contents,
                       std::span<const cache_contents::location> dirty, device &origin,
                       device &fast, const writeback_options &options) {
  const superblock &block = contents.described();
  const std::uint64_t size = to_bytes(sectors{block.data_block_size}).value();
  const std::uint64_t end = end_of(origin).value();
  const auto nr_beyond = std::ranges::count_if(dirty, [&](const cache_contents::location &each) {
    return each.origin.value() >= divided_up(end, size);
  });
  if (nr_beyond != 0 && !options.accepts_smaller) {
    return fail(
        failure::failed,
        fmt::format("nothing was copied: {} of {} dirty blocks lie beyond the end of the origin, "
                    "which has {} sectors: is it another device? --force smaller copies the "
                    "others",
                    nr_beyond, dirty.size(), end / sector_size));
  }
  if (options.accepts_differing) {
    return {};
  }
  const sampled_devices sampled{.fast = fast, .origin = origin, .block_size = bytes{size}};
  const auto within = [&](cache_block each) -> std::optional<origin_block> {
    const auto at = contents.clean_at(each);
    const bool is_within =
        at && at->value() < end / size && each.value() < end_of(fast).value() / size;
    return is_within ? at : std::nullopt;
  };
  auto checked = check_sample(sampled, sample_of(block.cache_blocks, within));
  if (!checked && checked.error().kind == failure::failed) {
    return fail(failure::failed,
                fmt::format("nothing was copied: {}; --force differing copies all the "
                            "same",
                            checked.error().message));
  }
  return {}; // what can't be read is told when it is copied
}

// Copies the dirty blocks, and pauses now and then to mark clean what was copied.
class stepwise_writeback {
 public:
  stepwise_writeback(const metadata_device &metadata, device &origin, device &fast,
                     const writeback_options &options, cache_contents &contents,
                     const block_usage &usage, std::span<const cache_contents::location> dirty)
      : metadata_{*metadata.from}, origin_{origin}, fast_{fast}, options_{options},
        contents_{contents}, usage_{usage},
        block_size_{to_bytes(sectors{metadata.block.data_block_size})}, dirty_{dirty},
        copier_{origin,
                fast,
                {.block_size = block_size_, .origin_end = end_of(origin), .fast_end = end_of(fast)},
                dirty_,
                options.buffer_size,
                options.nr_retries} {}

  // Ends when all is done, or is stopped. Fails if the origin can't be flushed.
  result<> run(progress &watcher) {
    watcher.begin_transfer("copying", dirty_.size() * block_size_.value());
    bool is_stopped = false;
    do {
      const auto due = clock::now() + options_.update_interval;
      const auto is_to_pause = [&] {
        is_stopped = is_stopped || (options_.is_stopped && options_.is_stopped());
        return is_stopped || (is_marking() && clock::now() >= due);
      };
      copier_.copy_on(is_to_pause, watcher);
      if (auto settled = settle(); !settled) {
        return settled;
      }
    } while (!copier_.is_done() && !is_stopped);
    return {};
  }

  std::size_t nr_left() const { return dirty_.size() - copier_.nr_done(); }
  std::size_t nr_copied() const { return nr_copied_; }
  std::span<const block_failure> failed() const { return copier_.failed(); }
  // Could all that was copied be marked clean, if that was wanted?
  result<> marked() const {
    if (marked_) {
      return {};
    }
    return fail(marked_.error().kind,
                fmt::format("{} of {} copied blocks may still count as dirty: {}",
                            nr_copied_ - nr_marked_, nr_copied_, marked_.error().message));
  }

 private:
  using clock = std::chrono::steady_clock;
  using location = cache_contents::location;

  // Once it failed it isn't tried again: what a device could not flush may be lost, though the next
  // flush succeeds, and what the superblock says after a write that failed is not known.
  bool is_marking() const { return options_.update_metadata && marked_; }

  // Nothing is under way now. What was copied since the last time becomes durable on the origin
  // before the metadata say that it is there.
  result<> settle() {
    if (const auto error = origin_.flush()) {
      return fail(failure::environment,
                  fmt::format("cannot flush the origin: {}: what was copied may be lost, and stays "
                              "dirty{}",
                              error.message(),
                              nr_marked_ == 0 ? "" : ", but for what was marked clean before"));
    }
    std::vector<location> copied;
    std::ranges::copy_if(dirty_.first(copier_.nr_done()).subspan(nr_settled_),
                         std::back_inserter(copied), [&](const location &each) {
                           return !std::ranges::binary_search(copier_.failed(), each.cached_in, {},
                                                              &block_failure::block);
                         });
    nr_settled_ = copier_.nr_done();
    nr_copied_ += copied.size();
    if (is_marking() && !copied.empty()) {
      marked_ = mark(copied);
      nr_marked_ += marked_ ? copied.size() : 0;
    }
    return {};
  }

  // Of metadata that were not cleanly shut down, the first call writes the dirty state as a whole,
  // and makes them cleanly shut down. All that this claims is true from then on: each mapped block
  // is dirty but for those copied, whose copies are durable; and hints and discards, of which
  // nothing is known, are gone.
  result<> mark(std::span<const location> copied) {
    // A clean block must be the same on both devices after a power cut, too. Whoever wrote it to
    // the fast device may have been stopped before it was flushed.
    if (!is_fast_flushed_) {
      if (const auto error = fast_.flush()) {
        return fail(failure::environment,
                    fmt::format("cannot flush the fast device: {}", error.message()));
      }
      is_fast_flushed_ = true;
    }
    return contents_.change(metadata_, usage_, {.cleaned = copied});
  }

  device &metadata_;
  device &origin_;
  device &fast_;
  const writeback_options &options_;
  cache_contents &contents_;
  const block_usage &usage_;
  bytes block_size_;
  std::span<const location> dirty_; // in order of the origin
  block_copier copier_;
  std::size_t nr_settled_ = 0; // of dirty_, from its front
  std::size_t nr_copied_ = 0;
  std::size_t nr_marked_ = 0;
  bool is_fast_flushed_ = false;
  result<> marked_;
};

// Nothing is under way, and all is told but what it comes to.
result<> outcome_of(const stepwise_writeback &writeback, const writeback_plan &plan,
                    const writeback_options &options) {
  if (auto marked = writeback.marked(); !marked) {
    return marked;
  }
  if (writeback.nr_left() > 0) {
    return fail(failure::failed,
                fmt::format("stopped: {} dirty blocks are left to copy; the same command {}",
                            writeback.nr_left(),
                            options.update_metadata ? "goes on there" : "begins anew"));
  }
  const bool is_complete = writeback.failed().empty() && plan.nr_left_out() == 0;
  return is_complete ? result<>{} : fail(failure::failed, "");
}

} // namespace

result<> write_back(const metadata_device &metadata, device &origin, device &fast,
                    const writeback_options &options, report &to) {
  if (options.update_metadata && metadata.block.compat_ro_flags != 0) {
    return fail(failure::failed, "nothing was copied: unknown features forbid to write the "
                                 "metadata; --no-metadata-update copies without that");
  }
  if (options.as_json) {
    to.keep_off_standard_output();
  }
  cache_contents contents{metadata.block};
  block_usage usage{metadata.from->size()};
  if (auto checked = read_sound_contents(metadata, "nothing was copied", usage, contents, to);
      !checked) {
    return checked;
  }
  const writeback_plan plan =
      plan_writeback(contents, {.excluded = options.excluded,
                                .fast_map = options.fast_map ? &*options.fast_map : nullptr,
                                .fast_begin = options.fast_begin});
  if (auto checked = check_devices(contents, plan.to_copy, origin, fast, options); !checked) {
    return checked;
  }
  if (!metadata.block.is_clean()) {
    to.remark("note: not cleanly shut down: all mapped blocks count as dirty");
  }
  writeback_report told{plan, options, bytes{to_bytes(sectors{metadata.block.data_block_size})},
                        to};
  if (options.only_plan) {
    told.tell_plan();
    return {};
  }
  stepwise_writeback writeback{metadata, origin, fast, options, contents, usage, plan.to_copy};
  if (auto done = writeback.run(to.watcher()); !done) {
    return done;
  }
  told.tell_result(writeback.nr_copied(), writeback.nr_left(), writeback.failed());
  return outcome_of(writeback, plan, options);
}

} // namespace dmcache
