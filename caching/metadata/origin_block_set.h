// A set of origin blocks that knows whether it has seen one before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/units.h"

namespace dmcache {

// Blocks below the quick limit (8 TiB in blocks of 64 KiB) are quick to look up: each has a bit, in
// memory that is touched only where bits are set. Those above are kept in a compressed set. In either
// case memory grows with what is inserted, not with the numbers: at most 16 MiB, and some bytes for each
// block above.
class origin_block_set {
 public:
  static constexpr origin_block quick_limit{std::uint64_t{1} << 27};

  // How many blocks will be inserted is for speed only.
  explicit origin_block_set(std::uint64_t nr_expected = 0);
  origin_block_set(origin_block_set &&) noexcept;
  origin_block_set &operator=(origin_block_set &&) noexcept;
  ~origin_block_set();

  // Begins to fetch what insert() will need. Origin blocks come in any order, so that each of them
  // would be waited for. With those above something is fetched that isn't needed: to ask takes longer.
  void prefetch(origin_block block) const {
    __builtin_prefetch(dense_.get() + block.value() % quick_limit.value() / word_bits, 1);
  }

  // False if it was there already.
  bool insert(origin_block block) {
    return block < quick_limit ? insert_quick(block) : insert_sparse(block);
  }

  // The same; requires that `block` is below the quick limit.
  bool insert_quick(origin_block block) {
    std::uint64_t &word = dense_.get()[block.value() / word_bits];
    const std::uint64_t bit = std::uint64_t{1} << block.value() % word_bits;
    const bool is_new = (word & bit) == 0;
    word |= bit;
    return is_new;
  }

  bool contains(origin_block block) const;

 private:
  static constexpr std::uint64_t word_bits = 64;
  static constexpr std::size_t dense_size = quick_limit.value() / 8; // bytes

  struct sparse; // the rest

  bool insert_sparse(origin_block block);

  struct release {
    void operator()(std::uint64_t *words) const;
  };

  std::unique_ptr<std::uint64_t, release> dense_;
  std::unique_ptr<sparse> sparse_;
};

} // namespace dmcache
