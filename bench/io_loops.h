// The two loops that are compared: random 4 KiB reads or writes on the raw fast file, and the same
// as hits through the engine. Both keep as many in flight as they are told, through the same kind
// of queue.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <memory>
#include <random>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/file_requests.h"
#include "caching/runtime/file_runtime.h"

namespace dmcache {

inline constexpr std::size_t io_size = 4096;
inline constexpr std::size_t max_depth = 32;

struct io_plan {
  bool writes = false;
  std::size_t depth = 1;
  // The loop ends when either of these is reached.
  std::uint64_t count = ~std::uint64_t{0};
  std::chrono::nanoseconds duration = std::chrono::hours{1};
  bool with_latencies = false;
};

struct io_outcome {
  double per_second = 0;
  std::vector<std::uint32_t> latencies; // ns

  // The latency that 1 % of all exceed. Changes the order of the latencies.
  double p99();
};

// Both loops choose in the same way where the next I/O goes, and when it is enough. Each I/O in
// flight has a number below the depth, under which its buffer and the time of its beginning are
// kept.
class io_loop {
 public:
  explicit io_loop(std::span<const std::uint64_t> offsets) : offsets_{offsets} {}
  io_loop(const io_loop &) = delete;
  io_loop &operator=(const io_loop &) = delete;
  virtual ~io_loop() = default;

  // Runs the plan to its end.
  io_outcome run(const io_plan &plan);

  // The same in two parts, so that the caller can do something else meanwhile: from start() to
  // stop() each I/O that ends is followed by another one.
  void start(const io_plan &plan);
  io_outcome stop();

 protected:
  virtual void issue(std::size_t number, bytes offset, std::span<std::byte> data) = 0;
  virtual void wait() = 0;

  void ended(std::size_t number, std::error_code error);
  bool writes() const { return plan_.writes; }

 private:
  using clock = std::chrono::steady_clock;

  void next(std::size_t number);
  bool is_enough();

  std::span<const std::uint64_t> offsets_;
  std::minstd_rand chance_{1};
  io_plan plan_;
  io_outcome outcome_;
  clock::time_point begun_;
  std::uint64_t nr_ended_ = 0;
  std::size_t nr_in_flight_ = 0;
  bool is_stopping_ = false;
  aligned_buffer buffers_{max_depth * io_size};
  std::array<clock::time_point, max_depth> begins_{};
};

class raw_loop final : public io_loop, private io_listener {
 public:
  raw_loop(int file, std::span<const std::uint64_t> offsets);

 private:
  void issue(std::size_t number, bytes offset, std::span<std::byte> data) override;
  void wait() override { requests_->wait(std::chrono::seconds{1}); }
  void io_done(std::uint64_t tag, std::error_code error) override {
    ended(static_cast<std::size_t>(tag), error);
  }

  int file_;
  std::unique_ptr<file_requests> requests_;
};

// The `client` of each request here. It is told when the request is completed.
class request_client {
 public:
  request_client() = default;
  request_client(const request_client &) = delete;
  request_client &operator=(const request_client &) = delete;
  virtual ~request_client() = default;
  virtual void completed(request &done) = 0;
};

class hit_loop final : public io_loop, public request_client {
 public:
  hit_loop(file_runtime &runtime, std::span<const std::uint64_t> offsets)
      : io_loop{offsets}, runtime_{runtime}, requests_(max_depth) {}

  void completed(request &done) override {
    ended(static_cast<std::size_t>(&done - requests_.data()), done.outcome);
  }

 private:
  void issue(std::size_t number, bytes offset, std::span<std::byte> data) override;
  void wait() override { runtime_.run_once(); }

  file_runtime &runtime_;
  std::vector<request> requests_; // by number
};

} // namespace dmcache
