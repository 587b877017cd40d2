#include "base/testing/simulated_device.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/assert.h"

namespace dmcache {
namespace {

// Marks of sectors.
constexpr std::uint64_t is_durable = 0;
constexpr std::uint64_t is_unflushed = 1;
constexpr std::uint64_t is_lost = 2; // will not be durable, whatever is flushed
constexpr std::uint64_t first_flush = 3;

std::error_code io_error() {
  return std::make_error_code(std::errc::io_error);
}

} // namespace

simulated_device::simulated_device(bytes size, const options &how, std::uint64_t seed)
    : kept_{how.kept_per_sector}, how_{how}, chance_{seed}, next_flush_{first_flush} {
  require(kept_ > 0 && kept_ <= sector_size, "something of a sector is kept, or all");
  resize(size);
}

simulated_device::simulated_device(std::span<const std::byte> contents, std::uint64_t seed)
    : simulated_device{bytes{contents.size()}, {}, seed} {
  present_.assign(contents.begin(), contents.end());
  durable_ = present_;
}

void simulated_device::resize(bytes size) {
  require(size.value() % sector_size == 0, "a device has whole sectors");
  const std::uint64_t nr_sectors = size.value() / sector_size;
  present_.resize(nr_sectors * kept_);
  durable_.resize(nr_sectors * kept_);
  marks_.resize(nr_sectors);
  const auto cut_off = [&](std::uint32_t sector) { return sector >= nr_sectors; };
  std::erase_if(unflushed_, cut_off);
  std::erase_if(lost_, cut_off);
  for (flushing &each : flushes_) {
    std::erase_if(each.sectors, cut_off);
  }
}

// What a device does. -----------------------------------------------------------------------------

void simulated_device::submit(std::span<const io_request> requests) {
  for (const io_request &each : requests) {
    queue_.push_back({each, each.op == operation::flush ? begin_flush() : 0});
  }
}

void simulated_device::wait() {
  require(!queue_.empty(), "wait() needs a request in flight");
  for (std::uint64_t count = chance_.between(1, queue_.size()); count > 0; --count) {
    const auto at = static_cast<std::ptrdiff_t>(chance_.below(queue_.size()));
    const queued ended = queue_[static_cast<std::size_t>(at)];
    queue_.erase(queue_.begin() + at);
    const std::error_code error = end(ended);
    ended.request.listener->io_done(ended.request.tag, error);
  }
}

std::error_code simulated_device::end(const queued &ended) {
  const io_request &request = ended.request;
  if (request.op == operation::flush) {
    return end_flush(ended.flush);
  }
  return transfer(request.op, request.offset, length_of(request), request.data);
}

std::error_code simulated_device::flush() {
  return end_flush(begin_flush());
}

// I/Os. -------------------------------------------------------------------------------------------

bool simulated_device::is_within(bytes offset, bytes length) const {
  return offset.value() % sector_size == 0 && length.value() % sector_size == 0 &&
         offset <= size() && length.value() <= size().value() - offset.value();
}

// Counts a change, and cuts the power when it is time for that.
bool simulated_device::may_change() {
  const std::uint64_t number = nr_changes_++;
  has_power_ = has_power_ && !(cut_at_ && number >= *cut_at_);
  const bool is_to_fail = fail_at_ && number == *fail_at_;
  nr_failed_ += is_to_fail ? 1U : 0U;
  return has_power_ && !is_to_fail;
}

bool simulated_device::is_failing(operation op, bytes offset, bytes length) {
  for (fault &each : faults_) {
    const bool is_touched =
        op == operation::flush || (offset < each.end && each.begin < offset + length.value());
    if (each.op == op && is_touched && each.at_most > 0 && chance_.one_in(each.one_in)) {
      --each.at_most;
      ++nr_failed_;
      return true;
    }
  }
  return false;
}

std::error_code simulated_device::transfer(operation op, bytes offset, bytes length,
                                           std::span<std::byte> data) {
  if (!is_within(offset, length)) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  const std::uint64_t first = offset.value() / sector_size;
  if (op == operation::read) {
    const bool is_bad = nr_reads_++ == fail_read_at_;
    nr_failed_ += is_bad ? 1U : 0U;
    if (!has_power_ || is_bad || is_failing(op, offset, length)) {
      for (std::size_t at = 0; at < data.size(); at += sector_size) { // nothing is known of it
        std::ranges::fill(data.subspan(at, kept_), std::byte{0xee});
      }
      return io_error();
    }
    read(first, data);
    return {};
  }
  if (!may_change()) {
    change_some(op, offset, length, data);
    return io_error();
  }
  if (is_failing(op, offset, length)) {
    change_some(op, offset, length, data);
    return io_error();
  }
  const std::uint64_t count = length.value() / sector_size;
  const bool is_misdone = how_.broken >= defect::loses_writes && chance_.one_in(64);
  if (is_misdone && how_.broken == defect::loses_writes) {
    return {};
  }
  const std::uint64_t start = is_misdone && first > 0 ? first - 1 : first;
  for (std::uint64_t i = 0; i < count; ++i) {
    change(op, start + i, data.empty() ? data : data.subspan(i * sector_size));
  }
  return {};
}

void simulated_device::interrupt(operation op, bytes offset, bytes length,
                                 std::span<const std::byte> data) {
  if (op != operation::read && op != operation::flush && is_within(offset, length)) {
    change_some(op, offset, length, data);
  }
}

void simulated_device::read(std::uint64_t first, std::span<std::byte> into) const {
  const std::byte *from = present_.data() + first * kept_;
  if (kept_ == sector_size) {
    std::memcpy(into.data(), from, into.size());
    return;
  }
  for (std::size_t at = 0; at < into.size(); at += sector_size, from += kept_) {
    std::memcpy(into.data() + at, from, kept_);
  }
}

void simulated_device::change(operation op, std::uint64_t sector, std::span<const std::byte> data) {
  static constexpr std::array<std::byte, sector_size> zeroes{};
  if (op == operation::write) {
    put(sector, data.data());
  } else if (op == operation::write_zeroes || how_.on_discard == discard_effect::zeroes ||
             (how_.on_discard == discard_effect::either && chance_.one_in(2))) {
    put(sector, zeroes.data());
  }
}

// Changes any of the sectors, which may be none or all.
void simulated_device::change_some(operation op, bytes offset, bytes length,
                                   std::span<const std::byte> data) {
  const std::uint64_t first = offset.value() / sector_size;
  const std::uint64_t count = length.value() / sector_size;
  const std::uint64_t of_four = chance_.below(5);
  for (std::uint64_t i = 0; i < count; ++i) {
    if (chance_.below(4) < of_four) {
      change(op, first + i, data.empty() ? data : data.subspan(i * sector_size));
    }
  }
}

void simulated_device::put(std::uint64_t sector, const std::byte *data) {
  std::uint64_t &mark = marks_[sector];
  if (mark >= first_flush || (mark == is_unflushed && chance_.one_in(4))) {
    make_durable(sector); // as if the device had come to it before it is overwritten
  }
  if (mark != is_unflushed) {
    mark = is_unflushed;
    unflushed_.push_back(static_cast<std::uint32_t>(sector));
  }
  std::memcpy(present_.data() + sector * kept_, data, kept_);
}

// What makes things durable. ----------------------------------------------------------------------

void simulated_device::make_durable(std::uint64_t sector) {
  std::memcpy(durable_.data() + sector * kept_, present_.data() + sector * kept_, kept_);
}

std::uint64_t simulated_device::begin_flush() {
  const std::uint64_t number = next_flush_++;
  for (const std::uint32_t sector : unflushed_) {
    marks_[sector] = number;
  }
  flushes_.push_back({number, std::exchange(unflushed_, {})});
  return number;
}

std::error_code simulated_device::end_flush(std::uint64_t flush) {
  const auto own = std::ranges::find(flushes_, flush, &flushing::number);
  require(own != flushes_.end(), "a flush that ends was begun");
  if (!may_change() || is_failing(operation::flush, {}, {})) {
    for (const std::uint32_t sector : own->sectors) {
      if (marks_[sector] != flush) {
        continue;
      }
      if (chance_.one_in(4)) {
        make_durable(sector);
      }
      marks_[sector] = how_.failed_flush_loses ? is_lost : is_unflushed;
      (how_.failed_flush_loses ? lost_ : unflushed_).push_back(sector);
    }
    flushes_.erase(own);
    return io_error();
  }
  for (auto each = flushes_.begin(); each <= own; ++each) { // it covers what those before it do
    for (const std::uint32_t sector : each->sectors) {
      if (marks_[sector] == each->number) {
        if (how_.broken != defect::flush_does_nothing) {
          make_durable(sector);
        }
        marks_[sector] = how_.broken == defect::flush_does_nothing ? is_lost : is_durable;
      }
    }
    if (how_.broken == defect::flush_does_nothing) {
      lost_.insert(lost_.end(), each->sectors.begin(), each->sectors.end());
    }
    each->sectors.clear();
  }
  flushes_.erase(own);
  return {};
}

void simulated_device::power_cycle() {
  for (const queued &each : std::exchange(queue_, {})) {
    interrupt(each.request.op, each.request.offset, length_of(each.request), each.request.data);
  }
  for (flushing &each : flushes_) {
    std::erase_if(each.sectors,
                  [&](std::uint32_t sector) { return marks_[sector] != each.number; });
    unflushed_.insert(unflushed_.end(), each.sectors.begin(), each.sectors.end());
  }
  flushes_.clear();
  const std::uint64_t of_eight = chance_.below(9); // are kept
  for (const std::uint32_t sector : std::exchange(unflushed_, {})) {
    if (chance_.below(8) < of_eight) {
      make_durable(sector);
    }
    marks_[sector] = is_lost;
    lost_.push_back(sector);
  }
  for (const std::uint32_t sector : std::exchange(lost_, {})) {
    if (marks_[sector] == is_lost) {
      marks_[sector] = is_durable;
      std::memcpy(present_.data() + sector * kept_, durable_.data() + sector * kept_, kept_);
    }
  }
  if (how_.broken == defect::forgets_flushed_sectors) {
    forget_something();
  }
  has_power_ = true;
  cut_at_.reset();
  fail_at_.reset();
  fail_read_at_.reset();
}

void simulated_device::forget_something() {
  const std::uint64_t nr_sectors = marks_.size();
  for (std::uint64_t sector = 0; sector < nr_sectors; ++sector) {
    if (chance_.one_in(16)) {
      std::fill_n(present_.begin() + static_cast<std::ptrdiff_t>(sector * kept_), kept_,
                  std::byte{});
      make_durable(sector);
    }
  }
}

std::vector<std::byte> simulated_device::after_power_cut() {
  simulated_device copy{size(), how_, chance_()};
  copy.present_ = present_;
  copy.durable_ = durable_;
  copy.marks_ = marks_;
  copy.unflushed_ = unflushed_;
  copy.lost_ = lost_;
  copy.flushes_ = flushes_;
  copy.power_cycle();
  return copy.present_;
}

} // namespace dmcache
