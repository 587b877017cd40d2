#include "persistent-data/space_map.h"

#include <algorithm>
#include <bit>

#include "base/assert.h"

namespace dmcache {

space_map::space_map(std::uint64_t nr_blocks)
    : nr_blocks_{nr_blocks}, now_(divided_up(nr_blocks, bits_per_word)), frozen_(now_.size()),
      durable_(now_.size()), nr_available_{nr_blocks} {
  require(nr_blocks <= max_metadata_blocks, "the format has no room for more");
}

std::optional<metadata_block> space_map::allocate() {
  for (; cursor_ < now_.size(); ++cursor_) {
    const std::uint64_t used = now_[cursor_] | frozen_[cursor_] | durable_[cursor_];
    const auto bit = static_cast<unsigned>(std::countr_one(used));
    const std::uint64_t block = cursor_ * bits_per_word + bit;
    if (bit < bits_per_word && block < nr_blocks_) {
      now_[cursor_] |= std::uint64_t{1} << bit;
      --nr_available_;
      return metadata_block{block};
    }
  }
  return {};
}

void space_map::take(metadata_block block) {
  require(!is_used(block), "no block is loaded twice");
  now_[block.value() / bits_per_word] |= std::uint64_t{1} << block.value() % bits_per_word;
  --nr_available_;
}

void space_map::release(metadata_block block) {
  require(is_used(block), "only what is in use can be released");
  const bool is_available_again = is_new(block);
  const std::size_t word = block.value() / bits_per_word;
  now_[word] &= ~(std::uint64_t{1} << block.value() % bits_per_word);
  if (is_available_again) {
    ++nr_available_;
    cursor_ = std::min(cursor_, word);
  }
}

void space_map::freeze() {
  require(frozen_ == durable_, "one transaction is committed at a time");
  frozen_ = now_;
}

void space_map::commit() {
  durable_ = frozen_;
  recount();
}

void space_map::thaw() {
  frozen_ = durable_;
  recount();
}

void space_map::abort() {
  now_ = durable_;
  frozen_ = durable_;
  recount();
}

void space_map::recount() {
  nr_available_ = nr_blocks_;
  for (std::size_t i = 0; i < now_.size(); ++i) {
    nr_available_ -= static_cast<unsigned>(std::popcount(now_[i] | frozen_[i] | durable_[i]));
  }
  cursor_ = 0;
}

} // namespace dmcache
