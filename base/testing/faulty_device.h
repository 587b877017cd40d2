// A device that fails where it is told to, around one that works.
#pragma once

#include <vector>

#include "base/device.h"

namespace dmcache {

class faulty_device final : public device {
 public:
  // `working` must outlive this.
  explicit faulty_device(device &working) : working_{working} {}

  // From now on every request of the kind that touches [begin, end) ends with an I/O error. One
  // that discards or zeroes counts as a write.
  void fail_reads(bytes begin, bytes end) { bad_reads_.push_back({begin, end}); }
  void fail_writes(bytes begin, bytes end) { bad_writes_.push_back({begin, end}); }
  void fail_flushes() { bad_flushes_ = true; }

  bytes size() const override { return working_.size(); }
  std::size_t logical_block_size() const override { return working_.logical_block_size(); }
  bool can_discard() const override { return working_.can_discard(); }
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override;

 private:
  struct range {
    bytes begin;
    bytes end;
  };

  bool is_doomed(const io_request &request) const;

  device &working_;
  std::vector<range> bad_reads_;
  std::vector<range> bad_writes_;
  bool bad_flushes_ = false;
  std::vector<io_request> doomed_; // submitted, to fail at the next wait()
};

} // namespace dmcache
