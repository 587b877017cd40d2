#include "persistent-data/block_stream.h"

#include <algorithm>

namespace dmcache {

block_stream::block_stream(device &from, std::size_t count,
                           std::function<metadata_block(std::size_t)> block_at)
    : from_{from}, count_{count}, block_at_{std::move(block_at)},
      buffer_{std::min(count, nr_windows * window_blocks) * metadata_block_size} {
  std::span<std::byte> room = buffer_.span();
  for (window &each : windows_) {
    const std::size_t size = std::min(room.size(), window_blocks * metadata_block_size);
    each.take_room(room.first(size));
    room = room.subspan(size);
    start(each);
  }
  windows_.front().finish(from_);
}

block_stream::~block_stream() {
  for (window &each : windows_) {
    each.finish(from_);
  }
}

void block_stream::start(window &next) {
  const std::size_t size = std::min(window_blocks, count_ - started_);
  next.start(from_, started_, size, block_at_);
  started_ += size;
}

std::optional<block_stream::item> block_stream::next() {
  if (position_ == windows_.at(current_).size()) {
    start(windows_.at(current_));
    current_ = (current_ + 1) % nr_windows;
    position_ = 0;
    windows_.at(current_).finish(from_);
    if (windows_.at(current_).size() == 0) {
      return {};
    }
  }
  return windows_.at(current_).at(position_++);
}

std::span<std::byte> block_stream::window::slot(std::size_t index, std::size_t count) {
  return room_.subspan(index * metadata_block_size, count * metadata_block_size);
}

void block_stream::window::start(device &from, std::size_t first, std::size_t size,
                                 const std::function<metadata_block(std::size_t)> &block_at) {
  first_ = first;
  sorted_.clear();
  for (std::size_t i = 0; i < size; ++i) {
    sorted_.push_back({block_at(first + i), i, {}});
  }
  std::ranges::sort(sorted_, {}, &wanted::where);
  slot_of_.resize(size);
  for (std::size_t i = 0; i < size; ++i) {
    slot_of_[sorted_[i].position] = i;
  }

  runs_.clear();
  for (std::size_t i = 0; i < size; ++i) {
    const bool extends = i > 0 && sorted_[i - 1].where + 1 == sorted_[i].where;
    if (extends) {
      ++runs_.back().size;
    } else {
      runs_.push_back({i, 1});
    }
  }
  std::vector<io_request> requests;
  requests.reserve(runs_.size());
  for (std::size_t i = 0; i < runs_.size(); ++i) {
    requests.push_back({io_request::operation::read, offset_of(sorted_[runs_[i].first].where),
                        slot(runs_[i].first, runs_[i].size), this, i});
  }
  in_flight_ = requests.size();
  from.submit(requests);
}

void block_stream::window::io_done(std::uint64_t tag, std::error_code error) {
  --in_flight_;
  if (error) {
    failed_.push_back(runs_[tag]);
  }
}

void block_stream::window::finish(device &from) {
  while (in_flight_ > 0) {
    from.wait();
  }
  for (const run &each : failed_) {
    for (std::size_t i = each.first; i < each.first + each.size; ++i) {
      sorted_[i].error = transfer_and_wait(from, io_request::operation::read,
                                           offset_of(sorted_[i].where), slot(i));
    }
  }
  failed_.clear();
}

block_stream::item block_stream::window::at(std::size_t index) const {
  const std::size_t place = slot_of_[index];
  return {first_ + index, sorted_[place].where,
          block_view{room_.subspan(place * metadata_block_size, metadata_block_size)},
          sorted_[place].error};
}

} // namespace dmcache
