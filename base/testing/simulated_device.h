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
  // What no device should do, so that tests can be tested.
  enum class defect : std::uint8_t {
    none,
    flush_does_nothing,
    forgets_flushed_sectors, // some, by a power cut
    loses_writes,            // one in 64
    misplaces_writes,        // one in 64, by a sector
  };

  struct options {
    // Only the first so many bytes of each sector are stored. What is read of the rest
    // is whatever stood in the buffer.
    std::size_t kept_per_sector = sector_size;
    discard_effect on_discard = discard_effect::either;
    // What a failed flush should have made durable never will be, though it is read as before: so
    // it is with Linux's page cache.
    bool failed_flush_loses = false;
    defect broken = defect::none;
  };

  // A device of zeroes.
  simulated_device(bytes size, const options &how, std::uint64_t seed);
  // Holds `contents`, durably.
  explicit simulated_device(std::span<const std::byte> contents, std::uint64_t seed = 0);

  bytes size() const override { return bytes{marks_.size() * sector_size}; }
  // Cuts off what is too much, or adds zeroes.
  void resize(bytes size);

  // Requests end in any order. Offsets and lengths need only be whole sectors.
  void submit(std::span<const io_request> requests) override;
  void wait() override;
  std::error_code flush() override;

  // The same for those who decide themselves when an I/O ends, and call this then, for anything but
  // a flush. `length` is that of `data`, if the operation has any.
  std::error_code transfer(operation op, bytes offset, bytes length, std::span<std::byte> data);
  // The power is cut while this I/O is under way.
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
  void add_fault(const fault &added) { faults_.push_back(added); }
  // Nothing fails any more; the power isn't cut either, if that was planned.
  void clear_faults() {
    faults_.clear();
    cut_at_.reset();
    fail_at_.reset();
    fail_read_at_.reset();
  }
  // How many I/Os have failed, by add_fault() or the calls below.
  std::uint64_t nr_failed() const { return nr_failed_; }

  // How many I/Os other than reads were carried out so far.
  std::uint64_t nr_changes() const { return nr_changes_; }
  // The power is cut at that change, which is made in part or not at all. Everything fails from
  // then on.
  void cut_power_at(std::uint64_t change) { cut_at_ = change; }
  // Only that change fails.
  void fail_at(std::uint64_t change) { fail_at_ = change; }
  // The same for reads.
  std::uint64_t nr_reads() const { return nr_reads_; }
  void fail_read_at(std::uint64_t read) { fail_read_at_ = read; }

  bool has_power() const { return has_power_; }
  // Cuts the power, if that hasn't happened yet, and brings it back. I/Os that are under way are
  // forgotten: nobody is told of them.
  void power_cycle();
  // What a power cut could leave, if it happened now.
  std::vector<std::byte> after_power_cut();

  // What a read would give of this sector: kept_per_sector bytes.
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

  std::error_code end(const queued &ended);
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
  // One for each sector: a mark that the implementation names, or the number of the flush that will
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
