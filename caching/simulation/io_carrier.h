// Carries out the engine's I/O on simulated devices, in simulated time, and watches that the engine
// asks for nothing that it shouldn't.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/chance.h"
#include "base/testing/simulated_device.h"
#include "caching/engine/cache_state.h"
#include "caching/engine/request.h"
#include "caching/simulation/digest.h"

namespace dmcache {

// How long an I/O takes: anything between the two; one in so many (0: none) takes `stall`.
struct io_latency {
  instant shortest = std::chrono::microseconds{20};
  instant longest = std::chrono::microseconds{200};
  std::uint64_t stall_one_in = 0;
  instant stall = std::chrono::milliseconds{100};
};

class io_carrier {
 public:
  using device_set = std::array<std::unique_ptr<simulated_device>, 3>; // by cache_device

  // `devices` outlive this.
  io_carrier(device_set &devices, std::uint64_t seed) : devices_{devices}, chance_{seed} {}

  void set_latency(cache_device of, const io_latency &latency) {
    latencies_[static_cast<std::size_t>(of)] = latency;
  }

  bool empty() const { return in_flight_.empty(); }
  bool is_any_on(cache_device device) const {
    return std::ranges::any_of(in_flight_,
                               [&](const flying &each) { return each.io->on == device; });
  }
  // When the next one ends.
  std::optional<instant> next_due() const;

  // `mark` is handed back when it has ended.
  void begin(engine_io &io, instant now, std::uint64_t mark = 0);
  struct ended {
    engine_io *io;
    std::error_code error;
    std::uint64_t mark;
  };
  // Requires that something is in flight.
  ended end_next();
  // The power is cut: all that is in flight may be done in part.
  void interrupt();

  // What was wrong with what the engine asked for, first.
  const std::optional<std::string> &violation() const { return violation_; }
  // I/Os so far, by device and operation.
  std::uint64_t count(cache_device on, engine_io::operation op) const {
    return counts_[static_cast<std::size_t>(on)][static_cast<std::size_t>(op)];
  }
  std::uint64_t nr_begun() const { return nr_begun_; }
  // Of all that began and ended so far, in order.
  dmcache::digest &digest() { return digest_; }
  const dmcache::digest &digest() const { return digest_; }
  // Each I/O that begins and ends is told on standard error.
  void set_verbose(bool is_so) { is_verbose_ = is_so; }

 private:
  struct flying {
    engine_io *io;
    instant due;
    std::uint64_t flush; // the device's number of it, if it is one
    std::uint64_t mark;
  };

  simulated_device &device_of(const engine_io &io) const {
    return *devices_[static_cast<std::size_t>(io.on)];
  }
  void inspect(const engine_io &io);
  void complain(const engine_io &about, const std::string &text);

  device_set &devices_;
  chance chance_;
  std::array<io_latency, 3> latencies_{};
  std::vector<flying> in_flight_;
  std::array<std::array<std::uint64_t, 5>, 3> counts_{};
  std::uint64_t nr_begun_ = 0;
  std::optional<std::string> violation_;
  dmcache::digest digest_;
  bool is_verbose_ = false;
};

// "write of [4096, 8192) on the origin"
std::string describe(const engine_io &io);

} // namespace dmcache
