// I/Os that a flow issues together and waits for.
#pragma once

#include <algorithm>
#include <coroutine>
#include <deque>
#include <system_error>

#include "caching/engine/cache_state.h"

namespace dmcache {

class io_group {
 public:
  explicit io_group(cache_state &state, bool is_background = false)
      : state_{state}, is_background_{is_background} {}
  io_group(const io_group &) = delete;
  io_group &operator=(const io_group &) = delete;
  // Requires that all that was issued is done, or that the engine is no more.
  ~io_group() = default;

  // `error`, which outlives this, becomes that of the first one of those given it that fails.
  void read(cache_device on, bytes offset, std::span<std::byte> into, std::error_code &error) {
    add(engine_io::operation::read, on, offset, bytes{into.size()}, into, error);
  }
  void write(cache_device on, bytes offset, std::span<std::byte> data, std::error_code &error) {
    add(engine_io::operation::write, on, offset, bytes{data.size()}, data, error);
  }
  void write_zeroes(cache_device on, bytes offset, bytes length, std::error_code &error) {
    add(engine_io::operation::write_zeroes, on, offset, length, {}, error);
  }
  void flush(cache_device on, std::error_code &error) {
    add(engine_io::operation::flush, on, {}, {}, {}, error);
  }

  // How long the longest of them took that were measured (engine_io::begun).
  instant longest() const { return longest_; }

  // Waits until all are done.
  auto operator co_await() {
    struct awaiter {
      io_group &of;
      bool await_ready() const noexcept { return of.nr_open_ == 0; }
      void await_suspend(std::coroutine_handle<> waiting) { of.waiting_ = waiting; }
      void await_resume() const noexcept {}
    };
    return awaiter{*this};
  }

 private:
  struct member {
    engine_io io;
    io_group *in;
    std::error_code *error;
  };

  void add(engine_io::operation op, cache_device on, bytes offset, bytes length,
           std::span<std::byte> data, std::error_code &error) {
    member &added = members_.emplace_back();
    added.in = this;
    added.error = &error;
    added.io.op = op;
    added.io.on = on;
    added.io.offset = offset;
    added.io.length = length;
    added.io.data = data;
    added.io.is_background = is_background_;
    added.io.on_done = done;
    added.io.context = &added;
    ++nr_open_;
    state_.io.issue(added.io);
  }

  static void done(void *context, engine_io &io, std::error_code error) {
    auto &ended = *static_cast<member *>(context);
    io_group &in = *ended.in;
    in.longest_ = std::max(in.longest_, io.ended - io.begun);
    *ended.error = *ended.error ? *ended.error : error;
    if (--in.nr_open_ == 0 && in.waiting_) {
      in.state_.ready.add(std::exchange(in.waiting_, {}));
    }
  }

  cache_state &state_;
  bool is_background_;
  std::deque<member> members_; // whose addresses stay
  std::size_t nr_open_ = 0;
  instant longest_{};
  std::coroutine_handle<> waiting_;
};

} // namespace dmcache
