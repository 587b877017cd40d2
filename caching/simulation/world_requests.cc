// Requests to the cache of a world. Those of bytes are carried out in steps, as by a runtime.
#include <algorithm>
#include <utility>

#include "caching/simulation/world.h"

namespace dmcache {
namespace {

std::optional<data_model::change_kind> change_by(request::operation op) {
  switch (op) {
  case request::operation::write:
    return data_model::change_kind::write;
  case request::operation::write_zeroes:
    return data_model::change_kind::zeroes;
  case request::operation::discard:
    return data_model::change_kind::discard;
  default:
    return {};
  }
}

} // namespace

void world::submit(operation op, sector_range where, bool fua) {
  if (is_over() || is_down()) {
    return;
  }
  client_request &asked = requests_.take();
  asked.step_of = nullptr;
  asked.where = where;
  asked.inner = {};
  asked.inner.op = op;
  asked.inner.fua = fua;
  asked.inner.may_trim = op == operation::write_zeroes && chance_.one_in(2);
  asked.inner.offset = to_bytes(sectors{where.begin});
  asked.inner.length = to_bytes(sectors{where.size()});
  asked.inner.data = asked.data.span().first(
      op == operation::write || op == operation::read ? where.size() * sector_size : 0);
  ++nr_under_way_;
  ++totals_.requests;
  arrive(asked);
  pump();
}

// Unless a sector is locked to which it writes: then it comes again when that is unlocked.
void world::arrive(client_request &asked) {
  if (locks_.are_in_the_way_of(asked.inner)) {
    locked_out_.push_back({.asked = &asked});
    return;
  }
  asked.change = 0;
  if (const auto kind = change_by(asked.inner.op)) {
    begin_change(asked, *kind, parts_.of(asked.where));
  }
  if (asked.inner.op == operation::write || asked.inner.op == operation::read) {
    put_stamps(asked.inner.data, parts_.of(asked.where),
               asked.inner.op == operation::write ? asked.change : ~change_id{0});
  }
  send(asked);
}

void world::begin_change(client_request &asked, data_model::change_kind kind, sector_range parts) {
  asked.change = model_.begin(kind, parts);
  asked.parts = parts;
}

void world::put_stamps(std::span<std::byte> data, sector_range parts, change_id change) const {
  for (std::uint64_t part = parts.begin; part < parts.end; ++part) {
    put_stamp(parts_.stored(data, parts.begin, part), {part, change});
  }
}

// To the engine.
void world::send(client_request &asked) {
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
  asked.inner.client = &asked;
  note("submit {}{} [{}, {}) as {}, {}", static_cast<int>(asked.inner.op),
       asked.inner.fua ? " fua" : "", asked.where.begin, asked.where.end, asked.change,
       fmt::ptr(&asked));
  const bool is_unhindered = is_unhindered_hit(asked);
  asked.is_under_way = true;
  const std::uint64_t before = carrier_.nr_begun();
  enter([&] { engine_->submit(asked.inner); });
  begin_ios();
  if (is_unhindered && carrier_.nr_begun() == before && !is_process_over_) {
    violate(fmt::format("a hit of [{}, {}) waits, though nothing is in its way", asked.where.begin,
                        asked.where.end));
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
  return std::ranges::none_of(requests_.all(), [&](const auto &other) {
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
  requests_.next().told = &outcome;
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

// Of bytes. ---------------------------------------------------------------------------------------

void world::submit_bytes(operation op, sector_range parts, bool fua) {
  if (is_over() || is_down()) {
    return;
  }
  byte_client &asked = byte_clients_.take();
  asked.parts = parts;
  asked.wanted = {};
  asked.wanted.op = op;
  asked.wanted.fua = fua;
  asked.wanted.may_trim = op == operation::write_zeroes && chance_.one_in(2);
  asked.wanted.offset = bytes{parts_.offset_of(parts.begin)};
  asked.wanted.length = bytes{parts_.offset_of(parts.end) - parts_.offset_of(parts.begin)};
  if (op == operation::write || op == operation::read) {
    asked.wanted.data = asked.data.span().first(asked.wanted.length.value());
    put_stamps(asked.wanted.data, parts, ~change_id{0});
  }
  note("submit {}{} of bytes [{}, +{}) as {}", static_cast<int>(op), fua ? " fua" : "",
       asked.wanted.offset, asked.wanted.length, fmt::ptr(&asked));
  asked.held.reset();
  asked.is_sector_read = false;
  asked.failure = {};
  asked.nr_changed = 0;
  asked.steps.emplace(asked.wanted, to_bytes(origin_size_));
  ++nr_under_way_;
  going_on_.push_back({.bytes = &asked});
  pump();
}

// Nobody knows whose turn it is among threads.
void world::go_on_with_one() {
  const std::size_t chosen = going_on_.size() == 1 ? 0 : chance_.below(going_on_.size());
  const held_up next = going_on_[chosen];
  going_on_.erase(going_on_.begin() + static_cast<std::ptrdiff_t>(chosen));
  if (next.asked != nullptr) {
    arrive(*next.asked);
  } else {
    go_on(*next.bytes);
  }
}

// The order of changes is the one in which the engine is asked for them. So a change of a part of a
// sector begins when the sector has been read, and what is written is stamped then.
void world::go_on(byte_client &asked) {
  sector_range parts_of_sector;
  if (asked.is_sector_read) {
    const sector_range whole = parts_.of({asked.held->value(), asked.held->value() + 1});
    parts_of_sector = {std::max(whole.begin, asked.parts.begin),
                       std::min(whole.end, asked.parts.end)};
    if (asked.wanted.op == operation::write) {
      put_stamps(asked.wanted.data.subspan(parts_.offset_of(parts_of_sector.begin) -
                                           asked.wanted.offset.value()),
                 parts_of_sector, model_.next_change());
    }
  }
  const request *const step = asked.steps->next();
  if (!hold(asked, asked.steps->locked())) {
    return;
  }
  if (step != nullptr) {
    begin_step(asked, *step, parts_of_sector);
  } else {
    finished(asked);
  }
}

// Unlocks the sector that it holds, unless it is wanted. False: somebody else holds the one that is.
bool world::hold(byte_client &asked, std::optional<sectors> wanted) {
  if (asked.held && asked.held != wanted) {
    locks_.unlock(*asked.held);
    asked.held.reset();
    going_on_.insert(going_on_.end(), locked_out_.begin(), locked_out_.end());
    locked_out_.clear();
  }
  if (wanted && !asked.held) {
    if (locks_.is_locked(*wanted)) {
      locked_out_.push_back({.bytes = &asked});
      return false;
    }
    locks_.lock(*wanted);
    asked.held = wanted;
  }
  return true;
}

void world::begin_step(byte_client &asked, const request &step, sector_range parts_of_sector) {
  client_request &begun = requests_.take();
  begun.step_of = &asked;
  begun.inner = {};
  begun.inner.op = step.op;
  begun.inner.fua = step.fua;
  begun.inner.may_trim = step.may_trim;
  begun.inner.offset = step.offset;
  begun.inner.length = step.length;
  begun.inner.data = step.data;
  begun.where.begin = step.offset.value() / sector_size;
  begun.where.end = begun.where.begin + step.length.value() / sector_size;
  ++nr_under_way_;
  ++totals_.requests;
  if (!asked.held) {
    arrive(begun);
    return;
  }
  begun.change = 0;
  if (asked.is_sector_read) {
    begin_change(begun, *change_by(asked.wanted.op), parts_of_sector);
  }
  send(begun);
}

// A step has ended.
void world::ended(client_request &step) {
  byte_client &asked = *step.step_of;
  asked.failure = step.inner.outcome;
  asked.before = step.before;
  asked.nr_changed += step.change != 0 && !asked.failure ? step.parts.size() : 0;
  asked.is_sector_read = asked.held && step.inner.op == operation::read && !asked.failure;
  asked.steps->ended(asked.failure);
  going_on_.push_back({.bytes = &asked});
}

void world::finished(byte_client &asked) {
  const std::error_code outcome = asked.steps->outcome();
  note("completed bytes {}{}", fmt::ptr(&asked), outcome ? ": failed" : "");
  if (outcome != asked.failure) {
    violate("a request of bytes did not end as its last step did");
  }
  sector_range to_change;
  if (asked.wanted.op == operation::discard) { // whole sectors alone
    to_change =
        parts_.of({divided_up(asked.wanted.offset.value(), sector_size),
                   (asked.wanted.offset + asked.wanted.length.value()).value() / sector_size});
  } else if (asked.wanted.is_write()) {
    to_change = asked.parts;
  }
  const std::uint64_t nr_to_change = to_change.begin < to_change.end ? to_change.size() : 0;
  if (!outcome && asked.nr_changed != nr_to_change) {
    violate(fmt::format("a request of bytes changed {} parts of sectors, and not {}",
                        asked.nr_changed, nr_to_change));
  }
  if (!outcome && asked.wanted.op == operation::read) {
    if (const auto fault = fault_of_data(asked.wanted.data, asked.parts, asked.before)) {
      violate(*fault);
    }
  }
  asked.steps.reset();
  --nr_under_way_;
  byte_clients_.give_back(asked);
}

} // namespace dmcache
