#include "caching/tools/block_copier.h"

#include <algorithm>
#include <utility>

namespace dmcache {

void block_copier::job::start(device &fast, std::vector<piece> pieces) {
  pieces_ = std::move(pieces);
  failed_ = false;
  std::vector<io_request> reads;
  std::size_t at = 0;
  std::uint64_t end = 0; // on the fast device, of the last read
  for (const piece &each : pieces_) {
    if (!reads.empty() && end == each.fast) {
      std::span<std::byte> &last = reads.back().data;
      last = {last.data(), last.size() + each.length};
    } else {
      reads.push_back({io_request::operation::read, bytes{each.fast},
                       buffer_.span().subspan(at, each.length), this, 0});
    }
    at += each.length;
    end = each.fast + each.length;
  }
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
  return pieces_.back().origin + pieces_.back().length - pieces_.front().origin;
}

block_copier::block_copier(device &origin, device &fast, const copy_geometry &geometry,
                           std::span<const location> blocks, std::uint64_t buffer_size,
                           std::uint64_t nr_retries)
    : origin_{origin}, fast_{fast}, geometry_{geometry}, nr_retries_{nr_retries},
      jobs_(std::max<std::uint64_t>(buffer_size / chunk_size, 1)), nr_blocks_{blocks.size()},
      blocks_{blocks} {}

// A job's worth of pieces that follow one another on the origin; none at the end. Blocks that lie
// beyond a device's end fail here.
std::vector<block_copier::piece> block_copier::next_pieces() {
  std::vector<piece> pieces;
  std::uint64_t room = chunk_size;
  while (!blocks_.empty() && room > 0) {
    const auto &[origin, cached_in] = blocks_.front();
    const std::uint64_t size = geometry_.block_size.value();
    const std::uint64_t begin = origin.value() * size;
    const std::uint64_t fast = cached_in.value() * size;
    const std::uint64_t origin_end = geometry_.origin_end.value();
    if (origin.value() >= origin_end / size + 1 || begin >= origin_end ||
        fast + size > geometry_.fast_end.value()) {
      failed_.push_back(cached_in);
      blocks_ = blocks_.subspan(1);
      continue;
    }
    const std::uint64_t whole = std::min(size, origin_end - begin);
    const std::uint64_t length = std::min(whole - cut_off_, room);
    const piece next{cached_in, begin + cut_off_, fast + cut_off_, length};
    if (!pieces.empty() && pieces.back().origin + pieces.back().length != next.origin) {
      break;
    }
    pieces.push_back(next);
    room -= length;
    cut_off_ += length;
    if (cut_off_ == whole) {
      blocks_ = blocks_.subspan(1);
      cut_off_ = 0;
    }
  }
  return pieces;
}

void block_copier::copy_on(const std::function<bool()> &is_to_pause, progress &watcher) {
  // A ring of jobs: the oldest is waited for, then written, and its write is waited for when its
  // turn comes again.
  std::deque<job *> reading;
  std::deque<job *> writing;
  std::deque<job *> idle;
  for (job &each : jobs_) {
    idle.push_back(&each);
  }
  bool is_pausing = false;
  while (true) {
    while (!idle.empty() && !is_pausing) {
      auto pieces = next_pieces();
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
    // Half of the jobs may be writing before one of them is waited for.
    if (writing.size() > jobs_.size() / 2 || (reading.empty() && !writing.empty())) {
      job &oldest = *writing.front();
      while (!oldest.is_idle()) {
        origin_.wait();
      }
      writing.pop_front();
      finish(oldest);
      watcher.advance(oldest.length());
      idle.push_back(&oldest);
    } else if (reading.empty()) {
      break;
    }
  }
  std::ranges::sort(failed_);
  failed_.erase(std::ranges::unique(failed_).begin(), failed_.end());
}

// If something went wrong with the whole, its pieces are tried one by one.
void block_copier::finish(job &done) {
  if (!done.has_failed()) {
    return;
  }
  for (const piece &each : done.pieces()) {
    bool copied = false;
    for (std::uint64_t tries = 0; !copied && tries <= nr_retries_; ++tries) {
      copied = copy_alone(each, done.memory().first(each.length));
    }
    if (!copied) {
      failed_.push_back(each.block);
    }
  }
}

bool block_copier::copy_alone(const piece &each, std::span<std::byte> memory) {
  return !transfer_and_wait(fast_, io_request::operation::read, bytes{each.fast}, memory) &&
         !transfer_and_wait(origin_, io_request::operation::write, bytes{each.origin}, memory);
}

} // namespace dmcache
