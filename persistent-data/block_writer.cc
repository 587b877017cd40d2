#include "persistent-data/block_writer.h"

#include <algorithm>

#include "base/assert.h"

namespace dmcache {

block_writer::block_writer(device &to, metadata_block first) : to_{to}, next_{first} {}

block_writer::~block_writer() {
  while (std::ranges::any_of(buffers_, &buffer::in_flight)) {
    to_.wait();
  }
}

block_writer::slot block_writer::add() {
  require(offset_of(next_) + metadata_block_size <= to_.size(), "the device has room for it");
  if (used_ == blocks_per_buffer) {
    write_current();
  }
  const auto memory = buffers_.at(current_).memory.span().subspan(used_ * metadata_block_size);
  const auto data = memory.first<metadata_block_size>();
  const slot added{next_, data};
  ++next_;
  ++used_;
  return added;
}

std::error_code block_writer::finish() {
  write_current();
  while (std::ranges::any_of(buffers_, &buffer::in_flight)) {
    to_.wait();
  }
  return error_;
}

void block_writer::io_done(std::uint64_t tag, std::error_code error) {
  buffers_.at(tag).in_flight = false;
  error_ = error_ ? error_ : error;
}

// Hands the current buffer to the device, and waits until the next one is free.
void block_writer::write_current() {
  if (used_ != 0) {
    buffer &full = buffers_.at(current_);
    const metadata_block first{next_.value() - used_};
    const io_request request{io_request::operation::write, offset_of(first),
                             full.memory.span().first(used_ * metadata_block_size), this, current_};
    full.in_flight = true;
    to_.submit({&request, 1});
  }
  current_ = (current_ + 1) % buffers_.size();
  used_ = 0;
  while (buffers_.at(current_).in_flight) {
    to_.wait();
  }
}

} // namespace dmcache
