#include "persistent-data/bitset_reader.h"

#include <algorithm>

namespace dmcache {

bitset_reader::bitset_reader(const walk_context &context, metadata_block root,
                             std::uint64_t nr_bits, structure_kind kind)
    : words_{context,
             {.root = root,
              .value_size = sizeof(le64),
              .nr_entries = divided_up(nr_bits, bits_per_word),
              .kind = kind,
              .lost_per_entry = bits_per_word,
              .lost_limit = nr_bits}},
      nr_bits_{nr_bits} {}

std::optional<bitset_reader::run> bitset_reader::next() {
  if (position_ == nr_bits_) {
    return {};
  }
  if (!ahead_) {
    if (const auto leaf = words_.next()) {
      const std::uint64_t first = leaf->first * bits_per_word;
      where_ = leaf->where;
      ahead_ = run{first, std::min(leaf->count * bits_per_word, nr_bits_ - first), true,
                   reinterpret_cast<const le64 *>(leaf->values.data())}; // NOLINT: bytes on disk
    } else {
      ahead_ = run{nr_bits_, 0, true, nullptr};
    }
  }
  if (position_ < ahead_->first) {
    const run lost{position_, ahead_->first - position_, false, nullptr};
    position_ = ahead_->first;
    return lost;
  }
  const run readable = *ahead_;
  ahead_.reset();
  position_ = readable.first + readable.count;
  return readable;
}

} // namespace dmcache
