#include "functional-tests/exerciser/engine_target.h"

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "base/file_device.h"

namespace dmcache::exerciser {
namespace {

template <typename T> T value_or_throw(result<T> from) {
  if (!from) {
    throw std::runtime_error{from.error().message};
  }
  return std::move(*from);
}

} // namespace

engine_target::engine_target(const files &on, const engine_options &options, std::uint64_t seed)
    : metadata_{value_or_throw(open_file_device(
          on.metadata, options.read_only ? access::read_only : access::read_write))},
      volatile_{volatile_file{on.metadata}, volatile_file{on.fast}, volatile_file{on.origin}},
      chance_{seed}, engine_{value_or_throw(cache_engine::open(
                         {.metadata = *metadata_,
                          .fast_size = sectors{volatile_[1].size().value() / sector_size},
                          .origin_size = sectors{volatile_[2].size().value() / sector_size},
                          .origin_can_discard = true},
                         options, now_))} {}

engine_target::~engine_target() = default;

void engine_target::carry_out(std::span<operation> batch) {
  constexpr instant between_batches = std::chrono::milliseconds{20};
  advance_to(now_ + between_batches);
  std::vector<request> requests(batch.size());
  nr_completed_ = 0;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    requests[i].op = batch[i].op;
    requests[i].fua = batch[i].fua;
    requests[i].offset = batch[i].offset;
    requests[i].length = batch[i].length;
    requests[i].data = batch[i].data;
    engine_->submit(requests[i]);
  }
  for (collect(); nr_completed_ < batch.size(); collect()) {
    perform_one();
  }
  for (const request &each : requests) {
    if (each.outcome) {
      throw std::system_error{each.outcome, "a request to the engine"};
    }
  }
}

void engine_target::collect() {
  while (engine_io *next = engine_->next_io()) {
    pending_.push_back(next);
  }
  while (engine_->next_completed() != nullptr) {
    ++nr_completed_;
  }
  is_finished_ = engine_->next_finished() != nullptr || is_finished_;
}

// Without an I/O to carry out, time is what the engine waits for.
void engine_target::perform_one() {
  if (pending_.empty()) {
    advance_to(engine_->next_tick());
    return;
  }
  if (ios_left_ && (*ios_left_)-- == 0) {
    cut_power();
  }
  engine_io *&chosen = pending_[chance_() % pending_.size()];
  engine_io &io = *std::exchange(chosen, pending_.back());
  pending_.pop_back();
  engine_->io_done(io, perform(io));
}

void engine_target::cut_power() {
  for (volatile_file &each : volatile_) {
    each.cut_power(chance_);
  }
  throw power_cut{"the power was cut"};
}

std::error_code engine_target::perform(engine_io &io) {
  volatile_file &on = volatile_.at(static_cast<std::size_t>(io.on));
  switch (io.op) {
  case engine_io::operation::read:
    return on.read(io.offset, io.data);
  case engine_io::operation::write:
    return on.write(io.offset, io.data);
  case engine_io::operation::flush:
    return on.flush();
  case engine_io::operation::discard: // a device may do just that
  case engine_io::operation::write_zeroes:
    return on.write_zeroes(io.offset, io.length);
  case engine_io::operation::prefetch:
    break;
  }
  return std::make_error_code(std::errc::invalid_argument);
}

void engine_target::advance_to(instant then) {
  now_ = then;
  engine_->tick(now_);
}

void engine_target::idle(std::chrono::seconds time) {
  for (const instant end = now_ + time; now_ < end;) {
    advance_to(std::min(end, engine_->next_tick()));
    settle();
  }
}

void engine_target::settle() {
  for (collect(); !pending_.empty(); collect()) {
    perform_one();
  }
}

void engine_target::finish(const std::function<void(control &)> &begin) {
  control wanted;
  is_finished_ = false;
  begin(wanted);
  for (collect(); !is_finished_; collect()) {
    perform_one();
  }
  if (!wanted.outcome) {
    throw std::runtime_error{wanted.outcome.error().message};
  }
}

void engine_target::clean() {
  finish([this](control &wanted) { engine_->clean(wanted); });
}

void engine_target::message(std::vector<std::string> words) {
  finish([&](control &wanted) { engine_->message(std::move(words), wanted); });
}

void engine_target::close() {
  finish([this](control &wanted) { engine_->shut_down(wanted); });
}

} // namespace dmcache::exerciser
