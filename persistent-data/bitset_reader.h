// The bits of a bitset, in order, whatever state it is in. format.md: "Bitset".
#pragma once

#include "persistent-data/array_reader.h"

namespace dmcache {

class bitset_reader {
 public:
  // Reads a bitset of `nr_bits` bits; damage tells what is lost in bits. The context must outlive
  // this.
  bitset_reader(const walk_context &context, metadata_block root, std::uint64_t nr_bits,
                structure_kind kind);

  // Bits that follow one another: all readable, or all lost.
  struct run {
    std::uint64_t first;
    std::uint64_t count;
    bool readable;
    const le64 *words; // bit first is the lowest of words[0], if readable; live until the next call

    bool test(std::uint64_t bit) const {
      const std::uint64_t at = bit - first;
      return (words[at / bits_per_word] >> at % bits_per_word & 1) != 0;
    }
  };

  // Successive runs cover all bits, each beginning where the last one ended. That of an array block
  // without entries is empty.
  std::optional<run> next();

  // The array block that the last readable run lies in.
  metadata_block where() const { return where_; }
  std::string path() const { return words_.path(); }

 private:
  array_reader words_;
  std::uint64_t nr_bits_;
  std::uint64_t position_ = 0;
  std::optional<run> ahead_; // read, but preceded by lost bits
  metadata_block where_;
};

} // namespace dmcache
