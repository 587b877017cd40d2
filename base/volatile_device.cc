#include "base/volatile_device.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace dmcache {

volatile_device::fate volatile_device::next_change() {
  const std::uint64_t change = nr_changes_++;
  if (cut_at_ && change >= *cut_at_) {
    return fate::no_power;
  }
  return change == fail_at_ ? fate::failed : fate::done;
}

volatile_device::fate volatile_device::next_read() {
  return nr_reads_++ == fail_read_at_ ? fate::failed : fate::done;
}

void volatile_device::submit(std::span<const io_request> requests) {
  for (const io_request &each : requests) {
    require(each.op != io_request::operation::flush, "flushed by flush()");
    const fate its = each.op == io_request::operation::read ? next_read() : next_change();
    if (its == fate::done) {
      present_.submit({&each, 1});
      ++in_flight_;
    } else {
      doomed_.push_back(each);
    }
  }
}

void volatile_device::wait() {
  for (const io_request &each : std::exchange(doomed_, {})) {
    each.listener->io_done(each.tag, std::make_error_code(std::errc::io_error));
  }
  if (std::exchange(in_flight_, 0) > 0) {
    present_.wait();
  }
}

std::error_code volatile_device::flush() {
  if (next_change() != fate::done) {
    return std::make_error_code(std::errc::io_error);
  }
  std::ranges::copy(present_.contents(), durable_.begin());
  return {};
}

std::vector<std::byte> volatile_device::after_power_cut(std::mt19937_64 &chance) const {
  constexpr std::size_t sector = sector_size;
  std::vector<std::byte> left = durable_;
  const auto written = present_.contents();
  for (std::size_t at = 0; at < left.size(); at += sector) {
    const auto now = written.subspan(at, sector);
    if (!std::ranges::equal(now, std::span{left}.subspan(at, sector)) && chance() % 2 == 0) {
      std::ranges::copy(now, left.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }
  return left;
}

} // namespace dmcache
