// Numbers in the order in which they were touched last, and how many were touched since one of them was.
//
// Each touch takes the next place of a row, and a Fenwick tree counts the places that are taken. When
// the row is full, those that are taken move together at its beginning. All memory is taken when it is
// made.
#pragma once

#include <cstdint>
#include <vector>

namespace dmcache {

class recency_order {
 public:
  // For the numbers below `capacity`.
  explicit recency_order(std::uint32_t capacity);

  // Makes the number, which isn't in the order, the newest.
  void push(std::uint32_t number);
  // Takes the number, which is in the order, out of it. Returns how many are newer.
  std::uint32_t remove(std::uint32_t number);

 private:
  static constexpr std::uint32_t nobody = ~std::uint32_t{0};

  void close_ranks();
  void add(std::uint32_t place, std::uint32_t change);
  std::uint32_t nr_up_to(std::uint32_t place) const;

  // Places count from 1 on, as it is usual for such trees.
  std::vector<std::uint32_t> place_of_; // of each number
  std::vector<std::uint32_t> at_;       // of each place: the number, or nobody
  std::vector<std::uint32_t> tree_;
  std::uint32_t last_ = 0; // place that was given away
  std::uint32_t size_ = 0;
};

} // namespace dmcache
