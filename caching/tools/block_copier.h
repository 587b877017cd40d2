// Copies dirty blocks from the fast device to the origin: in the origin's order, neighbours
// together, many at once.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "base/progress.h"
#include "caching/metadata/cache_contents.h"

namespace dmcache {

struct copy_geometry {
  bytes block_size;
  bytes origin_end; // blocks that reach beyond are copied up to here
  bytes fast_end;
};

class block_copier {
 public:
  using location = cache_contents::location;

  // Uses about `buffer_size` bytes of memory to copy `blocks`, which must ascend by origin block.
  // They and the devices must outlive this.
  block_copier(device &origin, device &fast, const copy_geometry &geometry,
               std::span<const location> blocks, std::uint64_t buffer_size,
               std::uint64_t nr_retries);

  // Copies on until nothing is left, or `is_to_pause`, which is asked after each MiB that is begun,
  // says so; then waits for what is under way. It does not flush the origin.
  void copy_on(const std::function<bool()> &is_to_pause, progress &watcher);

  // Of the blocks, in their order, the first so many are dealt with: copied, or failed.
  std::size_t nr_done() const { return nr_blocks_ - blocks_.size(); }
  bool is_done() const { return blocks_.empty(); }
  // Those that could not be copied so far, or not wholly, in order of cache blocks.
  std::span<const cache_block> failed() const { return failed_; }

 private:
  static constexpr std::uint64_t chunk_size = std::uint64_t{1} << 20;

  // Part of a block, or all of it.
  struct piece {
    cache_block block;
    std::uint64_t origin; // byte of the device
    std::uint64_t fast;
    std::uint64_t length;
  };

  // Pieces that follow one another on the origin: read from wherever they are, written together.
  class job final : public io_listener {
   public:
    void start(device &fast, std::vector<piece> pieces);
    void start_write(device &origin);
    void io_done(std::uint64_t tag, std::error_code error) override;

    std::span<const piece> pieces() const { return pieces_; }
    std::span<std::byte> memory() { return buffer_.span(); }
    std::uint64_t length() const;
    bool is_idle() const { return in_flight_ == 0; }
    bool has_failed() const { return failed_; }

   private:
    aligned_buffer buffer_{chunk_size};
    std::vector<piece> pieces_;
    std::size_t in_flight_ = 0;
    bool failed_ = false;
  };

  std::vector<piece> next_pieces();
  void finish(job &done);
  bool copy_alone(const piece &each, std::span<std::byte> memory);

  device &origin_;
  device &fast_;
  copy_geometry geometry_;
  std::uint64_t nr_retries_;
  std::deque<job> jobs_; // never moved
  std::size_t nr_blocks_;
  std::span<const location> blocks_; // still to be cut
  std::uint64_t cut_off_ = 0;        // bytes of blocks_.front() that are cut already
  std::vector<cache_block> failed_;
};

} // namespace dmcache
