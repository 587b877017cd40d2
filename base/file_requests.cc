#include "base/file_requests.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>

#include "base/assert.h"

namespace dmcache {
namespace {

constexpr std::size_t zeroes_buffer_size = std::size_t{1} << 18;

bool has_data(const io_request &request) {
  return request.op == io_request::operation::read || request.op == io_request::operation::write;
}

} // namespace

file_requests::file_requests(std::unique_ptr<request_queue> queue, std::size_t depth)
    : queue_{std::move(queue)}, entries_(depth) {
  for (std::size_t slot = depth; slot > 0; --slot) {
    free_.push_back(slot - 1);
  }
}

file_requests::~file_requests() {
  while (true) {
    for (const auto &each : untold_) {
      nr_in_flight_ -= each.slot == wake_slot_ ? 0U : 1U;
    }
    if (nr_in_flight_ == 0) {
      break;
    }
    untold_ = std::span{reaped_}.first(queue_->reap(reaped_));
  }
}

void file_requests::add(int file, const io_request &request) {
  require(has_room(), "no more requests than there is room for");
  const std::size_t slot = free_.back();
  entries_[slot] = {request, file, false, 0};
  queue_->prepare(file, request, slot); // which may have no memory for it
  free_.pop_back();
  ++nr_in_flight_;
}

std::size_t file_requests::wait(std::optional<std::chrono::nanoseconds> timeout) {
  if (untold_.empty()) {
    untold_ = std::span{reaped_}.first(queue_->reap(reaped_, timeout));
  }
  std::size_t nr_ended = 0;
  while (!untold_.empty()) {
    const request_queue::completion next = untold_.front();
    untold_ = untold_.subspan(1);
    nr_ended += take(next) ? 1U : 0U;
  }
  return nr_ended;
}

// Has the whole request ended?
bool file_requests::take(const request_queue::completion &ended) {
  if (ended.slot == wake_slot_) {
    wait_for_wake();
    return false;
  }
  entry &its = entries_[ended.slot];
  if (ended.transferred < 0) {
    const bool can_be_written = its.request.op == io_request::operation::write_zeroes &&
                                ended.transferred == -EOPNOTSUPP && !its.by_writing;
    if (!can_be_written) {
      return finish(ended.slot, {static_cast<int>(-ended.transferred), std::generic_category()});
    }
    its.by_writing = true;
    return carry_on(ended.slot);
  }
  its.done += static_cast<std::uint64_t>(ended.transferred);
  const bool is_counted = has_data(its.request) || its.by_writing;
  if (!is_counted || its.done == length_of(its.request).value()) {
    return finish(ended.slot, {});
  }
  if (ended.transferred == 0) { // the end of the file
    return finish(ended.slot, std::make_error_code(std::errc::io_error));
  }
  return carry_on(ended.slot);
}

bool file_requests::finish(std::size_t slot, std::error_code error) {
  io_listener &listener = *entries_[slot].request.listener;
  const std::uint64_t tag = entries_[slot].request.tag;
  free_.push_back(slot);
  --nr_in_flight_;
  listener.io_done(tag, error);
  return true;
}

bool file_requests::carry_on(std::size_t slot) {
  try {
    prepare_rest(slot);
    return false;
  } catch (const std::bad_alloc &) {
    return finish(slot, std::make_error_code(std::errc::not_enough_memory));
  }
}

void file_requests::prepare_rest(std::size_t slot) {
  const entry &its = entries_[slot];
  io_request rest = its.request;
  rest.offset = rest.offset + its.done;
  if (its.by_writing) {
    if (!zeroes_) {
      zeroes_.emplace(zeroes_buffer_size);
      std::ranges::fill(zeroes_->span(), std::byte{0});
    }
    rest.op = io_request::operation::write;
    rest.data = zeroes_->span().first(
        std::min<std::uint64_t>(its.request.length.value() - its.done, zeroes_buffer_size));
  } else {
    rest.data = rest.data.subspan(its.done);
  }
  queue_->prepare(its.file, rest, slot);
}

std::error_code file_requests::allow_wake() {
  wake_event_ = file_descriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!wake_event_.is_open()) {
    return {errno, std::generic_category()};
  }
  require(has_room(), "waking takes the room of a request");
  wake_slot_ = free_.back();
  free_.pop_back();
  wait_for_wake();
  return {};
}

void file_requests::wake() const {
  const std::uint64_t one = 1;
  // It fails only if it has been woken 2^64 times already.
  [[maybe_unused]] const auto written = ::write(wake_event_.get(), &one, sizeof one);
}

void file_requests::wait_for_wake() {
  std::uint64_t count = 0;
  [[maybe_unused]] const auto read = ::read(wake_event_.get(), &count, sizeof count);
  queue_->prepare_poll(wake_event_.get(), wake_slot_);
}

} // namespace dmcache
