#include "caching/simulation/world.h"

#include <utility>

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
    : how_{how}, stamps_{how.has_whole_sectors ? max_stamps_per_sector : 1}, chance_{how.seed},
      fast_size_{how.fast_size}, origin_size_{how.origin_size},
      devices_{std::make_unique<simulated_device>(
                   bytes{how.nr_metadata_blocks * metadata_block_size}, how.metadata, chance_()),
               std::make_unique<simulated_device>(to_bytes(how.fast_size),
                                                  with(how.fast, how.has_whole_sectors), chance_()),
               std::make_unique<simulated_device>(
                   to_bytes(how.origin_size), with(how.origin, how.has_whole_sectors), chance_())},
      carrier_{devices_, chance_()}, model_{how.origin_size.value()} {
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
  if (is_over() || is_power_cut_ || !engine_) {
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
    engine_->tick(now_);
    const bool is_waited_for = nr_under_way_ != 0 || nr_controls_ != 0;
    nr_idle_ticks_ = is_waited_for && !due ? nr_idle_ticks_ + 1 : 0;
    if (nr_idle_ticks_ > max_idle_ticks) {
      violate(fmt::format("stuck: {} requests and {} controls are under way, but no I/O",
                          nr_under_way_, nr_controls_));
    }
  }
  pump();
  return !is_over();
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
  engine_->io_done(*io, error);
}

void world::look_at_mode() {
  if (engine_->state().mode() == cache_mode::passthrough) {
    passthrough_at_ = model_.now();
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

void world::pump() {
  look_at_mode();
  for (bool is_more = true; is_more && !is_over();) {
    is_more = false;
    is_background_over_ = is_background_over_ && is_cleaning_held_off();
    while (engine_io *next = engine_->next_io()) {
      look_at_background(*next);
      carrier_.begin(*next, now_, model_.now());
      is_more = true;
    }
    while (request *next = engine_->next_completed()) {
      completed(*static_cast<client_request *>(next->client));
      is_more = true;
    }
    while (control *next = engine_->next_finished()) {
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
  return !is_over() && !is_power_cut_;
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
      engine_->tick(now_);
      pump();
      break;
    }
    if (!step()) {
      return false;
    }
  }
  return !is_over() && !is_power_cut_;
}

// Requests. ---------------------------------------------------------------------------------------

world::client_request &world::take_request() {
  if (free_requests_.empty()) {
    requests_.push_back(std::make_unique<client_request>());
    free_requests_.push_back(requests_.back().get());
  }
  client_request &taken = *free_requests_.back();
  free_requests_.pop_back();
  return taken;
}

void world::submit(operation op, sector_range where, bool fua) {
  if (is_over() || is_power_cut_) {
    return;
  }
  client_request &asked = take_request();
  asked.where = where;
  asked.change = 0;
  if (op == operation::write) {
    asked.change = model_.begin(data_model::change_kind::write, where);
  } else if (op == operation::write_zeroes) {
    asked.change = model_.begin(data_model::change_kind::zeroes, where);
  } else if (op == operation::discard) {
    asked.change = model_.begin(data_model::change_kind::discard, where);
  }
  asked.before = model_.next_change();
  asked.submitted_at = model_.now();
  look_at_mode();
  asked.mode = engine_->state().mode_of_metadata;
  asked.failed_flushes = engine_->state().flushes.now();
  asked.failures = failures_;
  if (nr_reloads_ != 0) {
    waiting_.push_back(&asked);
    if (asked.change != 0) {
      model_.hold(asked.change);
    }
  }
  if (op == operation::write || op == operation::read) {
    std::byte *at = asked.data.span().data();
    for (std::uint64_t sector = where.begin; sector < where.end; ++sector, at += sector_size) {
      put_stamp(at, {sector, op == operation::write ? asked.change : ~change_id{0}}, stamps_);
    }
  }
  asked.inner = {};
  asked.inner.op = op;
  asked.inner.fua = fua;
  asked.inner.may_trim = op == operation::write_zeroes && chance_.one_in(2);
  asked.inner.offset = to_bytes(sectors{where.begin});
  asked.inner.length = to_bytes(sectors{where.size()});
  asked.inner.data = asked.data.span().first(
      op == operation::write || op == operation::read ? where.size() * sector_size : 0);
  asked.inner.client = &asked;
  note("submit {}{} [{}, {}) as {}, {}", static_cast<int>(op), fua ? " fua" : "", where.begin,
       where.end, asked.change, fmt::ptr(&asked));
  ++nr_under_way_;
  ++totals_.requests;
  const bool is_unhindered = is_unhindered_hit(asked);
  asked.is_under_way = true;
  const std::uint64_t before = carrier_.nr_begun();
  engine_->submit(asked.inner);
  pump();
  if (is_unhindered && carrier_.nr_begun() == before) {
    violate(fmt::format("a hit of [{}, {}) waits, though nothing is in its way", where.begin,
                        where.end));
  }
}

// A hit whose block nothing else is done with. It must not wait, whatever else is going on: bulk
// requests of others, migrations, commits, flushes, an idle device. A first write waits for its note.
bool world::is_unhindered_hit(const client_request &asked) const {
  const cache_state &state = engine_->state();
  if ((asked.inner.op != operation::read && asked.inner.op != operation::write) ||
      state.mode() == cache_mode::passthrough || state.mode_of_metadata == metadata_mode::fail ||
      (options_.read_only && asked.inner.op == operation::write) || nr_reloads_ != 0 ||
      is_shutting_down_) {
    return false;
  }
  const std::uint64_t block_size = state.block_size / sector_size;
  const origin_block block{asked.where.begin / block_size};
  if ((asked.where.end - 1) / block_size != block.value() || !state.is_cacheable(block)) {
    return false;
  }
  const auto cached_in = state.mappings->find(block);
  if (!cached_in || state.locks.has_migration(block) ||
      (asked.inner.op == operation::write && state.is_exact &&
       !state.mappings->is_noted(*cached_in))) {
    return false;
  }
  const std::uint64_t begin = block.value() * block_size;
  return std::ranges::none_of(requests_, [&](const auto &other) {
    return other->is_under_way && other->where.begin < begin + block_size &&
           begin < other->where.end;
  });
}

void world::let_in(client_request &held) {
  held.failed_flushes = engine_->state().flushes.now();
  held.failures = failures_;
  if (held.change != 0) {
    model_.let_in(held.change);
  }
}

std::error_code world::perform(operation op, sector_range where, bool fua) {
  std::optional<std::error_code> outcome;
  const auto lost = std::make_error_code(std::errc::io_error);
  if (free_requests_.empty()) {
    free_requests_.push_back(&take_request());
  }
  free_requests_.back()->told = &outcome;
  submit(op, where, fua);
  while (!outcome) {
    if (!step()) {
      return lost;
    }
  }
  return *outcome;
}

void world::read_everything() {
  constexpr std::uint64_t length = 96;
  for (std::uint64_t at = 0; at < origin_size_.value(); at += length) {
    submit(operation::read, {at, std::min(at + length, origin_size_.value())});
    while (nr_under_way_ > 8 && step()) {
    }
  }
  finish();
}

} // namespace dmcache
