#include "caching/metadata/mapping_writer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "persistent-data/builder.h"

namespace dmcache {
namespace {

constexpr std::uint64_t per_part = array_max_entries(sizeof(le64));

constexpr std::uint64_t parts_for(std::uint64_t nr_entries) {
  return divided_up(nr_entries, per_part);
}

// What `entry`, which has no dirty flag yet, is on the device.
constexpr std::uint64_t stored(const superblock &in, mapping_entry entry, bool is_dirty) {
  const bool is_flagged = is_dirty && !in.has_dirty_bitset();
  return is_flagged ? mapping_entry{entry.origin(), entry.flags() | mapping_entry::dirty}.encode()
                    : entry.encode();
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

// Where an array of `from` entries gets `to`, the first part that changes its size: all from it on
// are to be written.
std::uint64_t first_to_write(std::uint64_t from, std::uint64_t to) {
  return from == to ? parts_for(to) : std::min(from, to) / per_part;
}

} // namespace

void build_mappings(block_writer &out, superblock &block, const whole_mappings &from) {
  const auto is_dirty = [&](std::uint64_t at) {
    return (from.dirty_words[at / bits_per_word] >> at % bits_per_word & 1) != 0;
  };
  const auto flagged_entry_at = [&](std::uint64_t at) {
    return stored(block, from.entries[at], is_dirty(at));
  };
  // Copies, one by one so that the byte order is right.
  const auto copy_entries = [&](std::uint64_t first, std::span<std::byte> values) {
    const mapping_entry *next = from.entries.data() + first;
    for (std::size_t at = 0; at < values.size(); at += sizeof(le64)) {
      const le64 entry = (next++)->encode();
      std::memcpy(values.data() + at, &entry, sizeof entry);
    }
  };
  const auto word_at = [&](std::uint64_t at) { return from.dirty_words[at]; };
  block.mapping_root =
      build_array(out, sizeof(le64), from.entries.size(),
                  block.has_dirty_bitset() ? copy_entries : values_from(flagged_entry_at))
          .value();
  block.dirty_root =
      block.has_dirty_bitset()
          ? build_array(out, sizeof(le64), from.dirty_words.size(), values_from(word_at)).value()
          : 0;
}

std::uint64_t blocks_of_mappings(const superblock &block) {
  const std::uint64_t nr_words = words_for(block.cache_blocks);
  return blocks_of_array(sizeof(le64), block.cache_blocks) +
         (block.has_dirty_bitset() ? blocks_of_array(sizeof(le64), nr_words) : 0);
}

mapping_writer::mapping_writer(transaction_manager &in, superblock &block, source from)
    : block_{block}, from_{std::move(from)}, entries_{in, sizeof(le64)} {}

result<> mapping_writer::create() {
  block_.cache_blocks = 0;
  auto done = keep(entries_.create(), block_.mapping_root);
  if (done && block_.has_dirty_bitset()) {
    done = keep(entries_.create(), block_.dirty_root);
  }
  return done;
}

result<> mapping_writer::load_trees() {
  auto done = entries_.load_tree(metadata_block{block_.mapping_root});
  if (done && block_.has_dirty_bitset()) {
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
  if (!done || !block_.has_dirty_bitset()) {
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

std::uint64_t mapping_writer::dirty_part_of(cache_block block) const {
  return block_.has_dirty_bitset() ? block.value() / bits_per_word / per_part : part_of(block);
}

std::uint64_t mapping_writer::nr_dirty_parts() const {
  return block_.has_dirty_bitset() ? parts_for(words_for(block_.cache_blocks)) : nr_parts();
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
      const mapping_entry mapped{now.origin, mapping_entry::valid};
      store(made->values, i, stored(block_, mapped, now.is_dirty));
    }
  }
  return {};
}

result<> mapping_writer::write_dirty_part(std::uint64_t part) {
  return block_.has_dirty_bitset() ? write_dirty_bits(part) : write_part(part);
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
