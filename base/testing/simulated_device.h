// A device in memory with a volatile write cache and every fault that a real one may have: for
// tests and simulations.
//
// What was written is read at once, but only what was flushed survives a power cut for sure: of the
// sectors written since, each holds any of the contents that it had in the meantime. So writes tear
// and change places. A flush covers what had been written when it began. A write that fails, or is
// under way when the power is cut, may be done in part.
//
// It is used like any device; or by the calls of its own, for whoever decides himself when an I/O
// ends. The same calls with the same seed give the same results.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

#include "base/chance.h"
#include "base/device.h"
#include "base/units.h"

namespace dmcache {

class simulated_device final : public device {
 public:
  using operation = io_request::operation;

  // What a discard leaves: any of it is allowed.
  enum class discard_effect : std::uint8_t { nothing, zeroes, either };
  // What no device should do: by these, tests are tested.
  enum class defect : std::uint8_t {
    none,
    flush_does_nothing,
    forgets_flushed_sectors, // some, by a power cut
    loses_writes,            // one in 64
    misplaces_writes,        // one in 64, by a sector
  };

  struct options {
    // Of each sector only so many bytes are stored, those at its start. What is read of the rest
    // is whatever stood in the buffer.
    std::size_t kept_per_sector = sector_size;
    discard_effect on_discard = discard_effect::either;
    // What a failed flush should have made durable never will be, though it is read as before: so
    // it is with Linux's page cache.
    bool failed_flush_loses = false;
    defect broken = defect::none;
  };

  // All zero.
  simulated_device(bytes size, const options &how, std::uint64_t seed);
  // Holds `contents`, durably.
  explicit simulated_device(std::span<const std::byte> contents, std::uint64_t seed = 0);

  bytes size() const override { return bytes{marks_.size() * sector_size}; }
  // Cuts off, or adds zeroes.
  void resize(bytes size);

  // Requests end in any order. Offsets and lengths need only be whole sectors.
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override;

  // The same for one who knows when an I/O ends. transfer() is called then, and does all but a
  // flush; `length` is that of `data`, if it has any.
  std::error_code transfer(operation op, bytes offset, bytes length, std::span<std::byte> data);
  // The power is cut while it is under way.
  void interrupt(operation op, bytes offset, bytes length, std::span<const std::byte> data);
  // A flush covers what was written before it began.
  std::uint64_t begin_flush();
  std::error_code end_flush(std::uint64_t flush);

  // I/Os of this kind that touch [begin, end) fail, about one in so many.
  struct fault {
    operation op;
    bytes begin{};
    bytes end{std::numeric_limits<std::uint64_t>::max()};
    std::uint64_t one_in = 1;
    std::uint64_t at_most = std::numeric_limits<std::uint64_t>::max(); // times
  };
  void add_fault(const fault &what) { faults_.push_back(what); }
  // Nothing fails any more; the power isn't cut either, if that was planned.
  void clear_faults() {
    faults_.clear();
    cut_at_.reset();
    fail_at_.reset();
    fail_read_at_.reset();
  }
  std::uint64_t nr_failed() const { return nr_failed_; } // by this, or what follows

  // All but reads that were carried out so far.
  std::uint64_t nr_changes() const { return nr_changes_; }
  // That change is not made any more, or in part, and from then on everything fails.
  void cut_power_at(std::uint64_t change) { cut_at_ = change; }
  // Only that change fails.
  void fail_at(std::uint64_t change) { fail_at_ = change; }
  // The same of reads.
  std::uint64_t nr_reads() const { return nr_reads_; }
  void fail_read_at(std::uint64_t read) { fail_read_at_ = read; }

  bool has_power() const { return has_power_; }
  // The power is cut, if it hasn't been, and comes back. What is under way is no more: nobody is
  // told of it.
  void power_cycle();
  // What that could leave, if it happened now.
  std::vector<std::byte> after_power_cut();

  // What a read would give: kept_per_sector bytes.
  std::span<const std::byte> sector(std::uint64_t number) const {
    return std::span{present_}.subspan(number * kept_, kept_);
  }

 private:
  struct flushing {
    std::uint64_t number;
    std::vector<std::uint32_t> sectors; // that it covers, unless they were written to meanwhile
  };
  struct queued {
    io_request request;
    std::uint64_t flush; // its number, if it is one
  };

  std::error_code end(const queued &which);
  bool is_within(bytes offset, bytes length) const;
  bool may_change();
  bool is_failing(operation op, bytes offset, bytes length);
  void read(std::uint64_t first, std::span<std::byte> into) const;
  void change(operation op, std::uint64_t sector, std::span<const std::byte> data);
  void change_some(operation op, bytes offset, bytes length, std::span<const std::byte> data);
  void put(std::uint64_t sector, const std::byte *data);
  void make_durable(std::uint64_t sector);
  void forget_something();

  std::size_t kept_;
  options how_;
  chance chance_;
  std::vector<std::byte> present_;
  std::vector<std::byte> durable_;
  // Of each sector: one of those named in the implementation, or the number of the flush that will
  // make it durable.
  std::vector<std::uint64_t> marks_;
  std::vector<std::uint32_t> unflushed_; // sectors so marked
  std::vector<std::uint32_t> lost_;      // sectors that may be so marked
  std::vector<flushing> flushes_;        // under way, in order
  std::uint64_t next_flush_;
  std::vector<queued> queue_;
  std::vector<fault> faults_;
  std::uint64_t nr_failed_ = 0;
  std::uint64_t nr_changes_ = 0;
  std::optional<std::uint64_t> cut_at_;
  std::optional<std::uint64_t> fail_at_;
  std::uint64_t nr_reads_ = 0;
  std::optional<std::uint64_t> fail_read_at_;
  bool has_power_ = true;
};

} // namespace dmcache
