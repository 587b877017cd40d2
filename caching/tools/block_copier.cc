#include "caching/tools/block_copier.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace dmcache {

void block_copier::job::start(device &fast, std::vector<block_piece> pieces) {
  pieces_ = std::move(pieces);
  failed_ = false;
  const auto reads = fast_reads(pieces_, buffer_.span(), *this);
  in_flight_ = reads.size();
  fast.submit(reads);
}

void block_copier::job::start_write(device &origin) {
  in_flight_ = 1;
  const io_request write{io_request::operation::write, bytes{pieces_.front().origin},
                         buffer_.span().first(length()), this, 0};
  origin.submit({&write, 1});
}

void block_copier::job::io_done(std::uint64_t /*tag*/, std::error_code error) {
  --in_flight_;
  failed_ = failed_ || error;
}

std::uint64_t block_copier::job::length() const {
  return pieces_.back().origin_end() - pieces_.front().origin;
}

block_copier::block_copier(device &origin, device &fast, const block_geometry &geometry,
                           std::span<const location> blocks, std::uint64_t buffer_size,
                           std::uint64_t nr_retries)
    : origin_{origin}, fast_{fast}, nr_retries_{nr_retries},
      jobs_(std::max<std::uint64_t>(buffer_size / chunk_size, 1)), depth_{jobs_.size()},
      blocks_{blocks}, pieces_{geometry, blocks} {}

void block_copier::copy_on(const std::function<bool()> &is_to_pause, progress &watcher) {
  // Of the jobs that read, the oldest is waited for, then it writes; of those that write, too, the
  // oldest is waited for.
  const auto beyond = [&](std::size_t block, bool is_on_origin, bytes at) {
    using enum block_failure::step;
    failed_.push_back(
        {blocks_[block].cached_in, is_on_origin ? beyond_fast : beyond_origin, at, {}});
  };
  std::deque<job *> reading;
  std::deque<job *> writing;
  std::deque<job *> idle;
  for (job &each : jobs_) {
    idle.push_back(&each);
  }
  depth_.resume();
  bool is_pausing = false;
  while (true) {
    while (reading.size() + writing.size() < depth_.now() && !is_pausing) {
      auto pieces = pieces_.next(chunk_size, beyond);
      if (pieces.empty()) {
        break;
      }
      idle.front()->start(fast_, std::move(pieces));
      reading.push_back(idle.front());
      idle.pop_front();
      is_pausing = is_to_pause();
    }
    if (!reading.empty()) {
      job &oldest = *reading.front();
      while (!oldest.is_idle()) {
        fast_.wait();
      }
      reading.pop_front();
      if (!oldest.has_failed()) {
        oldest.start_write(origin_);
      }
      writing.push_back(&oldest);
    }
    // Half of what is under way may be writes before one of them is waited for.
    if (writing.size() > depth_.now() / 2 || (reading.empty() && !writing.empty())) {
      job &oldest = *writing.front();
      while (!oldest.is_idle()) {
        origin_.wait();
      }
      writing.pop_front();
      finish(oldest);
      depth_.ended(oldest.length(), std::chrono::steady_clock::now());
      watcher.advance(oldest.length());
      idle.push_front(&oldest); // its memory is in the processor's cache
    } else if (reading.empty()) {
      break;
    }
  }
  std::ranges::stable_sort(failed_, {}, &block_failure::block);
  failed_.erase(std::ranges::unique(failed_, {}, &block_failure::block).begin(), failed_.end());
}

// If something went wrong with the whole, its pieces are tried one by one.
void block_copier::finish(job &done) {
  if (!done.has_failed()) {
    return;
  }
  for (const block_piece &each : done.pieces()) {
    auto why = copy_alone(each, done.memory().first(each.length));
    for (std::uint64_t tries = 0; why && tries < nr_retries_; ++tries) {
      why = copy_alone(each, done.memory().first(each.length));
    }
    if (why) {
      failed_.push_back(*why);
    }
  }
}

// Nothing if it worked.
std::optional<block_failure> block_copier::copy_alone(const block_piece &each,
                                                      std::span<std::byte> memory) {
  using operation = io_request::operation;
  using step = block_failure::step;
  if (const auto error = transfer_and_wait(fast_, operation::read, bytes{each.fast}, memory)) {
    return block_failure{blocks_[each.block].cached_in, step::reading_fast, bytes{each.fast},
                         error};
  }
  if (const auto error = transfer_and_wait(origin_, operation::write, bytes{each.origin}, memory)) {
    return block_failure{blocks_[each.block].cached_in, step::writing_origin, bytes{each.origin},
                         error};
  }
  return {};
}

} // namespace dmcache
