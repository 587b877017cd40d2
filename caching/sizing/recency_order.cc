#include "caching/sizing/recency_order.h"

namespace dmcache {
namespace {

// Of the tree: as long a run of places as ends at this one is counted in its node.
std::uint32_t run_length(std::uint32_t place) {
  return place & (~place + 1);
}

} // namespace

recency_order::recency_order(std::uint32_t capacity)
    : place_of_(capacity), at_(2 * capacity + 1, nobody), tree_(2 * capacity + 1) {}

void recency_order::push(std::uint32_t number) {
  if (last_ + 1 == at_.size()) {
    close_ranks();
  }
  ++last_;
  ++size_;
  place_of_[number] = last_;
  at_[last_] = number;
  add(last_, 1);
}

std::uint32_t recency_order::remove(std::uint32_t number) {
  const std::uint32_t place = place_of_[number];
  const std::uint32_t nr_newer = size_ - nr_up_to(place);
  --size_;
  at_[place] = nobody;
  add(place, ~std::uint32_t{0});
  return nr_newer;
}

void recency_order::close_ranks() {
  last_ = 0;
  for (std::uint32_t place = 1; place < at_.size(); ++place) {
    const std::uint32_t number = at_[place];
    at_[place] = nobody;
    tree_[place] = 0;
    if (number != nobody) {
      ++last_;
      at_[last_] = number;
      place_of_[number] = last_;
    }
  }
  // Each node hands what it counts on to the one whose run takes its own in.
  for (std::uint32_t place = 1; place < at_.size(); ++place) {
    tree_[place] += place <= last_ ? 1 : 0;
    const std::uint32_t above = place + run_length(place);
    if (above < at_.size()) {
      tree_[above] += tree_[place];
    }
  }
}

// `change` is 1, or its complement, which takes one away.
void recency_order::add(std::uint32_t place, std::uint32_t change) {
  for (; place < tree_.size(); place += run_length(place)) {
    tree_[place] += change;
  }
}

std::uint32_t recency_order::nr_up_to(std::uint32_t place) const {
  std::uint32_t sum = 0;
  for (; place != 0; place -= run_length(place)) {
    sum += tree_[place];
  }
  return sum;
}

} // namespace dmcache
