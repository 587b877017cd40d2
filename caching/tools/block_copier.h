// Copies dirty blocks from the fast device to the origin: in the origin's order, neighbours
// together, as many at once as the devices like.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "base/progress.h"
#include "caching/tools/adaptive_depth.h"
#include "caching/tools/block_failure.h"
#include "caching/tools/block_pieces.h"

namespace dmcache {

class block_copier {
 public:
  using location = cache_contents::location;

  // Uses `buffer_size` bytes of memory or less, but at least one chunk, to copy `blocks`, which must
  // ascend by origin block. They and the devices must outlive this.
  block_copier(device &origin, device &fast, const block_geometry &geometry,
               std::span<const location> blocks, std::uint64_t buffer_size,
               std::uint64_t nr_retries);

  // Copies on until nothing is left, or `is_to_pause`, which is asked after each MiB that is begun,
  // says so; then waits for what is under way. It does not flush the origin.
  void copy_on(const std::function<bool()> &is_to_pause, progress &watcher);

  // Of the blocks, in their order, the first so many are dealt with: copied, or failed.
  std::size_t nr_done() const { return pieces_.nr_cut(); }
  bool is_done() const { return pieces_.is_done(); }
  // Those that could not be copied so far, or not wholly, in order of cache blocks; each once.
  std::span<const block_failure> failed() const { return failed_; }

 private:
  static constexpr std::uint64_t chunk_size = std::uint64_t{1} << 20;

  // Pieces that follow one another on the origin: read from wherever they are, written together.
  class job final : public io_listener {
   public:
    void start(device &fast, std::vector<block_piece> pieces);
    void start_write(device &origin);
    void io_done(std::uint64_t tag, std::error_code error) override;

    std::span<const block_piece> pieces() const { return pieces_; }
    std::span<std::byte> memory() { return buffer_.span(); }
    std::uint64_t length() const;
    bool is_idle() const { return in_flight_ == 0; }
    bool has_failed() const { return failed_; }

   private:
    aligned_buffer buffer_{chunk_size};
    std::vector<block_piece> pieces_;
    std::size_t in_flight_ = 0;
    bool failed_ = false;
  };

  void finish(job &done);
  std::optional<block_failure> copy_alone(const block_piece &each, std::span<std::byte> memory);

  device &origin_;
  device &fast_;
  std::uint64_t nr_retries_;
  std::deque<job> jobs_; // never moved
  adaptive_depth depth_; // how many of them are to read or write
  std::span<const location> blocks_;
  block_pieces pieces_; // of these
  std::vector<block_failure> failed_;
};

} // namespace dmcache
