#include "caching/simulation/io_carrier.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/assert.h"
#include "persistent-data/format.h"

namespace dmcache {
namespace {

using operation = engine_io::operation;

constexpr std::array<const char *, 3> device_names = {"metadata device", "fast device", "origin"};
constexpr std::array<const char *, 5> operation_names = {"read", "write", "flush", "discard",
                                                         "write_zeroes"};

bool is_change(const engine_io &io) {
  return io.op != operation::read && io.op != operation::flush;
}

bool overlap(const engine_io &one, const engine_io &other) {
  return one.on == other.on && one.op != operation::flush && other.op != operation::flush &&
         one.offset < other.offset + other.length.value() &&
         other.offset < one.offset + one.length.value();
}

} // namespace

std::string describe(const engine_io &io) {
  return fmt::format("{} of [{}, {}) on the {}", operation_names[static_cast<std::size_t>(io.op)],
                     io.offset, io.offset + io.length.value(),
                     device_names[static_cast<std::size_t>(io.on)]);
}

void io_carrier::complain(const engine_io &about, const std::string &text) {
  if (!violation_) {
    violation_ = fmt::format("{}: {}", describe(about), text);
  }
}

void io_carrier::inspect(const engine_io &io) {
  const std::uint64_t unit = io.on == cache_device::metadata ? metadata_block_size : sector_size;
  const bool has_data = io.op == operation::read || io.op == operation::write;
  if (io.op != operation::flush) {
    const std::uint64_t size = device_of(io).size().value();
    if (io.length.value() == 0 || io.offset.value() % unit != 0 || io.length.value() % unit != 0) {
      complain(io, "not aligned");
    } else if (io.offset.value() > size || io.length.value() > size - io.offset.value()) {
      complain(io, "beyond the end of the device");
    } else if (has_data && io.data.size() != io.length.value()) {
      complain(io, "has data of another length");
    }
  }
  for (const flying &each : in_flight_) {
    // A writeback may pass a read of the origin: it writes there what there is.
    if (overlap(*each.io, io) && is_change(*each.io) && is_change(io)) {
      complain(io, "it overlaps one in flight: " + describe(*each.io));
    }
  }
}

std::optional<instant> io_carrier::next_due() const {
  const auto next = std::ranges::min_element(in_flight_, {}, &flying::due);
  return next == in_flight_.end() ? std::nullopt : std::optional{next->due};
}

void io_carrier::begin(engine_io &io, instant now, std::uint64_t mark) {
  inspect(io);
  ++counts_[static_cast<std::size_t>(io.on)][static_cast<std::size_t>(io.op)];
  ++nr_begun_;
  const io_latency &latency = latencies_[static_cast<std::size_t>(io.on)];
  const auto range = static_cast<std::uint64_t>((latency.longest - latency.shortest).count());
  instant takes = latency.shortest;
  if (latency.stall_one_in != 0 && chance_.one_in(latency.stall_one_in)) {
    takes = latency.stall;
  } else if (range != 0) {
    takes += instant{static_cast<std::int64_t>(chance_() % range)};
  }
  const std::uint64_t flush = io.op == operation::flush ? device_of(io).begin_flush() : 0;
  in_flight_.push_back({&io, now + takes, flush, mark});
  io.begun = now;
  digest_.add(now.count(), io.on, io.op, io.offset.value(), io.length.value());
  if (is_verbose_) {
    fmt::print(stderr, "{:12}     begins {}\n", now.count(), describe(io));
  }
}

io_carrier::ended io_carrier::end_next() {
  const auto next = std::ranges::min_element(in_flight_, {}, &flying::due);
  require(next != in_flight_.end(), "something that is in flight ends");
  const flying ending = *next;
  *next = in_flight_.back();
  in_flight_.pop_back();
  engine_io &io = *ending.io;
  io.ended = ending.due;
  simulated_device &on = device_of(io);
  if (io.op == operation::read && io.first_piece == nullptr) { // all of it may be compared
    std::ranges::fill(io.data, std::byte{0});
  }
  const std::error_code error = io.op == operation::flush
                                    ? on.end_flush(ending.flush)
                                    : on.transfer(io.op, io.offset, io.length, io.data);
  digest_.add(ending.due.count(), io.on, io.op, io.offset.value(), error.value());
  if (is_verbose_) {
    fmt::print(stderr, "{:12}     ended  {}{}\n", ending.due.count(), describe(io),
               error ? ": failed" : "");
  }
  return {&io, error, ending.mark};
}

void io_carrier::interrupt() {
  for (const flying &each : std::exchange(in_flight_, {})) {
    device_of(*each.io).interrupt(each.io->op, each.io->offset, each.io->length, each.io->data);
  }
}

} // namespace dmcache
