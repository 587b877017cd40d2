#include "bench/io_loops.h"

#include <algorithm>

#include "base/assert.h"

namespace dmcache {
namespace {

// After so many I/Os a loop looks at the clock.
constexpr std::uint64_t clock_interval = 32;

} // namespace

double io_outcome::p99() {
  require(!latencies.empty(), "there is something to measure");
  const auto at = latencies.begin() + static_cast<std::ptrdiff_t>(latencies.size() * 99 / 100);
  std::ranges::nth_element(latencies, at);
  return *at;
}

io_outcome io_loop::run(const io_plan &plan) {
  start(plan);
  while (nr_in_flight_ > 0) {
    wait();
  }
  return stop();
}

void io_loop::start(const io_plan &plan) {
  require(plan.depth <= max_depth, "there are so many buffers");
  plan_ = plan;
  outcome_ = {};
  nr_ended_ = 0;
  is_stopping_ = false;
  begun_ = clock::now();
  for (std::size_t number = 0; number < plan.depth; ++number) {
    next(number);
  }
}

io_outcome io_loop::stop() {
  is_stopping_ = true;
  while (nr_in_flight_ > 0) {
    wait();
  }
  const std::chrono::duration<double> took = clock::now() - begun_;
  outcome_.per_second = static_cast<double>(nr_ended_) / took.count();
  return std::move(outcome_);
}

void io_loop::next(std::size_t number) {
  ++nr_in_flight_;
  if (plan_.with_latencies) {
    begins_[number] = clock::now();
  }
  const std::uint64_t offset = offsets_[chance_() % offsets_.size()];
  issue(number, bytes{offset}, buffers_.span().subspan(number * io_size, io_size));
}

void io_loop::ended(std::size_t number, std::error_code error) {
  require(!error, "no I/O fails here");
  --nr_in_flight_;
  ++nr_ended_;
  if (plan_.with_latencies) {
    const std::chrono::nanoseconds took = clock::now() - begins_[number];
    outcome_.latencies.push_back(static_cast<std::uint32_t>(took.count()));
  }
  if (!is_enough()) {
    next(number);
  }
}

bool io_loop::is_enough() {
  if (!is_stopping_) {
    is_stopping_ = nr_ended_ + nr_in_flight_ >= plan_.count ||
                   (nr_ended_ % clock_interval == 0 && clock::now() - begun_ >= plan_.duration);
  }
  return is_stopping_;
}

raw_loop::raw_loop(int file, std::span<const std::uint64_t> offsets)
    : io_loop{offsets}, file_{file}, requests_{std::make_unique<file_requests>()} {}

void raw_loop::issue(std::size_t number, bytes offset, std::span<std::byte> data) {
  const auto op = writes() ? io_request::operation::write : io_request::operation::read;
  requests_->add(file_, {op, offset, data, this, number});
}

void hit_loop::issue(std::size_t number, bytes offset, std::span<std::byte> data) {
  request &next = requests_[number];
  next.op = writes() ? request::operation::write : request::operation::read;
  next.offset = offset;
  next.length = bytes{data.size()};
  next.data = data;
  next.client = static_cast<request_client *>(this);
  runtime_.submit(next);
}

} // namespace dmcache
