// What goes into the engine and comes out of it: requests of its clients, and the I/O on the three
// devices that they lead to.
//
// Nothing is allocated on the way of a hit: a request, which its client owns, holds all that a
// request within one cache block needs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <system_error>

#include "base/io_operation.h"
#include "base/units.h"
#include "caching/engine/instant.h"
#include "caching/engine/intrusive_queue.h"

namespace dmcache {

struct request;
struct piece;
struct block_cell;

enum class cache_device : std::uint8_t { metadata, fast, origin };

// An I/O that the engine wants done. Offset and length are multiples of 512 bytes, on the metadata
// device of 4096; data lie at such addresses if those of the requests do.
struct engine_io {
  using operation = io_operation; // any but prefetch

  operation op{};
  cache_device on{};
  bytes offset;               // of all but flush
  bytes length;               // of all but flush
  std::span<std::byte> data;  // of read and write: `length` bytes, untouched until it is done
  bool is_background = false; // no request waits for it: others may go first
  bool may_trim = false;      // of write_zeroes: they need no room on the device

  // Of a read on the origin: when the device began it and had done it. Whoever carries it out sets
  // both before io_done(), or never does, if time means nothing there.
  instant begun{};
  instant ended{};

  // The engine's own.
  using handler = void (*)(void *context, engine_io &done, std::error_code error);
  handler on_done = nullptr;
  void *context = nullptr;
  piece *first_piece = nullptr; // of those that share it
  engine_io *next = nullptr;
};

// The part of a request that lies within one block. The engine's own.
struct piece {
  request *of = nullptr;
  origin_block block;
  std::uint32_t begin = 0; // bytes from the start of the block
  std::uint32_t end = 0;
  // Who carries it out. What comes back from the last two is not done yet.
  enum class place : std::uint8_t { origin, fast, migration, both, note };
  place sent_to{};
  cache_block cached_in;      // if it was sent to the fast device, or waits to be
  bool is_counted = false;    // among hits or misses
  std::uint8_t nr_ios = 0;    // in flight, if it was sent to both devices
  std::error_code error;      // with which it comes back; of both devices, that of the origin
  std::error_code fast_error; // and that of the fast device
  block_cell *cell = nullptr; // while it is in flight, or waits for its turn
  piece *next = nullptr;      // among those in flight in its block, or those that wait there
  piece *previous = nullptr;
  piece *next_queued = nullptr; // wherever else it waits
  engine_io io;
  engine_io mirror_io; // the one on the origin, where it goes to both
};

struct request {
  using operation = io_operation;

  operation op{};
  bool fua = false;          // durable when it completes
  bool may_trim = false;     // of write_zeroes: they need no room on the origin
  bytes offset;              // of all but flush: a multiple of 512, as is the length
  bytes length;              // not 0; it must not pass the end of the origin
  std::span<std::byte> data; // of read and write: `length` bytes, not the client's until completion
  void *client = nullptr;    // whatever the client knows it by

  // Once completed: zero if all of it was done. If a write was not, what it should have written
  // is old or new.
  std::error_code outcome;

  // The engine's own.
  bool is_on_fast_alone = false; // a FUA write, done but for that, sent nowhere else
  std::uint64_t flush_mark = 0;  // of flush_record, when it was submitted
  std::uint64_t nr_open = 0;     // pieces, and one more until it is split to the end
  bytes split_to;                // where the next piece begins
  piece first;
  std::unique_ptr<piece[]> more;                     // if it has several, until it is completed
  intrusive_queue<piece, &piece::next_queued> spare; // of these those that aren't under way
  request *next = nullptr;

  bool is_write() const { return op != operation::read && op != operation::prefetch; }
};

// With which a request fails that can't be carried out, whatever the reason.
inline std::error_code io_error() {
  return std::make_error_code(std::errc::io_error);
}

} // namespace dmcache
