#include "caching/simulation/world.h"

#include <utility>

#include "base/testing/failing_allocation.h"
#include "caching/simulation/shortage.h"

namespace dmcache {
namespace {

// So many ticks, a second each, without any I/O while something is under way: it is stuck.
constexpr std::uint64_t max_idle_ticks = 100;
// So many events in a row that nobody asked for: it will never come to rest.
constexpr std::uint64_t max_events = 200'000;

simulated_device::options with(simulated_device::options how, bool has_whole_sectors) {
  how.kept_per_sector = has_whole_sectors ? sector_size : sizeof(stamp);
  return how;
}

} // namespace

world::world(const world_options &how)
    : how_{how}, parts_{how.has_whole_sectors ? sector_size : sizeof(stamp), how.cuts},
      chance_{how.seed}, fast_size_{how.fast_size}, origin_size_{how.origin_size},
      devices_{std::make_unique<simulated_device>(
                   bytes{how.nr_metadata_blocks * metadata_block_size}, how.metadata, chance_()),
               std::make_unique<simulated_device>(to_bytes(how.fast_size),
                                                  with(how.fast, how.has_whole_sectors), chance_()),
               std::make_unique<simulated_device>(
                   to_bytes(how.origin_size), with(how.origin, how.has_whole_sectors), chance_())},
      carrier_{devices_, chance_()}, model_{how.origin_size.value() * parts_.nr_per_sector()} {
  carrier_.set_verbose(how.is_verbose);
}

world::~world() = default;

void world::violate(const std::string &text) {
  if (!violation_) {
    violation_ = text;
    note("violation: {}", text);
  }
}

std::uint64_t world::nr_failed() const {
  return devices_[0]->nr_failed() + devices_[1]->nr_failed() + devices_[2]->nr_failed();
}

std::uint64_t world::nr_changes() const {
  return devices_[0]->nr_changes() + devices_[1]->nr_changes() + devices_[2]->nr_changes();
}

// Time. -------------------------------------------------------------------------------------------

bool world::step() {
  if (is_over() || is_down() || !engine_) {
    return false;
  }
  if (events_to_cut_ && (*events_to_cut_)-- == 0) {
    events_to_cut_.reset();
    is_power_cut_ = true;
    return false;
  }
  const instant tick = std::max(engine_->next_tick(), now_);
  const auto due = carrier_.next_due();
  if (due && *due <= tick) {
    now_ = std::max(now_, *due);
    end_next_io();
    nr_idle_ticks_ = 0;
  } else {
    now_ = tick;
    enter([&] { engine_->tick(now_); });
    const bool is_waited_for = nr_under_way_ != 0 || nr_controls_ != 0;
    nr_idle_ticks_ = is_waited_for && !due ? nr_idle_ticks_ + 1 : 0;
    if (nr_idle_ticks_ > max_idle_ticks) {
      violate(fmt::format("stuck: {} requests and {} controls are under way, but no I/O",
                          nr_under_way_, nr_controls_));
    }
  }
  pump();
  return !is_over() && !is_down();
}

void world::end_next_io() {
  const auto [io, error, mark] = carrier_.end_next();
  if (error && io->on != cache_device::metadata) {
    ++failures_.at(static_cast<std::size_t>(io->op));
    ++nr_may_differ_;
  }
  if (error && io->op == engine_io::operation::flush && io->on != cache_device::metadata) {
    has_failed_flush_ = true;
    has_untold_failure_ = true;
    // While nothing is dirty, the origin has all that a client knows of.
    const bool is_loss =
        io->on == cache_device::origin || engine_->state().mappings->nr_dirty() != 0;
    const bool may_lose =
        (io->on == cache_device::fast ? how_.fast : how_.origin).failed_flush_loses;
    if (is_loss && may_lose) {
      const auto lost = model_.lost(mark);
      untold_loss_ = untold_loss_ ? untold_loss_ : lost;
    }
  }
  enter([&] { engine_->io_done(*io, error); });
}

void world::enter_short_of_memory(const std::function<void()> &event) {
  const shortage_outcome tried = try_event(event, *nr_allocations_);
  if (tried.violation) {
    violate(*tried.violation);
  }
  is_process_over_ = tried.is_process_over;
  if (is_process_over_) {
    note("an allocation fails, and the process ends");
    nr_allocations_.reset();
  } else {
    dmcache::fail_allocation_after(*nr_allocations_);
    event();
    nr_allocations_ = fail_no_allocation();
    is_memory_missing_ = !nr_allocations_;
  }
  totals_.failed_allocations += nr_allocations_ ? 0U : 1U;
}

void world::look_at_mode() {
  if (engine_->state().mode() == cache_mode::passthrough) {
    passthrough_at_ = model_.now();
  }
}

void world::look_at_withdrawal() {
  if (engine_->state().nr_not_withdrawn != 0) {
    not_withdrawn_at_ = now_;
  }
}

// No more is dirty than may be, or was. But for each write that a device failed, a block can differ
// that was written to on both, and be dirty from then on; and so can one whose mapping could not be
// removed.
void world::look_at_dirty() {
  const cache_state &state = engine_->state();
  const std::uint64_t now = state.mappings->nr_dirty() + state.nr_becoming_dirty;
  const std::uint64_t grown = now - std::min(now, std::exchange(nr_dirty_, now));
  const dirty_limit &given = state.options.max_dirty;
  const std::uint64_t all = state.mappings->nr_cache_blocks();
  const std::uint64_t size = given.is_percentage ? all * state.block_size * given.amount / 100
                                                 : given.amount * sector_size;
  const std::uint64_t limit = nr_keeping_clean_ != 0 ? 0 : std::min(all, size / state.block_size);
  const std::uint64_t allowed = std::max(limit, std::exchange(max_dirty_, limit)); // meanwhile
  if (now <= allowed || grown == 0 || state.mode_of_metadata != metadata_mode::write) {
    return;
  }
  if (grown > nr_may_differ_) {
    violate(
        fmt::format("{} blocks are dirty, {} more than before; {} may be", now, grown, allowed));
  }
  nr_may_differ_ -= std::min(nr_may_differ_, grown);
}

bool world::is_cleaning_held_off() const {
  const cache_state &state = engine_->state();
  return state.options.cleaning == cleaning_trigger::on_request && nr_cleans_ == 0 &&
         !is_shutting_down_ && !state.is_withdrawing;
}

// Where cleaning waits to be asked for, nothing is written back, once what was under way has ended.
void world::look_at_background(const engine_io &begun) {
  if (is_background_over_ && begun.is_background && begun.on == cache_device::origin &&
      begun.op == engine_io::operation::write) {
    violate("a block is written back, though nobody asked for it");
  }
}

void world::begin_ios() {
  is_background_over_ = is_background_over_ && is_cleaning_held_off();
  while (engine_io *next = is_process_over_ ? nullptr : engine_->next_io()) {
    look_at_background(*next);
    carrier_.begin(*next, now_, model_.now());
  }
}

void world::pump() {
  look_at_mode();
  for (bool is_more = true; is_more && !is_over() && !is_process_over_;) {
    while (!going_on_.empty() && !is_over() && !is_process_over_) {
      go_on_with_one();
    }
    const std::uint64_t before = carrier_.nr_begun();
    begin_ios();
    is_more = carrier_.nr_begun() != before;
    while (request *next = is_process_over_ ? nullptr : engine_->next_completed()) {
      completed(*static_cast<client_request *>(next->client));
      is_more = true;
    }
    while (control *next = is_process_over_ ? nullptr : engine_->next_finished()) {
      finished(*static_cast<client_control *>(next->client));
      is_more = true;
    }
  }
  look_at_dirty();
  is_background_over_ =
      is_cleaning_held_off() && (is_background_over_ || engine_->status().migrating == 0);
  if (carrier_.violation()) {
    violate(*carrier_.violation());
  }
}

bool world::finish() {
  for (std::uint64_t i = 0; nr_under_way_ != 0 || nr_controls_ != 0; ++i) {
    if (i > max_events) {
      violate("requests or controls never end, though I/Os do");
    }
    if (!step()) {
      return false;
    }
  }
  return !is_over() && !is_down();
}

bool world::settle() {
  if (!finish()) {
    return false;
  }
  for (std::uint64_t i = 0; !carrier_.empty(); ++i) {
    if (i > max_events) {
      violate("background work never ends");
    }
    if (!step()) {
      return false;
    }
  }
  return true;
}

bool world::advance(instant by) {
  const instant until = now_ + by;
  while (now_ < until) {
    const instant next =
        std::min(engine_->next_tick(), carrier_.next_due().value_or(engine_->next_tick()));
    if (next > until) {
      now_ = until;
      enter([&] { engine_->tick(now_); });
      pump();
      break;
    }
    if (!step()) {
      return false;
    }
  }
  return !is_over() && !is_down();
}

} // namespace dmcache
