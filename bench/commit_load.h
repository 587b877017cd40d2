// Keeps an engine committing: writes a whole block, which promotes it, flushes, and begins again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "base/aligned_buffer.h"
#include "base/assert.h"
#include "bench/bench_cache.h"
#include "bench/io_loops.h"

namespace dmcache {

class commit_load final : public request_client {
 public:
  // `uncached` are the offsets of blocks of the origin. Each is used once; then the load ends.
  commit_load(file_runtime &runtime, std::span<const std::uint64_t> uncached)
      : runtime_{runtime}, uncached_{uncached} {
    std::ranges::fill(data_.span(), std::byte{1});
  }

  void start() { write(); }
  void stop() {
    is_stopping_ = true;
    runtime_.run_until([this] { return !is_running_; });
    is_stopping_ = false;
  }

  void completed(request &done) override {
    require(!done.outcome, "no I/O fails here");
    if (done.op == request::operation::write) {
      submit(request::operation::flush, {}, {});
    } else {
      write();
    }
  }

 private:
  void write() {
    is_running_ = !is_stopping_ && next_ < uncached_.size();
    if (is_running_) {
      submit(request::operation::write, bytes{uncached_[next_++]}, data_.span());
    }
  }
  void submit(request::operation op, bytes offset, std::span<std::byte> data) {
    request_.op = op;
    request_.offset = offset;
    request_.length = bytes{data.size()};
    request_.data = data;
    request_.client = static_cast<request_client *>(this);
    runtime_.submit(request_);
  }

  file_runtime &runtime_;
  std::span<const std::uint64_t> uncached_;
  std::size_t next_ = 0;
  aligned_buffer data_{bench_cache::block_size};
  request request_;
  bool is_running_ = false;
  bool is_stopping_ = false;
};

} // namespace dmcache
