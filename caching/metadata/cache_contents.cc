#include "caching/metadata/cache_contents.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <functional>
#include <iterator>

#include <fmt/format.h>

#include "caching/metadata/mapping_writer.h"
#include "caching/metadata/standing_metadata.h"
#include "persistent-data/builder.h"

namespace dmcache {
namespace {

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

// Most of what isn't huge will be filled, and a page fault for every 4 KiB of it takes as long as the
// work itself. What is huge may be claimed by an input that fills little of it.
template <typename T> void prefer_large_pages(lazy_array<T> &array) {
  constexpr std::size_t huge = std::size_t{1} << 25;
  const auto memory = std::as_writable_bytes(array.span());
  if (memory.size() <= huge) {
    ::madvise(memory.data(), memory.size(), MADV_HUGEPAGE); // a hint: without it we are only slower
  }
}

std::uint64_t usable_blocks(bytes size) {
  return std::min(size.value() / metadata_block_size, max_metadata_blocks);
}

} // namespace

cache_contents::cache_contents(const superblock &block)
    : superblock_{block}, entries_{block.cache_blocks}, dirty_{words_for(block.cache_blocks)},
      hints_{block.policy_hint_size == 0 ? 0 : std::uint32_t{block.cache_blocks}},
      has_hint_{words_for(hints_.size())}, origins_{block.cache_blocks} {
  prefer_large_pages(entries_);
  prefer_large_pages(hints_);
}

std::optional<std::string> cache_contents::add(const mapping &each) {
  const std::uint64_t block = each.cached_in.value();
  if (block >= entries_.size()) {
    return fmt::format("cache block {} is beyond the cache's {} blocks", block, entries_.size());
  }
  if (entries_[block].is_mapped()) {
    return fmt::format("cache block {} is mapped already", block);
  }
  if (each.origin.value() > mapping_entry::max_origin_block) {
    return fmt::format("origin block {} doesn't fit 48 bits", each.origin);
  }
  if (!has_all_origins_) {
    index_origins();
  }
  if (!origins_.insert(each.origin)) {
    return fmt::format("origin block {} is mapped already", each.origin);
  }
  entries_[block] = {each.origin, mapping_entry::valid};
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
  // Without a branch, as nobody can foretell which blocks are dirty.
  mapping_entry *const entries = entries_.span().data();
  std::uint64_t *const dirty = dirty_.span().data();
  std::uint64_t origin_end = origin_end_;
  for (const mapping &each : some) {
    const std::uint64_t block = each.cached_in.value();
    entries[block] = {each.origin, mapping_entry::valid};
    dirty[block / bits_per_word] |= std::uint64_t{each.dirty} << block % bits_per_word;
    origin_end = std::max(origin_end, each.origin.value() + 1);
  }
  origin_end_ = origin_end;
  nr_mapped_ += some.size();
  has_all_origins_ = false;
}

void cache_contents::index_origins() {
  for (const mapping_entry entry : entries_.span()) {
    if (entry.is_mapped()) {
      origins_.insert(entry.origin());
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
    const mapping_entry entry = entries_[block];
    if (entry.is_mapped() && unwanted.contains(entry.origin())) {
      entries_[block] = {};
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

std::uint64_t cache_contents::nr_dirty() const {
  std::uint64_t count = 0;
  for (const std::uint64_t word : dirty_.span()) {
    count += static_cast<std::uint64_t>(std::popcount(word));
  }
  return count;
}

std::vector<cache_contents::location> cache_contents::mapped_blocks() const {
  std::vector<location> found;
  found.reserve(nr_mapped_);
  for (std::uint64_t block = 0; block < entries_.size(); ++block) {
    if (entries_[block].is_mapped()) {
      found.push_back({entries_[block].origin(), cache_block{block}});
    }
  }
  return found;
}

std::vector<cache_contents::location> cache_contents::dirty_blocks() const {
  std::vector<location> found = mapped_blocks();
  std::erase_if(found, [&](const location &each) { return !is_dirty(each.cached_in); });
  return found;
}

bool cache_contents::is_discarded(origin_block block) const {
  const std::uint64_t size = superblock_.discard_block_size;
  if (size == 0) {
    return false;
  }
  const std::uint64_t begin = block.value() * superblock_.data_block_size;
  const std::uint64_t last = (begin + superblock_.data_block_size - 1) / size;
  const auto after = std::ranges::upper_bound(discards_, begin / size, {}, &key_range::begin);
  return after != discards_.begin() && last < std::prev(after)->end;
}

std::optional<origin_block> cache_contents::clean_at(cache_block block) const {
  if (block.value() >= entries_.size() || !entries_[block.value()].is_mapped() || is_dirty(block)) {
    return {};
  }
  const origin_block origin = entries_[block.value()].origin();
  return is_discarded(origin) ? std::nullopt : std::optional{origin};
}

void cache_contents::set_clean(cache_block block) {
  dirty_[block.value() / bits_per_word] &= ~(std::uint64_t{1} << block.value() % bits_per_word);
}

std::uint64_t cache_contents::blocks_needed(const superblock &block, bytes size) {
  const std::uint64_t nr = block.cache_blocks;
  return blocks_of_mappings(block) +
         (block.policy_hint_size == 0 ? 0 : blocks_of_array(sizeof(le32), nr)) +
         blocks_of_array(sizeof(le64), words_for(block.discard_nr_blocks)) +
         blocks_of_space_map(usable_blocks(size));
}

result<> cache_contents::check_room(const superblock &block, bytes size) {
  const std::uint64_t needed = 1 + blocks_needed(block, size);
  if (needed > usable_blocks(size)) {
    return fail(failure::failed,
                fmt::format("Output file too small: {} KiB are needed at least, "
                            "and it has {}",
                            needed * metadata_block_size / 1024, size.value() / 1024));
  }
  return {};
}

result<superblock> cache_contents::build(device &to, metadata_block first) const {
  block_writer out{to, first};
  superblock block = superblock_;
  block.hint_root = 0;
  build_mappings(out, block, {entries_.span(), dirty_.span()});
  if (has_hints_) {
    const auto copy_hints = [this](std::uint64_t from, std::span<std::byte> values) {
      std::memcpy(values.data(), hints_.span().data() + from, values.size());
    };
    block.hint_root = build_array(out, sizeof(le32), hints_.size(), copy_hints).value();
  }
  block.discard_root =
      build_array(out, sizeof(le64), words_for(block.discard_nr_blocks),
                  values_from([bits = range_bits{discards_}](std::uint64_t at) mutable {
                    return bits.word(at);
                  }))
          .value();
  block.space_map =
      build_space_map(out, usable_blocks(to.size()),
                      [begin = first.value(), end = out.next().value()](std::uint64_t at) {
                        return at == superblock_location.value() || (at >= begin && at < end);
                      });
  if (const auto failed = out.finish()) {
    return fail(failure::environment,
                fmt::format("cannot write the metadata: {}", failed.message()));
  }
  return block;
}

result<> cache_contents::write(device &to, progress &watcher, const acceptance &accept) const {
  if (auto has_room = check_room(superblock_, to.size()); !has_room) {
    return has_room;
  }
  const auto old = blocks_in_force(to, watcher);
  if (!old) {
    return std::unexpected{old.error()};
  }
  const auto beside =
      *old ? (*old)->find_unused((*old)->nr_blocks(), blocks_needed(superblock_, to.size()))
           : std::nullopt;
  if (!beside) {
    if (auto wiped = wipe_superblock(to); !wiped) {
      return wiped;
    }
  }
  auto block = build(to, beside.value_or(superblock_location + 1));
  auto accepted = block ? result<>{} : std::unexpected{block.error()};
  if (block && accept) {
    accepted = accept(*block);
  }
  if (!accepted) {
    return fail(accepted.error().kind,
                accepted.error().message +
                    (beside ? ": the output still holds what it held" : ": the output holds none"));
  }
  return commit_superblock(to, *block);
}

namespace {

// Blocks that a change needs at most: a path of tree nodes, an array block, the space map's own.
std::uint64_t blocks_of_change(std::uint64_t nr_blocks) {
  constexpr std::uint64_t path = 8;
  return path + blocks_of_space_map(nr_blocks);
}

} // namespace

result<> cache_contents::change(device &on, const block_usage &usage, const changes &wanted) {
  superblock block = superblock_;
  auto opened = begin_changes(on, block);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  transaction_manager &transactions = **opened;
  const auto commit = [&] {
    return transactions.commit([&](const space_map_root &space_map) {
      block.space_map = space_map;
      auto done = commit_superblock(on, block);
      superblock_ = done ? block : superblock_;
      return done;
    });
  };
  mapping_writer writer{transactions, block, [this](cache_block at) {
                          const mapping_entry entry = entries_[at.value()];
                          return mapping_writer::entry{entry.is_mapped(), entry.origin(),
                                                       is_dirty(at)};
                        }};
  // Without a clean shutdown, what the device has of the dirty state means nothing.
  std::vector<bool> is_outdated(writer.nr_dirty_parts(), !block.is_clean());
  for (const location &each : wanted.cleaned) {
    set_clean(each.cached_in);
    is_outdated[writer.dirty_part_of(each.cached_in)] = true;
  }
  std::vector<bool> is_remapped(writer.nr_parts(), false);
  for (const location &each : wanted.unmapped) {
    entries_[each.cached_in.value()] = {};
    is_remapped[mapping_writer::part_of(each.cached_in)] = true;
  }
  nr_mapped_ -= wanted.unmapped.size();
  // Each part is right on its own, so that any number of transactions will do.
  bool is_pending = false;
  const auto write_parts = [&](const std::vector<bool> &changed, auto step) -> result<> {
    for (std::uint64_t part = 0; part < changed.size(); ++part) {
      if (!changed[part]) {
        continue;
      }
      const bool is_full = transactions.nr_available() < blocks_of_change(transactions.nr_blocks());
      auto done = is_pending && is_full ? commit() : result<>{};
      done = done ? std::invoke(step, writer, part) : done;
      if (!done) {
        return done;
      }
      is_pending = true;
    }
    return {};
  };
  auto written = write_parts(is_outdated, &mapping_writer::write_dirty_part);
  written = written ? write_parts(is_remapped, &mapping_writer::write_part) : written;
  if (!written) {
    return written;
  }
  if (!block.is_clean()) {
    if (auto replaced = replace_untrusted(transactions, block, usage); !replaced) {
      return replaced;
    }
    block.flags = block.flags | superblock::clean_shutdown;
  }
  return commit();
}

// Without a clean shutdown hints and discards can't be trusted; but whoever reads them later will,
// as the cache counts as cleanly shut down then.
result<> cache_contents::replace_untrusted(transaction_manager &in, superblock &block,
                                           const block_usage &usage) const {
  for (std::uint64_t at = 0; at < usage.nr_blocks(); ++at) {
    if (usage.is_used_by(at, structure::hints) || usage.is_used_by(at, structure::discards)) {
      in.release(metadata_block{at});
    }
  }
  const auto no_discards = array{in, sizeof(le64)}.create();
  if (!no_discards) {
    return std::unexpected{no_discards.error()};
  }
  block.hint_root = 0;
  block.discard_root = no_discards->value();
  block.discard_block_size = 0;
  block.discard_nr_blocks = 0;
  return {};
}

} // namespace dmcache
