#include "persistent-data/array.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/assert.h"

namespace dmcache {
namespace {

std::uint64_t divided_up(std::uint64_t count, std::uint64_t by) {
  return count / by + (count % by != 0 ? 1 : 0);
}

array_block_header header_of(block_view block) {
  array_block_header header;
  std::memcpy(&header, block.data(), sizeof header);
  return header;
}

void store(std::span<std::byte> at, std::uint64_t value) {
  const le64 stored = value; // of which the low bytes come first
  std::memcpy(at.data(), &stored, at.size());
}

} // namespace

array::array(transaction_manager &in, std::size_t value_size)
    : in_{in}, value_size_{value_size},
      per_block_{array_max_entries(value_size)}, tree_{in, sizeof(le64)} {
  require(value_size == sizeof(le32) || value_size == sizeof(le64),
          "values of an array are 32 or 64 bits wide");
}

array::place array::place_of(std::uint64_t index) const {
  return {index / per_block_, sizeof(array_block_header) + index % per_block_ * value_size_};
}

result<metadata_block> array::block_of(metadata_block root, std::uint64_t part) {
  const auto found = tree_.find(root, part);
  if (!found) {
    return std::unexpected{found.error()};
  }
  if (!*found) {
    return fail(failure::failed, fmt::format("block {}: the array has no block {}", root, part));
  }
  return metadata_block{**found};
}

result<transaction_manager::readable> array::read(metadata_block where) {
  auto block = in_.read(array_block_type, where);
  if (block) {
    const array_block_header header = header_of(block->data());
    if (header.value_size != value_size_ || header.nr_entries > per_block_) {
      return fail(failure::failed,
                  fmt::format("block {}: {} entries of {} bytes, where an array block has up to {} "
                              "of {}",
                              where, std::uint32_t{header.nr_entries},
                              std::uint32_t{header.value_size}, per_block_, value_size_));
    }
  }
  return block;
}

result<std::uint64_t> array::get(metadata_block root, std::uint64_t index) {
  const place at = place_of(index);
  const auto where = block_of(root, at.part);
  if (!where) {
    return std::unexpected{where.error()};
  }
  const auto block = read(*where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  if (index % per_block_ >= header_of(block->data()).nr_entries) {
    return fail(failure::failed, fmt::format("block {}: no entry {}", *where, index));
  }
  le64 value{};
  std::memcpy(&value, block->data().data() + at.offset, value_size_);
  return value;
}

result<metadata_block> array::set(metadata_block root, std::uint64_t index, std::uint64_t value) {
  if (const auto old = get(root, index); !old || *old == value) {
    return old ? result<metadata_block>{root} : std::unexpected{old.error()};
  }
  const place at = place_of(index);
  const auto where = block_of(root, at.part);
  if (!where) {
    return where;
  }
  const auto block = in_.shadow(array_block_type, *where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  store(block->data().subspan(at.offset, value_size_), value);
  return block->where() == *where ? result<metadata_block>{root}
                                  : tree_.insert(root, at.part, block->where().value());
}

result<metadata_block> array::resize(metadata_block root, std::uint64_t old_size,
                                     std::uint64_t new_size, std::uint64_t value) {
  const std::uint64_t old_blocks = divided_up(old_size, per_block_);
  const std::uint64_t new_blocks = divided_up(new_size, per_block_);
  const auto size_of = [&](std::uint64_t part) {
    return std::min(new_size - part * per_block_, per_block_);
  };
  result<metadata_block> at = root;
  for (std::uint64_t part = old_blocks; at && part > new_blocks; --part) {
    at = remove_block(*at, part - 1);
  }
  const std::uint64_t kept = std::min(old_blocks, new_blocks);
  if (at && kept > 0) { // the others have their size already
    at = resize_block(*at, kept - 1, size_of(kept - 1), value);
  }
  for (std::uint64_t part = old_blocks; at && part < new_blocks; ++part) {
    const auto block = in_.add(array_block_type);
    if (!block) {
      return std::unexpected{block.error()};
    }
    const array_block_header header{.checksum = {},
                                    .max_entries = static_cast<std::uint32_t>(per_block_),
                                    .nr_entries = 0,
                                    .value_size = static_cast<std::uint32_t>(value_size_),
                                    .block_number = {}};
    std::memcpy(block->data().data(), &header, sizeof header);
    at = tree_.insert(*at, part, block->where().value());
    if (at) {
      at = resize_block(*at, part, size_of(part), value);
    }
  }
  return at;
}

result<metadata_block> array::resize_block(metadata_block root, std::uint64_t part,
                                           std::uint64_t size, std::uint64_t value) {
  const auto where = block_of(root, part);
  if (!where) {
    return where;
  }
  const auto old = read(*where);
  if (!old) {
    return std::unexpected{old.error()};
  }
  array_block_header header = header_of(old->data());
  if (header.nr_entries == size) {
    return root;
  }
  const auto block = in_.shadow(array_block_type, *where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  for (std::uint64_t i = header.nr_entries; i < size; ++i) {
    store(block->data().subspan(sizeof header + i * value_size_, value_size_), value);
  }
  header.nr_entries = static_cast<std::uint32_t>(size);
  std::memcpy(block->data().data(), &header, sizeof header);
  return block->where() == *where ? result<metadata_block>{root}
                                  : tree_.insert(root, part, block->where().value());
}

result<metadata_block> array::remove_block(metadata_block root, std::uint64_t part) {
  const auto where = block_of(root, part);
  if (!where) {
    return where;
  }
  if (const auto believed = read(*where); !believed) {
    return std::unexpected{believed.error()};
  }
  in_.release(*where);
  return tree_.remove(root, part);
}

result<> array::load_tree(metadata_block root) {
  return tree_.visit(root, [](std::uint64_t /*part*/, std::uint64_t /*where*/) {});
}

result<array::rewritten> array::rewrite_block(metadata_block root, std::uint64_t part,
                                              std::uint64_t nr_entries) {
  require(nr_entries <= per_block_, "an array block has no room for more");
  const auto old = tree_.find(root, part);
  if (!old) {
    return std::unexpected{old.error()};
  }
  const bool is_new = *old && in_.is_new(metadata_block{**old});
  const auto block =
      is_new ? in_.shadow(array_block_type, metadata_block{**old}) : in_.add(array_block_type);
  if (!block) {
    return std::unexpected{block.error()};
  }
  result<metadata_block> at = root;
  if (!is_new) {
    at = tree_.insert(root, part, block->where().value());
    if (!at) {
      return std::unexpected{at.error()};
    }
    if (*old) {
      in_.release(metadata_block{**old});
    }
  }
  const array_block_header header{.checksum = {},
                                  .max_entries = static_cast<std::uint32_t>(per_block_),
                                  .nr_entries = static_cast<std::uint32_t>(nr_entries),
                                  .value_size = static_cast<std::uint32_t>(value_size_),
                                  .block_number = {}};
  std::ranges::fill(block->data(), std::byte{});
  std::memcpy(block->data().data(), &header, sizeof header);
  return rewritten{*at, block->data().subspan(sizeof header, nr_entries * value_size_)};
}

result<metadata_block> array::cut(metadata_block root, std::uint64_t nr_parts) {
  result<metadata_block> at = root;
  while (at) {
    const auto last = tree_.last_key(*at);
    if (!last) {
      return std::unexpected{last.error()};
    }
    if (!*last || **last < nr_parts) {
      break;
    }
    const auto where = block_of(*at, **last);
    if (!where) {
      return where;
    }
    in_.release(*where);
    at = tree_.remove(*at, **last);
  }
  return at;
}

result<> array::destroy(metadata_block root) {
  if (auto done =
          tree_.visit(root, [&](std::uint64_t /*part*/,
                                std::uint64_t where) { in_.release(metadata_block{where}); });
      !done) {
    return done;
  }
  return tree_.destroy(root);
}

result<metadata_block> bitset::resize(metadata_block root, std::uint64_t old_size,
                                      std::uint64_t new_size, bool value) {
  const std::uint64_t fill = value ? ~std::uint64_t{0} : 0;
  result<metadata_block> at = words_.resize(root, divided_up(old_size, bits_per_word),
                                            divided_up(new_size, bits_per_word), fill);
  // Of the word that was the last one, what is new; of the one that is, what is not beyond it.
  const auto patch = [&](std::uint64_t size, std::uint64_t bits) {
    const std::uint64_t rest = size % bits_per_word;
    if (!at || rest == 0) {
      return;
    }
    const auto word = words_.get(*at, size / bits_per_word);
    if (!word) {
      at = std::unexpected{word.error()};
      return;
    }
    const std::uint64_t kept = (std::uint64_t{1} << rest) - 1;
    at = words_.set(*at, size / bits_per_word, (*word & kept) | (bits & ~kept));
  };
  if (new_size > old_size) {
    patch(old_size, fill);
  }
  patch(new_size, 0);
  return at;
}

result<bool> bitset::test(metadata_block root, std::uint64_t bit) {
  const auto word = words_.get(root, bit / bits_per_word);
  if (!word) {
    return std::unexpected{word.error()};
  }
  return (*word >> bit % bits_per_word & 1) != 0;
}

result<metadata_block> bitset::set(metadata_block root, std::uint64_t bit, bool value) {
  const auto word = words_.get(root, bit / bits_per_word);
  if (!word) {
    return std::unexpected{word.error()};
  }
  const std::uint64_t mask = std::uint64_t{1} << bit % bits_per_word;
  return words_.set(root, bit / bits_per_word, value ? *word | mask : *word & ~mask);
}

} // namespace dmcache
