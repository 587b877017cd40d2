#include "caching/runtime/byte_requests.h"

#include <algorithm>
#include <array>
#include <vector>

#include "base/assert.h"

namespace dmcache {
namespace {

using operation = request::operation;

std::uint64_t round_down(std::uint64_t offset) {
  return offset / sector_size * sector_size;
}

std::uint64_t round_up(std::uint64_t offset) {
  return round_down(offset + sector_size - 1);
}

// The request for [begin, end) of the range of `wanted`. Both are multiples of a sector.
request part_of(const request &wanted, std::uint64_t begin, std::uint64_t end) {
  request part;
  part.op = wanted.op;
  part.fua = wanted.fua;
  part.may_trim = wanted.may_trim;
  part.offset = bytes{begin};
  part.length = bytes{end - begin};
  if (!wanted.data.empty()) {
    part.data = wanted.data.subspan(begin - wanted.offset.value(), end - begin);
  }
  return part;
}

std::error_code read_bytes(const request &wanted, std::uint64_t end, sector_requests &by) {
  request wider;
  wider.op = operation::read;
  wider.offset = bytes{round_down(wanted.offset.value())};
  wider.length = bytes{round_up(end) - wider.offset.value()};
  std::vector<std::byte> found(wider.length.value());
  wider.data = found;
  const std::error_code error = by.carry_out_sectors(wider, false);
  if (!error) {
    const auto asked_for =
        wider.data.subspan(wanted.offset.value() - wider.offset.value(), wanted.length.value());
    std::ranges::copy(asked_for, wanted.data.begin());
  }
  return error;
}

// Changes [begin, end), which lies within one sector, to what `wanted` writes there.
std::error_code change_sector(const request &wanted, std::uint64_t begin, std::uint64_t end,
                              sector_requests &by) {
  const sectors changed{begin / sector_size};
  std::array<std::byte, sector_size> contents{};
  request step;
  step.op = operation::read;
  step.offset = to_bytes(changed);
  step.length = bytes{sector_size};
  step.data = contents;
  by.lock_sector(changed);
  std::error_code error = by.carry_out_sectors(step, true);
  if (!error) {
    const auto into = step.data.subspan(begin - step.offset.value(), end - begin);
    if (wanted.op == operation::write) {
      std::ranges::copy(wanted.data.subspan(begin - wanted.offset.value(), into.size()),
                        into.begin());
    } else {
      std::ranges::fill(into, std::byte{0});
    }
    step.op = operation::write;
    step.fua = wanted.fua;
    error = by.carry_out_sectors(step, true);
  }
  by.unlock_sector(changed);
  return error;
}

std::error_code write_bytes(const request &wanted, std::uint64_t end, sector_requests &by) {
  std::uint64_t at = wanted.offset.value();
  std::error_code error;
  if (at % sector_size != 0) {
    const std::uint64_t head_end = std::min(end, round_up(at));
    error = change_sector(wanted, at, head_end, by);
    at = head_end;
  }
  if (const std::uint64_t tail = round_down(end); !error && at < tail) {
    request middle = part_of(wanted, at, tail);
    error = by.carry_out_sectors(middle, false);
    at = tail;
  }
  if (!error && at < end) {
    error = change_sector(wanted, at, end, by);
  }
  return error;
}

} // namespace

std::error_code carry_out_bytes(const request &wanted, bytes origin_size, sector_requests &by) {
  // The end of what doesn't lie within the origin may be a number that is too large.
  if (wanted.length.value() == 0 || wanted.length > origin_size ||
      wanted.offset.value() > origin_size.value() - wanted.length.value()) {
    return std::make_error_code(std::errc::invalid_argument);
  }
  const std::uint64_t begin = wanted.offset.value();
  const std::uint64_t end = begin + wanted.length.value();
  switch (wanted.op) {
  case operation::read:
    return read_bytes(wanted, end, by);
  case operation::write:
  case operation::write_zeroes:
    return write_bytes(wanted, end, by);
  case operation::discard:
    if (round_up(begin) < round_down(end)) {
      request whole = part_of(wanted, round_up(begin), round_down(end));
      return by.carry_out_sectors(whole, false);
    }
    return {};
  case operation::prefetch: {
    request wider = part_of(wanted, round_down(begin), round_up(end));
    return by.carry_out_sectors(wider, false);
  }
  case operation::flush:
    break;
  }
  broken_invariant("a flush is about no range", __FILE__, __LINE__);
}

} // namespace dmcache
