#include "caching/tools/block_comparer.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace dmcache {

namespace {

// Tags of reads; fast_reads() gives the first one.
constexpr std::uint64_t from_fast = 0;
constexpr std::uint64_t from_origin = 1;

} // namespace

void block_comparer::job::start(device &origin, device &fast, std::vector<block_piece> pieces) {
  pieces_ = std::move(pieces);
  failed_ = false;
  const auto reads = fast_reads(pieces_, fast_.span(), *this);
  nr_fast_ = reads.size();
  nr_origin_ = 1;
  fast.submit(reads);
  const io_request read{io_request::operation::read, bytes{pieces_.front().origin},
                        origin_.span().first(length()), this, from_origin};
  origin.submit({&read, 1});
}

void block_comparer::job::io_done(std::uint64_t tag, std::error_code error) {
  --(tag == from_fast ? nr_fast_ : nr_origin_);
  failed_ = failed_ || error;
}

std::uint64_t block_comparer::job::length() const {
  return pieces_.back().origin_end() - pieces_.front().origin;
}

void block_comparer::job::wait_for(device &origin, device &fast) {
  while (nr_fast_ != 0) {
    fast.wait();
  }
  while (nr_origin_ != 0) {
    origin.wait();
  }
}

block_comparer::block_comparer(device &origin, device &fast, const block_geometry &geometry,
                               std::span<const location> blocks, std::uint64_t buffer_size)
    : origin_{origin}, fast_{fast},
      jobs_(std::max<std::uint64_t>(buffer_size / (2 * chunk_size), 1)), depth_{jobs_.size()},
      blocks_{blocks}, pieces_{geometry, blocks}, found_(blocks.size()) {}

void block_comparer::run(const std::function<bool()> &is_stopped, progress &watcher) {
  const auto beyond = [&](std::size_t block, bool is_on_origin, bytes at) {
    using enum block_failure::step;
    note(block, comparison::unreadable);
    failures_.push_back(
        {blocks_[block].cached_in, is_on_origin ? beyond_fast : beyond_origin, at, {}});
  };
  // Of the jobs that read, the oldest is waited for.
  std::deque<job *> idle;
  std::deque<job *> reading;
  for (job &each : jobs_) {
    idle.push_back(&each);
  }
  while (true) {
    while (reading.size() < depth_.now() && !is_stopped()) {
      auto pieces = pieces_.next(chunk_size, beyond);
      if (pieces.empty()) {
        break;
      }
      idle.front()->start(origin_, fast_, std::move(pieces));
      reading.push_back(idle.front());
      idle.pop_front();
    }
    if (reading.empty()) {
      break;
    }
    finish(*reading.front());
    depth_.ended(reading.front()->length(), std::chrono::steady_clock::now());
    watcher.advance(reading.front()->length());
    idle.push_front(reading.front()); // its memory is in the processor's cache
    reading.pop_front();
  }
  if (!pieces_.is_done()) { // the part of a block that was compared says nothing of it
    found_[pieces_.nr_cut()] = comparison::untried;
  }
}

void block_comparer::note(std::size_t block, comparison outcome) {
  found_[block] = std::max(found_[block], outcome);
}

// Compares what a job has read; piece by piece, if any of it could not be read.
void block_comparer::finish(job &done) {
  done.wait_for(origin_, fast_);
  std::uint64_t at = 0;
  for (const block_piece &each : done.pieces()) {
    const auto origin = done.of_origin().subspan(at, each.length);
    const auto fast = done.of_fast().subspan(at, each.length);
    at += each.length;
    if (done.has_failed()) {
      if (const auto why = read_alone(each, origin, fast)) {
        note(each.block, comparison::unreadable);
        failures_.push_back(*why);
        continue;
      }
    }
    const bool is_equal = std::memcmp(origin.data(), fast.data(), each.length) == 0;
    note(each.block, is_equal ? comparison::equal : comparison::differs);
  }
}

// Nothing if it worked.
std::optional<block_failure> block_comparer::read_alone(const block_piece &each,
                                                        std::span<std::byte> origin,
                                                        std::span<std::byte> fast) {
  using operation = io_request::operation;
  using step = block_failure::step;
  const cache_block block = blocks_[each.block].cached_in;
  if (const auto error = transfer_and_wait(fast_, operation::read, bytes{each.fast}, fast)) {
    return block_failure{block, step::reading_fast, bytes{each.fast}, error};
  }
  if (const auto error = transfer_and_wait(origin_, operation::read, bytes{each.origin}, origin)) {
    return block_failure{block, step::reading_origin, bytes{each.origin}, error};
  }
  return {};
}

} // namespace dmcache
