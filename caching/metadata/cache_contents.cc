#include "caching/metadata/cache_contents.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "caching/metadata/mapping_format.h"
#include "persistent-data/array.h"
#include "persistent-data/builder.h"

namespace dmcache {
namespace {

constexpr std::uint64_t words_for(std::uint64_t nr_bits) {
  return nr_bits / bits_per_word + (nr_bits % bits_per_word != 0 ? 1 : 0);
}

// False if the bit was set already.
bool set_bit(lazy_array<std::uint64_t> &bits, std::uint64_t bit) {
  const std::uint64_t mask = std::uint64_t{1} << bit % bits_per_word;
  std::uint64_t &word = bits[bit / bits_per_word];
  const bool is_new = (word & mask) == 0;
  word |= mask;
  return is_new;
}

// The bits of disjoint, ascending ranges, word by word, in order.
class range_bits {
 public:
  explicit range_bits(std::span<const key_range> ranges) : ranges_{ranges} {}

  std::uint64_t word(std::uint64_t index) {
    const std::uint64_t first = index * bits_per_word;
    std::uint64_t bits = 0;
    while (!ranges_.empty() && ranges_.front().begin < first + bits_per_word) {
      const key_range &range = ranges_.front();
      const std::uint64_t end = std::min(range.end, first + bits_per_word);
      for (std::uint64_t bit = std::max(range.begin, first); bit < end; ++bit) {
        bits |= std::uint64_t{1} << (bit - first);
      }
      if (range.end > first + bits_per_word) {
        break;
      }
      ranges_ = ranges_.subspan(1);
    }
    return bits;
  }

