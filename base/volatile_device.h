// A device with a write cache that a power cut empties: what is written can be read at once, but
// only what was flushed is safe. Takes no flush among its requests. For tests.
#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <vector>

#include "base/memory_device.h"

namespace dmcache {

class volatile_device final : public device {
 public:
  explicit volatile_device(std::vector<std::byte> contents)
      : durable_{contents}, present_{std::move(contents)} {}

  bytes size() const override { return present_.size(); }
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override;

  // Writes and flushes so far.
  std::uint64_t nr_changes() const { return nr_changes_; }
  // From this change on, everything fails, as it does without power.
  void cut_power_at(std::uint64_t change) { cut_at_ = change; }
  // This change fails; what it should have written is undefined. All else works.
  void fail_at(std::uint64_t change) { fail_at_ = change; }

  // The same of reads.
  std::uint64_t nr_reads() const { return nr_reads_; }
  void fail_read_at(std::uint64_t read) { fail_read_at_ = read; }

  // What a power cut leaves: each sector that wasn't flushed holds its old data or its new ones.
  std::vector<std::byte> after_power_cut(std::mt19937_64 &chance) const;

 private:
  enum class fate : std::uint8_t { done, failed, no_power };

  fate next_change();
  fate next_read();

  std::vector<std::byte> durable_;
  memory_device present_;
  std::vector<io_request> doomed_; // submitted, to fail at the next wait()
  std::uint64_t nr_changes_ = 0;
  std::uint64_t nr_reads_ = 0;
  std::uint64_t in_flight_ = 0; // in present_
  std::optional<std::uint64_t> cut_at_;
  std::optional<std::uint64_t> fail_at_;
  std::optional<std::uint64_t> fail_read_at_;
};

} // namespace dmcache
