#include "caching/metadata/mapping_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "caching/metadata/mapping_format.h"

namespace dmcache {
namespace {

constexpr std::uint64_t per_part = array_max_entries(sizeof(le64));

constexpr std::uint64_t divided_up(std::uint64_t count, std::uint64_t by) {
  return count / by + (count % by != 0 ? 1 : 0);
}

constexpr std::uint64_t parts_for(std::uint64_t nr_entries) {
  return divided_up(nr_entries, per_part);
}

constexpr std::uint64_t words_for(std::uint64_t nr_bits) {
  return divided_up(nr_bits, bits_per_word);
}

void store(std::span<std::byte> values, std::uint64_t index, le64 value) {
  std::memcpy(values.data() + index * sizeof value, &value, sizeof value);
}

result<> keep(const result<metadata_block> &root, le64 &where) {
  if (!root) {
    return std::unexpected{root.error()};
  }
  where = root->value();
  return {};
}

// Of an array of `from` entries that gets `to`, all parts from the one on where the sizes differ
// are to be written.
std::uint64_t first_to_write(std::uint64_t from, std::uint64_t to) {
  return from == to ? parts_for(to) : std::min(from, to) / per_part;
}

} // namespace

mapping_writer::mapping_writer(transaction_manager &in, superblock &block, source from)
    : block_{block}, from_{std::move(from)}, entries_{in, sizeof(le64)} {}

result<> mapping_writer::create() {
  block_.cache_blocks = 0;
  auto done = keep(entries_.create(), block_.mapping_root);
  if (done && has_dirty_bits()) {
    done = keep(entries_.create(), block_.dirty_root);
  }
  return done;
}

result<> mapping_writer::load_trees() {
  auto done = entries_.load_tree(metadata_block{block_.mapping_root});
  if (done && has_dirty_bits()) {
    done = entries_.load_tree(metadata_block{block_.dirty_root});
  }
  return done;
}

result<> mapping_writer::resize(std::uint32_t nr_cache_blocks) {
  const std::uint64_t old = block_.cache_blocks;
  block_.cache_blocks = nr_cache_blocks;
  auto done =
      keep(entries_.cut(metadata_block{block_.mapping_root}, nr_parts()), block_.mapping_root);
  for (auto part = first_to_write(old, nr_cache_blocks); done && part < nr_parts(); ++part) {
    done = write_part(part);
  }
  if (!done || !has_dirty_bits()) {
    return done;
  }
  done = keep(entries_.cut(metadata_block{block_.dirty_root}, nr_dirty_parts()), block_.dirty_root);
  for (auto part = first_to_write(words_for(old), words_for(nr_cache_blocks));
       done && part < nr_dirty_parts(); ++part) {
    done = write_dirty_bits(part);
  }
  return done;
}

std::uint64_t mapping_writer::part_of(cache_block block) {
  return block.value() / per_part;
}

std::uint64_t mapping_writer::nr_parts() const {
  return parts_for(block_.cache_blocks);
}

std::uint64_t mapping_writer::nr_dirty_parts() const {
  return has_dirty_bits() ? parts_for(words_for(block_.cache_blocks)) : nr_parts();
}

result<> mapping_writer::write_part(std::uint64_t part) {
  const std::uint64_t first = part * per_part;
  const std::uint64_t count = std::min(block_.cache_blocks - first, per_part);
  const auto made = entries_.rewrite_block(metadata_block{block_.mapping_root}, part, count);
  if (!made) {
    return std::unexpected{made.error()};
  }
  block_.mapping_root = made->root.value();
  for (std::uint64_t i = 0; i < count; ++i) {
    if (const entry now = from_(cache_block{first + i}); now.is_mapped) {
      const bool is_flagged = now.is_dirty && !has_dirty_bits();
      store(made->values, i,
            now.origin.value() << mapping_flag_bits | mapping_valid |
                (is_flagged ? mapping_dirty : 0));
    }
  }
  return {};
}

result<> mapping_writer::write_dirty_part(std::uint64_t part) {
  return has_dirty_bits() ? write_dirty_bits(part) : write_part(part);
}

result<> mapping_writer::write_dirty_bits(std::uint64_t part) {
  const std::uint64_t first = part * per_part;
  const std::uint64_t count = std::min(words_for(block_.cache_blocks) - first, per_part);
  const auto made = entries_.rewrite_block(metadata_block{block_.dirty_root}, part, count);
  if (!made) {
    return std::unexpected{made.error()};
  }
  block_.dirty_root = made->root.value();
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t begin = (first + i) * bits_per_word;
    const std::uint64_t end = std::min<std::uint64_t>(begin + bits_per_word, block_.cache_blocks);
    std::uint64_t word = 0;
    for (std::uint64_t at = begin; at < end; ++at) {
      word |= std::uint64_t{from_(cache_block{at}).is_dirty} << (at - begin);
    }
    store(made->values, i, word);
  }
  return {};
}

} // namespace dmcache
