// Many blocks, handed out in the order asked for, read in disk order.
//
// Blocks are read by windows: within one they are sorted, neighbours are read together, and all
// reads are in flight at once; while one window is handed out, the next ones are being read. Memory
// is those windows, however many blocks there are.
#pragma once

#include <array>
#include <cstddef>
#include <functional>
#include <optional>
#include <system_error>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/device.h"
#include "persistent-data/validator.h"

namespace dmcache {

// Is told of a block that the device can't read, whatever comes of that.
using read_failure_handler = std::function<void(metadata_block, std::error_code)>;

inline const read_failure_handler ignore_read_failures = [](metadata_block, std::error_code) {};

class block_stream {
 public:
  // Reads block_at(0) … block_at(count - 1), all of them within `from`, which must outlive this.
  block_stream(device &from, std::size_t count,
               std::function<metadata_block(std::size_t)> block_at);
  block_stream(const block_stream &) = delete;
  block_stream &operator=(const block_stream &) = delete;
  ~block_stream(); // waits for what is in flight

  struct item {
    std::size_t position; // in the order asked for
    metadata_block where;
    block_view data;
    std::error_code error; // if it is set, `data` mean nothing
  };

  // The next block, not validated; its data live until the next call.
  std::optional<item> next();

 private:
  static constexpr std::size_t window_blocks = 128;
  static constexpr std::size_t nr_windows = 4;

  struct wanted {
    metadata_block where;
    std::size_t position;
    std::error_code error;
  };

  // The blocks [first, first + size) of the order asked for.
  class window final : public io_listener {
   public:
    // Requires room for a whole window, or for all there is.
    void take_room(std::span<std::byte> room) { room_ = room; }
    void start(device &from, std::size_t first, std::size_t size,
               const std::function<metadata_block(std::size_t)> &block_at);
    // After this nothing is in flight, and blocks of a failed read have been tried one by one.
    void finish(device &from);
    void io_done(std::uint64_t tag, std::error_code error) override;

    std::size_t size() const { return sorted_.size(); }
    item at(std::size_t index) const;

   private:
    struct run {
      std::size_t first; // in sorted_
      std::size_t size;
    };

    std::span<std::byte> slot(std::size_t index, std::size_t count = 1);

    std::span<std::byte> room_; // in the order of sorted_
    std::vector<wanted> sorted_;
    std::vector<std::size_t> slot_of_; // by order asked for
    std::vector<run> failed_;
    std::vector<run> runs_;
    std::size_t first_ = 0;
    std::size_t in_flight_ = 0;
  };

  void start(window &next);

  device &from_;
  std::size_t count_;
  std::function<metadata_block(std::size_t)> block_at_;
  aligned_buffer buffer_;   // of all windows
  std::size_t started_ = 0; // blocks of all windows started so far
  std::array<window, nr_windows> windows_;
  std::size_t current_ = 0;  // the window handed out
  std::size_t position_ = 0; // in it
};

} // namespace dmcache
