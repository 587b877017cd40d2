#include "caching/online-metadata/online_metadata.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/assert.h"
#include "caching/metadata/metadata_size.h"

namespace dmcache {
namespace {

// Nodes that are not the root are a third full at least.
constexpr std::uint64_t min_node_entries = btree_max_entries(sizeof(le64)) / 3;

// Upper bounds of the tree of an array of `nr_entries` blocks.
struct tree_size {
  explicit tree_size(std::uint64_t nr_entries) : entries{nr_entries} {
    for (std::uint64_t level = nr_entries; level > 1 || height == 0; ++height) {
      level = std::max<std::uint64_t>(divided_up(level, min_node_entries), 1);
      nodes += level;
    }
  }

  // To rewrite an array block: the block, and the path to it.
  std::uint64_t blocks_of_rewrite() const { return 1 + height; }
  // To append one to an array that was never anything but appended to: what is split off from the
  // path, and a new root, too, once there are more than a node has room for.
  std::uint64_t blocks_of_append() const {
    return blocks_of_rewrite() + (entries > btree_max_entries(sizeof(le64)) ? height + 1 : 0);
  }
  std::uint64_t blocks_of_all() const { return entries + nodes; }

  std::uint64_t entries;
  std::uint64_t height = 0;
  std::uint64_t nodes = 0;
};

mapping_writer::source entries_of(const mapping_table &table) {
  return [&table](cache_block block) {
    const bool is_mapped = table.is_mapped(block) && !table.is_suspect(block);
    return mapping_writer::entry{is_mapped, is_mapped ? table.origin_of(block) : origin_block{},
                                 is_mapped && table.is_dirty_on_disk(block)};
  };
}

} // namespace

template <typename Write> result<> online_metadata::part_set::drain(Write write) {
  for (std::uint64_t part = 0; size_ != 0; ++part) {
    if (!has_[part]) {
      continue;
    }
    if (auto written = write(part); !written) {
      return written;
    }
    has_[part] = false;
    --size_;
  }
  return {};
}

online_metadata::online_metadata(const superblock &block,
                                 std::unique_ptr<transaction_manager> transactions,
                                 const mapping_table &table)
    : superblock_{block}, frozen_{block}, durable_{block}, transactions_{std::move(transactions)},
      table_{table} {
  if (transactions_) {
    superblock_.flags = superblock_.flags & ~superblock::clean_shutdown;
    mappings_.emplace(*transactions_, superblock_, entries_of(table));
    constexpr std::uint64_t per_part = array_max_entries(sizeof(le64));
    changed_ = part_set{divided_up(table.nr_cache_blocks(), per_part)};
    dirty_changed_ = part_set{divided_up(words_for(table.nr_cache_blocks()), per_part)};
  }
}

std::uint64_t online_metadata::nr_blocks() const {
  return superblock_.space_map.nr_blocks;
}

std::uint64_t online_metadata::nr_used_blocks() const {
  return transactions_ ? nr_blocks() - transactions_->nr_available()
                       : std::uint64_t{superblock_.space_map.nr_allocated};
}

void online_metadata::changed(cache_block block) {
  require(transactions_ != nullptr, "what is read-only doesn't change");
  if (is_aborted_) {
    return;
  }
  changed_.add(mapping_writer::part_of(block));
  dirty_changed(block);
}

void online_metadata::dirty_changed(cache_block block) {
  if (!is_exact_ || is_aborted_) {
    return;
  }
  (has_dirty_parts() ? dirty_changed_ : changed_).add(mappings_->dirty_part_of(block));
}

void online_metadata::stop_exact() {
  if (std::exchange(is_exact_, false)) {
    dirty_changed_.clear();
    is_pending_ = true;
  }
}

bool online_metadata::has_changes() const {
  return changed_.size() != 0 || dirty_changed_.size() != 0 || is_pending_;
}

bool online_metadata::has_room_for(cache_block block) const {
  if (is_aborted_) {
    return true;
  }
  const std::uint64_t nr = changed_.size_with(mapping_writer::part_of(block));
  const std::uint64_t nr_dirty =
      has_dirty_parts() ? dirty_changed_.size_with(mappings_->dirty_part_of(block)) : 0;
  return blocks_of_changed_parts(nr, nr_dirty) + reserve() <= transactions_->nr_available();
}

bool online_metadata::is_full() const {
  return !is_aborted_ && !has_changes() && !is_frozen_ &&
         blocks_of_changed_parts(1, has_dirty_parts() ? 1 : 0) + reserve() >
             transactions_->nr_available();
}

// The parts, and the tree nodes above them.
std::uint64_t online_metadata::blocks_of_changed_parts(std::uint64_t nr_changed,
                                                       std::uint64_t nr_dirty) const {
  const auto blocks_of = [](std::uint64_t nr, const tree_size &tree) {
    return nr + std::min(nr * tree.height, tree.nodes);
  };
  return blocks_of(nr_changed, tree_size{mappings_->nr_parts()}) +
         blocks_of(nr_dirty, tree_size{mappings_->nr_dirty_parts()});
}

// To begin with it, by writing so many parts of the dirty state and this discard bitset, while so
// many mappings change, and to go on with it.
bool online_metadata::has_room_for_exact(std::uint64_t nr_dirty_parts, std::uint64_t nr_changed,
                                         const discard_set &none) const {
  const std::uint64_t nr_words_parts = divided_up(none.nr_words(), array_max_entries(sizeof(le64)));
  const std::uint64_t blocks =
      tree_size{nr_dirty_parts}.blocks_of_all() + tree_size{nr_words_parts}.blocks_of_all() +
      blocks_of_changed_parts(std::min(nr_changed, mappings_->nr_parts()) + 1,
                              mappings_->nr_dirty_parts());
  return blocks + 2 * reserve() <= transactions_->nr_available();
}

// What freeze() adds: the space map's index, and all of its bitmaps at worst.
std::uint64_t online_metadata::reserve() const {
  return 1 + divided_up(nr_blocks(), blocks_per_bitmap);
}

// All that changes will need to be read.
result<> online_metadata::load_trees() {
  auto done = mappings_->load_trees();
  if (done && superblock_.hint_root != 0) {
    done = array{*transactions_, sizeof(le32)}.load_tree(metadata_block{superblock_.hint_root});
  }
  if (done) {
    done = array{*transactions_, sizeof(le64)}.load_tree(metadata_block{superblock_.discard_root});
  }
  return done;
}

result<> online_metadata::write_changed_parts() {
  is_pending_ = has_changes();
  auto done = changed_.drain([&](std::uint64_t part) { return mappings_->write_part(part); });
  if (done) {
    done =
        dirty_changed_.drain([&](std::uint64_t part) { return mappings_->write_dirty_part(part); });
  }
  return done;
}

// Is all true that CLEAN_SHUTDOWN makes a reader believe?
bool online_metadata::vouches_for_all() const {
  const bool is_hint_array_partial = shutdown_ && shutdown_->has_hint_array &&
                                     !shutdown_->is_hint_array_whole && !shutdown_->is_complete;
  const bool is_shut_down = shutdown_ && shutdown_->is_complete && changed_.size() == 0 &&
                            shutdown_->revision == table_.revision();
  return is_exact_ ? !is_hint_array_partial : is_shut_down;
}

result<online_metadata::commit> online_metadata::freeze() {
  require(transactions_ && !is_aborted_ && !is_frozen_, "one commit at a time can be on its way");
  const bool is_clean = vouches_for_all();
  if (auto written = write_changed_parts(); !written) {
    return std::unexpected{written.error()};
  }
  auto made = transactions_->freeze();
  if (!made) {
    return std::unexpected{made.error()};
  }
  superblock_.space_map = made->root;
  frozen_ = superblock_;
  if (is_clean) {
    frozen_.flags = frozen_.flags | superblock::clean_shutdown;
  }
  if (shutdown_ && shutdown_->is_complete) {
    shutdown_.reset();
  }
  is_pending_ = false;
  is_frozen_ = true;
  return commit{std::move(made->writes), seal_into(commit_block_, frozen_)};
}

void online_metadata::committed() {
  require(is_frozen_, "what isn't frozen can't be committed");
  transactions_->committed();
  durable_ = frozen_;
  is_frozen_ = false;
}

void online_metadata::thaw() {
  require(is_frozen_, "what isn't frozen can't be thawed");
  transactions_->thaw();
  is_frozen_ = false;
  is_pending_ = true;
}

std::span<std::byte, metadata_block_size> online_metadata::abort() {
  require(transactions_ != nullptr, "what is read-only has nothing to give up");
  transactions_->abort();
  durable_.flags = (durable_.flags & ~superblock::clean_shutdown) | superblock::needs_check;
  superblock_ = durable_;
  changed_.clear();
  dirty_changed_.clear();
  is_exact_ = false;
  is_pending_ = false;
  is_frozen_ = false;
  is_aborted_ = true;
  return seal_into(needs_check_block_, durable_);
}

std::span<std::byte, metadata_block_size>
online_metadata::seal_into(aligned_buffer &buffer, const superblock &block) const {
  const auto data = buffer.span().first<metadata_block_size>();
  std::memcpy(data.data(), &block, sizeof block);
  seal(superblock_type, superblock_location, data);
  return data;
}

// False: a commit frees what the blocks changed so far replace.
result<bool> online_metadata::has_room_to(std::uint64_t add_blocks) const {
  if (add_blocks + reserve() <= transactions_->nr_available()) {
    return true;
  }
  if (is_pending_ || is_frozen_) {
    return false;
  }
  return fail(failure::failed,
              fmt::format("the metadata device is full: {} of {} blocks are in use, and a clean "
                          "shutdown needs more: {}",
                          nr_used_blocks(), nr_blocks(),
                          way_to_larger_metadata(superblock_.cache_blocks)));
}

result<bool> online_metadata::prepare_shutdown(const shutdown_state &state) {
  require(transactions_ && !is_aborted_, "what can't be written is not shut down");
  if (auto written = write_changed_parts(); !written) {
    return std::unexpected{written.error()};
  }
  if (!shutdown_ || shutdown_->is_complete) {
    shutdown_ = shutdown_progress{};
  }
  if (std::exchange(shutdown_->revision, table_.revision()) != table_.revision()) {
    shutdown_->dirty_parts = 0;
  }
  auto done = write_hints(state);
  if (done && *done) {
    done = write_discards(state.discards);
  }
  if (done && *done) {
    done = write_dirty_state();
  }
  if (done && *done) {
    describe(state);
    is_pending_ = true;
    shutdown_->is_complete = true;
  }
  return done;
}

bool online_metadata::are_hints_of(const shutdown_state &state) const {
  return superblock_.policy() == state.policy &&
         std::ranges::equal(superblock_.policy_version, state.policy_version,
                            [](std::uint32_t one, std::uint32_t other) { return one == other; }) &&
         superblock_.policy_hint_size == sizeof(le32);
}

// The hints of before are another policy's, or of blocks that have gone, or can't be trusted: all
// are written anew. While the dirty state is tracked exactly, the array can be relied on, so that the
// same policy's hints are written into it: a crash meanwhile leaves a whole one.
result<bool> online_metadata::write_hints(const shutdown_state &state) {
  array hints{*transactions_, sizeof(le32)};
  const std::uint64_t nr_parts =
      divided_up(table_.nr_cache_blocks(), array_max_entries(sizeof(le32)));
  const std::uint64_t blocks = tree_size{nr_parts}.blocks_of_append();
  if (!shutdown_->has_hint_array && is_exact_ && superblock_.hint_root != 0 &&
      are_hints_of(state)) {
    shutdown_->has_hint_array = true;
    shutdown_->is_hint_array_whole = true;
  }
  if (!shutdown_->has_hint_array) {
    if (auto room = has_room_to(1); !room || !*room) {
      return room;
    }
    is_pending_ = true;
    if (superblock_.hint_root != 0) {
      if (auto gone = hints.destroy(metadata_block{superblock_.hint_root}); !gone) {
        return std::unexpected{gone.error()};
      }
    }
    const auto root = hints.create();
    if (!root) {
      return std::unexpected{root.error()};
    }
    superblock_.hint_root = root->value();
    shutdown_->has_hint_array = true;
  }
  for (; shutdown_->hint_parts < nr_parts; ++shutdown_->hint_parts) {
    if (auto room = has_room_to(blocks); !room || !*room) {
      return room;
    }
    is_pending_ = true;
    if (auto written = write_hint_part(shutdown_->hint_parts, state); !written) {
      return std::unexpected{written.error()};
    }
  }
  return true;
}

result<> online_metadata::write_hint_part(std::uint64_t part, const shutdown_state &state) {
  constexpr std::uint64_t per_part = array_max_entries(sizeof(le32));
  const std::uint64_t first = part * per_part;
  const std::uint64_t count = std::min(table_.nr_cache_blocks() - first, per_part);
  const auto made = array{*transactions_, sizeof(le32)}.rewrite_block(
      metadata_block{superblock_.hint_root}, part, count);
  if (!made) {
    return std::unexpected{made.error()};
  }
  superblock_.hint_root = made->root.value();
  for (std::uint64_t i = 0; i < count; ++i) {
    if (const cache_block block{first + i}; table_.is_mapped(block)) {
      const le32 stored = state.hint(block);
      std::memcpy(made->values.data() + i * sizeof stored, &stored, sizeof stored);
    }
  }
  return {};
}

result<bool> online_metadata::write_discards(const discard_set &discards) {
  if (shutdown_->discards) {
    return true;
  }
  const std::uint64_t nr_parts = divided_up(discards.nr_words(), array_max_entries(sizeof(le64)));
  if (auto room = has_room_to(tree_size{nr_parts}.blocks_of_all()); !room || !*room) {
    return room;
  }
  is_pending_ = true;
  if (auto replaced = replace_discards(discards); !replaced) {
    return std::unexpected{replaced.error()};
  }
  shutdown_->discards = true;
  return true;
}

result<> online_metadata::replace_discards(const discard_set &discards) {
  array words{*transactions_, sizeof(le64)};
  if (superblock_.discard_root != 0) {
    if (auto gone = words.destroy(metadata_block{superblock_.discard_root}); !gone) {
      return gone;
    }
  }
  auto root = words.create();
  constexpr std::uint64_t per_part = array_max_entries(sizeof(le64));
  for (std::uint64_t first = 0; root && first < discards.nr_words(); first += per_part) {
    const std::uint64_t count = std::min(discards.nr_words() - first, per_part);
    const auto made = words.rewrite_block(*root, first / per_part, count);
    if (!made) {
      return std::unexpected{made.error()};
    }
    for (std::uint64_t i = 0; i < count; ++i) {
      const le64 stored = discards.word(first + i);
      std::memcpy(made->values.data() + i * sizeof stored, &stored, sizeof stored);
    }
    root = made->root;
  }
  if (!root) {
    return std::unexpected{root.error()};
  }
  superblock_.discard_root = root->value();
  superblock_.discard_block_size = discards.block_size().value();
  superblock_.discard_nr_blocks = discards.nr_blocks();
  return {};
}

result<bool> online_metadata::write_dirty_state() {
  const std::uint64_t nr_parts = mappings_->nr_dirty_parts();
  const std::uint64_t blocks = tree_size{nr_parts}.blocks_of_rewrite();
  for (; shutdown_->dirty_parts < nr_parts; ++shutdown_->dirty_parts) {
    if (auto room = has_room_to(blocks); !room || !*room) {
      return room;
    }
    is_pending_ = true;
    if (auto written = mappings_->write_dirty_part(shutdown_->dirty_parts); !written) {
      return std::unexpected{written.error()};
    }
  }
  return true;
}

void online_metadata::describe(const shutdown_state &state) {
  require(state.policy.size() <= superblock_.policy_name.size(), "a policy's name fits its field");
  superblock_.policy_name = {};
  std::ranges::copy(state.policy, superblock_.policy_name.begin());
  superblock_.policy_hint_size = sizeof(le32);
  std::ranges::copy(state.policy_version, superblock_.policy_version.begin());
  superblock_.read_hits = state.statistics.read_hits;
  superblock_.read_misses = state.statistics.read_misses;
  superblock_.write_hits = state.statistics.write_hits;
  superblock_.write_misses = state.statistics.write_misses;
}

} // namespace dmcache
