#include "caching/engine/byte_request.h"

#include <algorithm>

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

} // namespace

byte_request::byte_request(const request &wanted, bytes origin_size) : wanted_{wanted} {
  // The end of what doesn't lie within the origin may be a number that is too large.
  if (wanted.length.value() == 0 || wanted.length > origin_size ||
      wanted.offset.value() > origin_size.value() - wanted.length.value()) {
    outcome_ = std::make_error_code(std::errc::invalid_argument);
    return;
  }
  at_ = wanted.offset.value();
  end_ = at_ + wanted.length.value();
  switch (wanted.op) {
  case operation::write:
  case operation::write_zeroes:
    contents_.resize(sector_size);
    return;
  case operation::discard:
    at_ = round_up(at_);
    end_ = round_down(end_);
    return;
  case operation::read:
  case operation::prefetch:
    at_ = round_down(at_);
    end_ = round_up(end_);
    contents_.resize(wanted.op == operation::read ? end_ - at_ : 0);
    return;
  case operation::flush:
    break;
  }
  broken_invariant("a flush is about no range", __FILE__, __LINE__);
}

// At `at_`. What isn't a write has been made to cover whole sectors.
bool byte_request::changes_part_of_sector() const {
  return !is_over() && (at_ % sector_size != 0 || end_ - at_ < sector_size);
}

request *byte_request::next() {
  if (is_over()) {
    return nullptr;
  }
  step_ = {};
  if (changes_part_of_sector()) {
    step_.op = is_sector_read_ ? operation::write : operation::read;
    step_.fua = is_sector_read_ && wanted_.fua;
    step_.offset = bytes{round_down(at_)};
    step_.length = bytes{sector_size};
    step_.data = contents_;
    if (is_sector_read_) {
      change_sector();
    }
    return &step_;
  }
  step_.op = wanted_.op;
  step_.fua = wanted_.fua;
  step_.may_trim = wanted_.may_trim;
  step_.offset = bytes{at_};
  step_.length = bytes{round_down(end_) - at_};
  if (wanted_.op == operation::read) {
    step_.data = contents_;
  } else if (wanted_.op == operation::write) {
    step_.data = wanted_.data.subspan(at_ - wanted_.offset.value(), step_.length.value());
  }
  return &step_;
}

// What was read becomes what is to be written.
void byte_request::change_sector() {
  const std::uint64_t length = std::min(end_, round_up(at_ + 1)) - at_;
  const auto into = step_.data.subspan(at_ % sector_size, length);
  if (wanted_.op == operation::write) {
    std::ranges::copy(wanted_.data.subspan(at_ - wanted_.offset.value(), length), into.begin());
  } else {
    std::ranges::fill(into, std::byte{0});
  }
}

std::optional<sectors> byte_request::locked() const {
  return changes_part_of_sector() ? std::optional{sectors{at_ / sector_size}} : std::nullopt;
}

void byte_request::ended(std::error_code error) {
  outcome_ = error;
  if (error) {
    return;
  }
  if (changes_part_of_sector() && !is_sector_read_) {
    is_sector_read_ = true;
    return;
  }
  if (wanted_.op == operation::read) {
    const auto found = step_.data.subspan(wanted_.offset.value() - at_, wanted_.length.value());
    std::ranges::copy(found, wanted_.data.begin());
  }
  is_sector_read_ = false;
  at_ = step_.offset.value() + step_.length.value();
}

bool sector_locks::is_locked(sectors sector) const {
  return std::ranges::count(locked_, sector) != 0;
}

bool sector_locks::are_in_the_way_of(const request &arriving) const {
  if (locked_.empty() || !arriving.is_write() || arriving.op == operation::flush) [[likely]] {
    return false;
  }
  const std::uint64_t end = arriving.offset.value() + arriving.length.value();
  return std::ranges::any_of(locked_, [&](sectors each) {
    const std::uint64_t at = to_bytes(each).value();
    return at < end && arriving.offset.value() < at + sector_size;
  });
}

} // namespace dmcache