 private:
  std::span<const key_range> ranges_;
};

template <typename EntryAt> fill_entries words_from(EntryAt entry_at) {
  return [entry_at](std::uint64_t first, std::span<std::byte> values) mutable {
    for (std::size_t at = 0; at < values.size(); at += sizeof(le64), ++first) {
      const le64 stored = entry_at(first);
      std::memcpy(values.data() + at, &stored, sizeof stored);
    }
  };
}

std::uint64_t usable_blocks(bytes size) {
  return std::min(size.value() / metadata_block_size, max_metadata_blocks);
}

} // namespace

cache_contents::cache_contents(const superblock &block)
    : superblock_{block}, entries_{block.cache_blocks}, dirty_{words_for(block.cache_blocks)},
      hints_{block.policy_hint_size == 0 ? 0 : std::uint32_t{block.cache_blocks}},
      has_hint_{words_for(hints_.size())} {}

std::optional<std::string> cache_contents::add(const mapping &each) {
  const std::uint64_t block = each.cached_in.value();
  if (block >= entries_.size()) {
    return fmt::format("cache block {} is beyond the cache's {} blocks", block, entries_.size());
  }
  if (entries_[block] != 0) {
    return fmt::format("cache block {} is mapped already", block);
  }
  if (each.origin.value() > max_origin_block) {
    return fmt::format("origin block {} doesn't fit 48 bits", each.origin);
  }
  if (!has_all_origins_) {
    index_origins();
  }
  if (!origins_.insert(each.origin)) {
    return fmt::format("origin block {} is mapped already", each.origin);
  }
  entries_[block] = each.origin.value() << mapping_flag_bits | mapping_valid;
  if (each.dirty) {
    set_bit(dirty_, block);
  }
  ++nr_mapped_;
  origin_end_ = std::max(origin_end_, each.origin.value() + 1);
  return {};
}

std::optional<std::string> cache_contents::add_hint(cache_block block, le32 hint) {
  if (block.value() >= entries_.size()) {
    return fmt::format("cache block {} is beyond the cache's {} blocks", block, entries_.size());
  }
  if (hints_.size() == 0) {
    return "there are no hints where hint_width is 0";
  }
  if (!set_bit(has_hint_, block.value())) {
    return fmt::format("cache block {} has a hint already", block);
  }
  hints_[block.value()] = hint;
  has_hints_ = true;
  return {};
}

std::optional<std::string> cache_contents::add_discards(std::uint64_t begin, std::uint64_t end) {
  if (begin >= end) {
    return fmt::format("discard blocks from {} to {} are none", begin, end);
  }
  if (begin < discard_end_) {
    return fmt::format("discard block {} comes after block {}", begin, discard_end_ - 1);
  }
  discards_.push_back({begin, end});
  discard_end_ = end;
  return {};
}

void cache_contents::mappings(std::span<const mapping> some) {
  for (const mapping &each : some) {
    const std::uint64_t block = each.cached_in.value();
    entries_[block] = each.origin.value() << mapping_flag_bits | mapping_valid;
    if (each.dirty) {
      set_bit(dirty_, block);
    }
    origin_end_ = std::max(origin_end_, each.origin.value() + 1);
  }
  nr_mapped_ += some.size();
  has_all_origins_ = false;
}

void cache_contents::index_origins() {
  for (const std::uint64_t entry : entries_.span()) {
    if (entry != 0) {
      origins_.insert(origin_block{entry >> mapping_flag_bits});
    }
  }
  has_all_origins_ = true;
}

void cache_contents::hints(cache_block first, std::span<const le32> some) {
  const std::uint64_t begin = std::min<std::uint64_t>(first.value(), hints_.size());
  const auto count = std::min<std::uint64_t>(some.size(), hints_.size() - begin);
  has_hints_ = has_hints_ || count != 0;
  std::ranges::copy(some.first(count), hints_.span().subspan(begin).begin());
}

void cache_contents::discards(std::uint64_t begin, std::uint64_t end) {
  discards_.push_back({begin, end});
  discard_end_ = end;
}

std::uint64_t cache_contents::drop(const origin_block_set &unwanted) {
  std::uint64_t dropped = 0;
  for (std::uint64_t block = 0; block < entries_.size(); ++block) {
    const std::uint64_t entry = entries_[block];
    if (entry != 0 && unwanted.contains(origin_block{entry >> mapping_flag_bits})) {
      entries_[block] = 0;
      set_clean(cache_block{block});
      ++dropped;
    }
  }
  nr_mapped_ -= dropped;
  return dropped;
}

void cache_contents::drop_discards() {
  discards_.clear();
  discard_end_ = 0;
  superblock_.discard_block_size = 0;
  superblock_.discard_nr_blocks = 0;
}

std::vector<cache_contents::location> cache_contents::dirty_blocks() const {
  std::vector<location> found;
  for (std::uint64_t block = 0; block < entries_.size(); ++block) {
    if (entries_[block] != 0 && is_dirty(block)) {
      found.push_back({origin_block{entries_[block] >> mapping_flag_bits}, cache_block{block}});
    }
  }
  return found;
}

void cache_contents::set_clean(cache_block block) {
  dirty_[block.value() / bits_per_word] &= ~(std::uint64_t{1} << block.value() % bits_per_word);
}

metadata_block cache_contents::write_mappings(block_writer &out) const {
  return build_array(out, sizeof(le64), entries_.size(),
                     words_from([this](std::uint64_t at) { return entry_of(at); }));
}

metadata_block cache_contents::write_dirty_bits(block_writer &out) const {
  return build_array(out, sizeof(le64), dirty_.size(),
                     words_from([this](std::uint64_t at) { return dirty_[at]; }));
}

std::uint64_t cache_contents::entry_of(std::uint64_t block) const {
  const bool dirty_in_entry = superblock_.version == 1 && is_dirty(block);
  return entries_[block] | (dirty_in_entry ? mapping_dirty : 0U);
}

result<> cache_contents::check_room(const superblock &block, bytes size) {
  const std::uint64_t blocks = usable_blocks(size);
  const std::uint64_t nr = block.cache_blocks;
  const std::uint64_t needed =
      1 + blocks_of_array(sizeof(le64), nr) +
      (block.version == 2 ? blocks_of_array(sizeof(le64), words_for(nr)) : 0) +
      (block.policy_hint_size == 0 ? 0 : blocks_of_array(sizeof(le32), nr)) +
      blocks_of_array(sizeof(le64), words_for(block.discard_nr_blocks)) +
      blocks_of_space_map(blocks);
  if (needed > blocks) {
    return fail(failure::failed,
                fmt::format("Output file too small: {} KiB are needed at least, "
                            "and it has {}",
                            needed * metadata_block_size / 1024, size.value() / 1024));
  }
  return {};
}

result<> cache_contents::write(device &to, std::uint32_t claimed_version) const {
  if (auto has_room = check_room(superblock_, to.size()); !has_room) {
    return has_room;
  }
  if (auto wiped = wipe_superblock(to); !wiped) {
    return wiped;
  }
  block_writer out{to, superblock_location + 1};
  superblock block = superblock_;
  block.hint_root = 0;
  block.dirty_root = 0;
  block.mapping_root = write_mappings(out).value();
  if (block.version == 2) {
    block.dirty_root = write_dirty_bits(out).value();
  }
  if (has_hints_) {
    const auto copy_hints = [this](std::uint64_t first, std::span<std::byte> values) {
      std::memcpy(values.data(), hints_.span().data() + first, values.size());
    };
    block.hint_root = build_array(out, sizeof(le32), hints_.size(), copy_hints).value();
  }
  block.discard_root =
      build_array(out, sizeof(le64), words_for(block.discard_nr_blocks),
                  words_from([bits = range_bits{discards_}](std::uint64_t at) mutable {
                    return bits.word(at);
                  }))
          .value();
  block.space_map =
      build_space_map(out, usable_blocks(to.size()),
                      [end = out.next().value()](std::uint64_t at) { return at < end; });
  if (const auto failed = out.finish()) {
    return fail(failure::environment, fmt::format("cannot write the metadata: {}: the output holds "
                                                  "none",
                                                  failed.message()));
  }
  if (claimed_version != 0) {
    block.version = claimed_version;
  }
  return commit_superblock(to, block);
}

namespace {

// Blocks that a change needs at most: a path of tree nodes, an array block, the space map's own.
std::uint64_t blocks_of_change(std::uint64_t nr_blocks) {
  constexpr std::uint64_t path = 8;
  return path + blocks_of_space_map(nr_blocks);
}

} // namespace

result<> cache_contents::update_dirty(device &to, const block_usage &usage) const {
  superblock block = superblock_;
  auto opened = begin_changes(to, block, transaction_manager::default_cache_blocks);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  transaction_manager &transactions = **opened;
  const auto commit = [&] {
    return transactions.commit([&](const space_map_root &space_map) {
      block.space_map = space_map;
      return commit_superblock(to, block);
    });
  };
  le64 &root = block.version == 1 ? block.mapping_root : block.dirty_root;
  array words{transactions, sizeof(le64)};
  const std::uint64_t nr_words = block.version == 1 ? entries_.size() : dirty_.size();
  std::uint64_t committed_root = root;
  for (std::uint64_t i = 0; i < nr_words; ++i) {
    // Clean as soon as it is committed, so any number of transactions does.
    if (root != committed_root &&
        transactions.nr_available() < blocks_of_change(transactions.nr_blocks())) {
      if (auto done = commit(); !done) {
        return done;
      }
      committed_root = root;
    }
    const auto next =
        words.set(metadata_block{root}, i, block.version == 1 ? entry_of(i) : dirty_[i]);
    if (!next) {
      return std::unexpected{next.error()};
    }
    root = next->value();
  }
  if (!block.is_clean()) {
    for (std::uint64_t at = 0; at < usage.nr_blocks(); ++at) {
      if (usage.is_used_by(at, structure::hints) || usage.is_used_by(at, structure::discards)) {
        transactions.release(metadata_block{at});
      }
    }
    const auto no_discards = words.create();
    if (!no_discards) {
      return std::unexpected{no_discards.error()};
    }
    block.hint_root = 0;
    block.discard_root = no_discards->value();
    block.discard_block_size = 0;
    block.discard_nr_blocks = 0;
    block.flags = block.flags | superblock::clean_shutdown;
  }
  return commit();
}

} // namespace dmcache
