// The one door to storage. Every read and write of a device goes through this interface: files and
// block devices (file_device.h), memory (memory_device.h), and one that injects faults
// (faulty_device.h).
//
// I/O is asynchronous and batched: submit() takes any number of requests, wait() runs the listeners
// of those that have ended. A device is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include "base/io_operation.h"
#include "base/units.h"

namespace dmcache {

// What offsets, lengths and addresses of requests are multiples of, wherever metadata go. A device
// that holds data takes multiples of its logical block size, most often 512.
inline constexpr std::size_t io_alignment = 4096;

// Told when a request has ended; must outlive its requests.
class io_listener {
 public:
  io_listener() = default;
  io_listener(const io_listener &) = delete;
  io_listener &operator=(const io_listener &) = delete;
  virtual ~io_listener() = default;

  // `error` is zero if all bytes were transferred; otherwise nothing is known of the data.
  virtual void io_done(std::uint64_t tag, std::error_code error) = 0;
};

struct io_request {
  using operation = io_operation; // any but prefetch

  operation op;
  bytes offset;
  std::span<std::byte> data; // the caller's, untouched by it until the request has ended
  io_listener *listener;
  std::uint64_t tag;     // handed to the listener
  bytes length{};        // of discard and write_zeroes, which have no data
  bool may_trim = false; // of write_zeroes: they need no room on the device
};

// How much of the device the request is about.
inline bytes length_of(const io_request &request) {
  return request.data.empty() ? request.length : bytes{request.data.size()};
}

class device {
 public:
  device() = default;
  device(const device &) = delete;
  device &operator=(const device &) = delete;
  virtual ~device() = default;

  virtual bytes size() const = 0;
  virtual std::size_t logical_block_size() const { return sector_size; }
  // Does discarding do anything? If not, it may be an error.
  virtual bool can_discard() const { return false; }

  // The first byte from `offset` on that isn't known to lie in a hole, which reads as zeroes; one at
  // or beyond the end if all do.
  virtual bytes next_data(bytes offset) const { return offset; }

  // Never waits for the requests to end. What exceeds the device's queue is kept and issued as
  // earlier requests end.
  virtual void submit(std::span<const io_request> requests) = 0;

  // Blocks until at least one request has ended and runs the listeners of all that have.
  // Requires that something is in flight.
  virtual void wait() = 0;

  // Makes durable all writes that have ended. Blocks.
  virtual std::error_code flush() = 0;
};

// One request, waited for. Other requests in flight may end meanwhile.
std::error_code transfer_and_wait(device &on, io_request::operation op, bytes offset,
                                  std::span<std::byte> data);

} // namespace dmcache
