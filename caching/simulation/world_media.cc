// A world's cache is opened and stopped, and what it leaves on the devices is looked at.
#include <algorithm>
#include <utility>

#include "caching/simulation/eager_policy.h"
#include "caching/simulation/world.h"

namespace dmcache {
namespace {

std::uint64_t nr_dirty_from(const media_contents &media, std::uint64_t cache_limit,
                            std::uint64_t origin_limit) {
  return static_cast<std::uint64_t>(std::ranges::count_if(media.mappings, [&](const mapping &each) {
    return each.dirty &&
           (each.cached_in.value() >= cache_limit || each.origin.value() >= origin_limit);
  }));
}

} // namespace

// Opening. ----------------------------------------------------------------------------------------

// What stands on the devices tells whether they may be used like this.
std::optional<std::string> world::expected_refusal(const engine_options &how, sectors fast_size,
                                                   sectors origin_size) const {
  if (!media_.is_formatted) {
    return how.block_size == sectors{} || how.read_only || !how.may_format
               ? std::optional{"nothing to open"}
               : std::nullopt;
  }
  const std::uint64_t block_size = media_.block.data_block_size;
  if (how.block_size != sectors{} && how.block_size.value() != block_size) {
    return "another block size";
  }
  if (!how.read_only && media_.block.is_needs_check()) {
    return "NEEDS_CHECK";
  }
  if (how.mode == cache_mode::passthrough &&
      (!media_.block.is_clean() || nr_dirty_from(media_, 0, 0) != 0)) {
    return "passthrough";
  }
  if (nr_dirty_from(media_, fast_size.value() / block_size, origin_size.value() / block_size) !=
      0) {
    return "dirty blocks beyond the end";
  }
  return {};
}

result<> world::open(const engine_options &how, std::optional<sectors> fast_size,
                     std::optional<sectors> origin_size) {
  const sectors fast = fast_size.value_or(fast_size_);
  const sectors origin = origin_size.value_or(origin_size_);
  if (const auto larger = std::max(to_bytes(fast), devices_[1]->size());
      larger != devices_[1]->size()) {
    devices_[1]->resize(larger);
  }
  if (const auto larger = std::max(to_bytes(origin), devices_[2]->size());
      larger != devices_[2]->size()) {
    devices_[2]->resize(larger);
  }
  const auto expected = expected_refusal(how, fast, origin);
  note("open: {} cache sectors, {} origin sectors, mode {}, policy {}{}{}", fast, origin,
       static_cast<int>(how.mode), how.policy, how.read_only ? ", read-only" : "",
       expected ? ", to be refused: " + *expected : "");
  const std::uint64_t changes = nr_changes();
  const std::uint64_t failures = nr_failed();
  auto opened = cache_engine::open({.metadata = *devices_[0],
                                    .fast_size = fast,
                                    .origin_size = origin,
                                    .origin_can_discard = how_.origin_can_discard},
                                   how, now_);
  if (!devices_[0]->has_power()) {
    is_power_cut_ = true;
    return fail(failure::environment, "the power was cut");
  }
  if (!opened) {
    note("refused: {}", opened.error().message);
    ++totals_.refusals;
    const bool is_full =
        how_.nr_metadata_blocks < enough_metadata_blocks &&
        opened.error().message.find("metadata device is full") != std::string::npos;
    if (!expected && nr_failed() == failures && !is_full) {
      violate("the cache was not opened: " + opened.error().message);
    }
    if (expected && nr_changes() != changes) {
      violate("a refusal changed the devices: " + opened.error().message);
    }
    devices_[0]->clear_faults();
    if (!expected) {
      look_at_metadata();
    }
    return std::unexpected{opened.error()};
  }
  if (expected) {
    violate("the cache was opened, which is to be refused: " + *expected);
  }
  engine_ = std::move(*opened);
  options_ = how;
  changes_at_open_ = nr_changes();
  failed_at_open_ = nr_failed();
  was_formatted_ = was_formatted_ || !how.read_only;
  ++totals_.openings;
  is_shutting_down_ = false;
  fast_size_ = fast;
  origin_size_ = origin;
  devices_[1]->resize(to_bytes(fast));
  devices_[2]->resize(to_bytes(origin));
  nr_dirty_ = engine_->state().mappings->nr_dirty();
  nr_may_differ_ = 0;
  check_opened();
  model_.resize(origin.value() * parts_.nr_per_sector());
  pump();
  return {};
}

// It is what the devices said it is.
void world::check_opened() {
  const cache_state &state = engine_->state();
  std::uint64_t nr_mapped = 0;
  const bool has_hints = media_.is_formatted && media_.is_clean() && !media_.hints.empty() &&
                         media_.block.policy() == state.policy->name();
  for (const mapping &each : media_.mappings) {
    if (each.cached_in.value() >= state.mappings->nr_cache_blocks() ||
        each.origin.value() >= state.nr_origin_blocks) {
      continue; // clean, and dropped
    }
    ++nr_mapped;
    if (state.mappings->find(each.origin) != each.cached_in ||
        state.mappings->is_dirty(each.cached_in) != each.dirty) {
      violate(fmt::format("origin block {} is not mapped as the metadata say", each.origin));
    } else if (has_hints && state.policy->name() == eager_policy::own_name &&
               state.policy->hint(each.cached_in) != media_.hints.at(each.cached_in.value())) {
      violate(fmt::format("the hint of cache block {} got lost", each.cached_in));
    }
  }
  if (nr_mapped != state.mappings->nr_mapped()) {
    violate("more is mapped than the metadata say");
  }
  if (media_.is_formatted && (state.statistics.read_hits != media_.block.read_hits ||
                              state.statistics.read_misses != media_.block.read_misses ||
                              state.statistics.write_hits != media_.block.write_hits ||
                              state.statistics.write_misses != media_.block.write_misses)) {
    violate("the statistics got lost");
  }
  if (!media_.is_clean() && !state.discards->empty()) {
    violate("discards were believed without a clean shutdown");
  }
}

void world::mend() {
  note("mend");
  if (const auto mended = mend_media(*devices_[0]); !mended) {
    violate("NEEDS_CHECK can't be cleared: " + mended.error().message);
  }
  media_.block.flags = media_.block.flags & ~superblock::needs_check;
}

// Stopping. ---------------------------------------------------------------------------------------

void world::take_down() {
  if (is_process_over_) {
    kill();
  } else {
    cut_power();
  }
}

void world::cut_power() {
  note("the power is cut");
  ++totals_.power_cuts;
  stop();
}

// After a flush that failed nobody would know any more that clean blocks needn't be the same on
// both devices, unless all that wasn't flushed goes with the power: so it does.
void world::kill() {
  if (has_failed_flush_) {
    cut_power();
    return;
  }
  note("killed");
  ++totals_.kills;
  for (const auto &each : devices_) {
    each->clear_faults();
  }
  while (!carrier_.empty()) {
    carrier_.end_next();
  }
  // All that was acknowledged is on the origin, or where the next engine finds it mapped and dirty.
  const bool is_done_kept = engine_->state().mode_of_metadata != metadata_mode::fail;
  // Blocks that only memory maps can be read; of writes to them, all have failed.
  const bool is_seen_kept = engine_->state().nr_not_withdrawn == 0;
  const bool is_exact = vouches_for_dirty_bits();
  forget_engine();
  if (!is_over() && look_at_metadata()) {
    model_.killed(is_done_kept, is_seen_kept);
    expect_clean(is_exact);
  }
}

// If the dirty state is tracked exactly, and that isn't about to end.
bool world::vouches_for_dirty_bits() const {
  return engine_ && engine_->state().is_exact && engine_->state().metadata->is_exact() &&
         engine_->state().mode_of_metadata == metadata_mode::write && !is_shutting_down_;
}

void world::expect_clean(bool is_exact) {
  if (is_exact && !media_.is_clean()) {
    violate("the dirty bits were exact, and don't count");
  }
}

void world::stop() {
  // A process that ended for want of memory may have done so while it gave them up.
  const bool is_given_up = engine_ && !is_process_over_ &&
                           engine_->state().mode_of_metadata == metadata_mode::read_only &&
                           !carrier_.is_any_on(cache_device::metadata);
  const bool is_exact = vouches_for_dirty_bits();
  forget_engine();
  for (const auto &each : devices_) {
    each->power_cycle();
    each->clear_faults();
  }
  if (!is_over()) {
    inspect_media();
    if (is_given_up && !media_.block.is_needs_check()) {
      violate("the metadata were given up, and don't say so");
    }
    if (!is_over()) {
      expect_clean(is_exact);
    }
  }
}

// And all that was under way in it.
void world::forget_engine() {
  if (engine_ && options_.read_only && nr_changes() != changes_at_open_) {
    violate("something was written though the cache was opened read-only");
  }
  if (engine_) {
    const cache_counts counts = engine_->counts();
    totals_.promotions += counts.promotions;
    totals_.demotions += counts.demotions;
    totals_.writebacks += counts.writebacks;
    totals_.commits += counts.commits;
    const metadata_mode mode = engine_->state().mode_of_metadata;
    totals_.failed_metadata +=
        mode == metadata_mode::read_only || mode == metadata_mode::fail ? 1U : 0U;
  }
  totals_.failed_ios = nr_failed();
  carrier_.interrupt();
  engine_.reset();
  for (const auto &each : requests_.all()) {
    each->told = nullptr;
    each->is_under_way = false;
  }
  requests_.give_all_back();
  for (const auto &each : byte_clients_.all()) {
    each->steps.reset();
  }
  byte_clients_.give_all_back();
  locks_ = {};
  locked_out_.clear();
  going_on_.clear();
  nr_under_way_ = 0;
  nr_controls_ = 0;
  nr_reloads_ = 0;
  waiting_.clear();
  controls_.clear();
  nr_idle_ticks_ = 0;
  is_power_cut_ = false;
  is_process_over_ = false;
  nr_allocations_.reset();
  is_memory_missing_ = false;
  has_failed_flush_ = false;
  has_untold_failure_ = false;
  told_at_.reset();
  nr_cleans_ = 0;
  nr_keeping_clean_ = 0;
  is_background_over_ = false;
  passthrough_at_ = 0;
  not_withdrawn_at_.reset();
  untold_loss_.reset();
  events_to_cut_.reset();
}

// The metadata are sound, clean blocks are the same on both devices, and each sector, wherever it
// stands, holds what it may.
void world::inspect_media() {
  if (look_at_metadata()) {
    model_.interrupt();
    inspect_sectors(media_.is_clean());
  }
}

bool world::look_at_metadata() {
  auto found = read_media(*devices_[0], how_.is_verbose);
  if (!found) {
    violate("the metadata are damaged: " + found.error().message);
    return false;
  }
  media_ = std::move(*found);
  if (was_formatted_ && !media_.is_formatted) {
    violate("there are no metadata any more");
    return false;
  }
  note("{}: {} mapped{}{}", media_.is_formatted ? "metadata" : "nothing", media_.mappings.size(),
       media_.is_clean() ? ", clean" : "",
       media_.is_formatted && media_.block.is_needs_check() ? ", needs_check" : "");
  return true;
}

void world::inspect_sectors(bool are_discards_kept) {
  const std::uint64_t block_size =
      media_.is_formatted ? std::uint64_t{media_.block.data_block_size} : 1;
  const std::uint64_t nr_blocks = origin_size_.value() / block_size;
  std::vector<const mapping *> by_origin(nr_blocks + 1);
  for (const mapping &each : media_.mappings) {
    if (each.origin.value() >= nr_blocks ||
        (each.cached_in.value() + 1) * block_size > fast_size_.value()) {
      violate(fmt::format("cache block {} is mapped to origin block {}, beyond the end",
                          each.cached_in, each.origin));
      return;
    }
    by_origin[each.origin.value()] = &each;
  }
  for (std::uint64_t sector = 0; sector < origin_size_.value(); ++sector) {
    const mapping *cached = by_origin[std::min(sector / block_size, nr_blocks)];
    const auto on_origin = devices_[2]->sector(sector);
    auto truth = on_origin;
    if (cached != nullptr) {
      truth = devices_[1]->sector(cached->cached_in.value() * block_size + sector % block_size);
      if (!cached->dirty && differs_wrongly(sector, truth, on_origin)) {
        violate(fmt::format("cache block {} is clean, but differs from origin block {}",
                            cached->cached_in, cached->origin));
        return;
      }
    }
    const sector_range parts = parts_.of({sector, sector + 1});
    for (std::uint64_t part = parts.begin; part < parts.end; ++part) {
      const stamp found = stamp_of(parts_.stored(truth, parts.begin, part));
      if (auto fault = model_.survived(part, found, are_discards_kept)) {
        violate(*fault);
        return;
      }
    }
  }
}

// Of a clean sector. What is discarded may differ.
bool world::differs_wrongly(std::uint64_t sector, std::span<const std::byte> on_fast,
                            std::span<const std::byte> on_origin) const {
  const sector_range parts = parts_.of({sector, sector + 1});
  for (std::uint64_t part = parts.begin; part < parts.end; ++part) {
    if (!model_.is_discarded(part) &&
        !std::ranges::equal(parts_.stored(on_fast, parts.begin, part),
                            parts_.stored(on_origin, parts.begin, part))) {
      return true;
    }
  }
  return false;
}

void world::overwrite(cache_device on, std::uint64_t sector, std::span<std::byte> data) {
  is_overwritten_ = true;
  if (device(on).transfer(simulated_device::operation::write, to_bytes(sectors{sector}),
                          bytes{data.size()}, data)) {
    violate("somebody else couldn't write to a device");
  }
}

void world::compare_clean_blocks() {
  const cache_state &state = engine_->state();
  if (state.mode_of_metadata == metadata_mode::fail) {
    return; // nobody will hear of it any more
  }
  const std::uint64_t block_size = state.block_size / sector_size;
  for (std::uint64_t i = 0; i < state.mappings->nr_cache_blocks(); ++i) {
    const cache_block block{i};
    if (!state.mappings->is_mapped(block) || state.mappings->is_dirty(block)) {
      continue;
    }
    const std::uint64_t origin = state.mappings->origin_of(block).value();
    for (std::uint64_t sector = 0; sector < block_size; ++sector) {
      const std::uint64_t number = origin * block_size + sector;
      if (differs_wrongly(number, devices_[1]->sector(i * block_size + sector),
                          devices_[2]->sector(number))) {
        violate(fmt::format("cache block {} counts as clean, but differs from sector {} of the "
                            "origin",
                            block, number));
        return;
      }
    }
  }
}

// After a clean shutdown the metadata say exactly what the engine knew.
void world::compare_shutdown(const cache_state &last) {
  if (options_.read_only) { // what others had written before is as durable as it was
    return;
  }
  model_.flushed(model_.now());
  const auto found = read_media(*devices_[0], how_.is_verbose);
  if (!found) {
    violate("a clean shutdown left damage: " + found.error().message);
    return;
  }
  const superblock &block = found->block;
  if (!block.is_clean() || block.is_needs_check()) {
    violate("a clean shutdown isn't one");
  }
  if (found->mappings.size() != last.mappings->nr_mapped()) {
    violate("a clean shutdown lost mappings");
    return;
  }
  for (const mapping &each : found->mappings) {
    if (last.mappings->find(each.origin) != each.cached_in ||
        last.mappings->is_dirty(each.cached_in) != each.dirty) {
      violate(fmt::format("a clean shutdown wrote cache block {} as {} {}", each.cached_in,
                          each.dirty ? "dirty" : "clean", each.origin));
    } else if (found->hints.at(each.cached_in.value()) != last.policy->hint(each.cached_in)) {
      violate(fmt::format("a clean shutdown wrote a wrong hint of cache block {}", each.cached_in));
    }
  }
  std::vector<bool> discarded(last.discards->nr_blocks());
  for (const key_range &each : found->discards) {
    std::fill(discarded.begin() + static_cast<std::ptrdiff_t>(each.begin),
              discarded.begin() + static_cast<std::ptrdiff_t>(each.end), true);
  }
  for (std::uint64_t i = 0; i < discarded.size(); ++i) {
    if (discarded[i] != last.discards->test(i)) {
      violate(fmt::format("a clean shutdown wrote the wrong discards: block {}", i));
    }
  }
  if (block.read_hits != last.statistics.read_hits ||
      block.read_misses != last.statistics.read_misses ||
      block.write_hits != last.statistics.write_hits ||
      block.write_misses != last.statistics.write_misses) {
    violate("a clean shutdown wrote the wrong statistics");
  }
  if (block.policy() != last.policy->name() ||
      std::array<std::uint32_t, 3>{block.policy_version[0], block.policy_version[1],
                                   block.policy_version[2]} != last.policy->version()) {
    violate("a clean shutdown named the wrong policy");
  }
}

} // namespace dmcache
