// Compares what is cached with the origin: in the origin's order, neighbours together, as many at once
// as the devices like.
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

enum class comparison : std::uint8_t {
  untried,
  equal,
  differs,
  unreadable, // whatever the part says that could be read
};

class block_comparer {
 public:
  using location = cache_contents::location;

  // Uses `buffer_size` bytes of memory or less, but at least two chunks, to compare `blocks`, which
  // must ascend by origin block. They and the devices must outlive this.
  block_comparer(device &origin, device &fast, const block_geometry &geometry,
                 std::span<const location> blocks, std::uint64_t buffer_size);

  // Ends when all is compared, or when `is_stopped`, which is asked for each MiB, says so.
  void run(const std::function<bool()> &is_stopped, progress &watcher);

  // What came out, by the place in `blocks`. A block that ends beyond the origin's end is compared
  // up to there.
  std::span<const comparison> found() const { return found_; }
  // Why blocks are unreadable; each may have several reasons.
  std::span<const block_failure> failures() const { return failures_; }

 private:
  static constexpr std::uint64_t chunk_size = std::uint64_t{1} << 20;

  // Pieces that follow one another on the origin, read from both devices.
  class job final : public io_listener {
   public:
    void start(device &origin, device &fast, std::vector<block_piece> pieces);
    void io_done(std::uint64_t tag, std::error_code error) override;

    std::span<const block_piece> pieces() const { return pieces_; }
    std::uint64_t length() const;
    void wait_for(device &origin, device &fast);
    bool has_failed() const { return failed_; }
    std::span<std::byte> of_origin() { return origin_.span(); }
    std::span<std::byte> of_fast() { return fast_.span(); }

   private:
    aligned_buffer origin_{chunk_size};
    aligned_buffer fast_{chunk_size};
    std::vector<block_piece> pieces_;
    std::size_t nr_fast_ = 0; // reads in flight
    std::size_t nr_origin_ = 0;
    bool failed_ = false;
  };

  void finish(job &done);
  void note(std::size_t block, comparison outcome);
  std::optional<block_failure> read_alone(const block_piece &each, std::span<std::byte> origin,
                                          std::span<std::byte> fast);

  device &origin_;
  device &fast_;
  std::deque<job> jobs_; // never moved
  adaptive_depth depth_; // how many of them are to read
  std::span<const location> blocks_;
  block_pieces pieces_; // of these
  std::vector<comparison> found_;
  std::vector<block_failure> failures_;
};

} // namespace dmcache
