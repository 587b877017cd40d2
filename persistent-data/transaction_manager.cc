#include "persistent-data/transaction_manager.h"

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/assert.h"
#include "persistent-data/btree_node.h"

namespace dmcache {
namespace {

std::uint64_t usable_blocks(device &on) {
  return std::min(on.size().value() / metadata_block_size, max_metadata_blocks);
}

} // namespace

transaction_manager::transaction_manager(device &on, std::uint64_t nr_blocks)
    : on_{on}, space_{nr_blocks}, bitmap_changed_(divided_up(nr_blocks, blocks_per_bitmap)) {}

result<std::unique_ptr<transaction_manager>> transaction_manager::open(device &on,
                                                                       const space_map_root &root) {
  if (root.nr_blocks > usable_blocks(on)) {
    return fail(failure::failed,
                fmt::format("the space map covers {} blocks, and the device has {}",
                            std::uint64_t{root.nr_blocks}, usable_blocks(on)));
  }
  std::unique_ptr<transaction_manager> opened{new transaction_manager{on, root.nr_blocks}};
  if (auto loaded = opened->load(root); !loaded) {
    return std::unexpected{loaded.error()};
  }
  return opened;
}

result<std::unique_ptr<transaction_manager>> transaction_manager::create(device &on) {
  std::unique_ptr<transaction_manager> created{new transaction_manager{on, usable_blocks(on)}};
  created->space_.allocate(); // block 0
  auto ref_counts = created->add(btree_node_type);
  if (!ref_counts) {
    return std::unexpected{ref_counts.error()};
  }
  writable_btree_node{ref_counts->data()}.clear(btree_node_header::leaf, sizeof(le32));
  created->at_.ref_counts = ref_counts->where();
  created->at_.bitmaps.resize(created->bitmap_changed_.size());
  created->bitmap_changed_.assign(created->bitmap_changed_.size(), true);
  return created;
}

result<> transaction_manager::load(const space_map_root &root) {
  at_.index = metadata_block{root.bitmap_root};
  at_.ref_counts = metadata_block{root.ref_count_root};
  const auto block = fetch(space_map_index_type, at_.index);
  if (!block) {
    return std::unexpected{block.error()};
  }
  space_map_index index;
  std::memcpy(&index, block->data().data(), sizeof index);
  for (std::size_t i = 0; i < bitmap_changed_.size(); ++i) {
    at_.bitmaps.push_back(index.entries.at(i));
    if (auto loaded = load_bitmap(i, metadata_block{at_.bitmaps[i].bitmap_block}); !loaded) {
      return loaded;
    }
  }
  for (const space_map_index_entry &each : at_.bitmaps) {
    if (auto own = read(space_map_bitmap_type, metadata_block{each.bitmap_block}); !own) {
      return std::unexpected{own.error()};
    }
  }
  if (auto own = read(space_map_index_type, at_.index); !own) {
    return std::unexpected{own.error()};
  }
  space_.freeze();
  space_.commit();
  frozen_at_ = at_;
  durable_at_ = at_;
  return {};
}

result<> transaction_manager::load_bitmap(std::size_t number, metadata_block where) {
  const auto block = fetch(space_map_bitmap_type, where);
  if (!block) {
    return std::unexpected{block.error()};
  }
  space_map_bitmap bitmap;
  std::memcpy(&bitmap, block->data().data(), sizeof bitmap);
  const std::uint64_t first = number * blocks_per_bitmap;
  for (std::uint64_t i = 0; i < std::min(blocks_per_bitmap, space_.nr_blocks() - first); ++i) {
    const std::uint32_t count = bitmap.count(i);
    if (count > 1) {
      return fail(failure::failed,
                  fmt::format("block {}: the space map counts {} uses of block {}: run cache_check "
                              "--auto-repair",
                              where, count == in_ref_count_tree ? "many" : "2", first + i));
    }
    if (count == 1) {
      space_.take(metadata_block{first + i});
    }
  }
  return {};
}

result<transaction_manager::readable> transaction_manager::read(const block_type &type,
                                                                metadata_block where) {
  if (where.value() < space_.nr_blocks() && !space_.is_used(where)) {
    return fail(failure::failed, fmt::format("block {} is in use, but the space map counts it as "
                                             "free: run cache_repair",
                                             where));
  }
  return fetch(type, where);
}

result<transaction_manager::readable> transaction_manager::fetch(const block_type &type,
                                                                 metadata_block where) {
  readable found;
  if (const auto cached = cache_.find(where.value()); cached != cache_.end()) {
    const entry &known = cached->second;
    if (known.block->type != &type) {
      return fail(failure::failed, fmt::format("block {} is of another type than expected", where));
    }
    found.block_ = known.block;
    return found;
  }
  if (where.value() >= space_.nr_blocks()) {
    return fail(failure::failed, fmt::format("block {} is beyond the {} of the metadata", where,
                                             space_.nr_blocks()));
  }
  auto block = std::make_shared<buffer>(type);
  if (const auto failed = transfer_and_wait(on_, io_request::operation::read, offset_of(where),
                                            block->memory.span())) {
    return fail(failure::environment,
                fmt::format("block {}: cannot read the metadata: {}", where, failed.message()));
  }
  if (const char *fault = fault_of(type, where, block->data())) {
    return fail(failure::failed, fmt::format("block {}: {}", where, fault));
  }
  found.block_ = block;
  keep(where.value(), std::move(block));
  return found;
}

result<transaction_manager::writable> transaction_manager::add(const block_type &type) {
  const auto where = space_.allocate();
  if (!where) {
    return fail(failure::failed, "the metadata device is full");
  }
  changed(*where);
  writable added;
  added.where_ = *where;
  added.block_ = std::make_shared<buffer>(type);
  std::ranges::fill(added.data(), std::byte{});
  cache_[where->value()] = {added.block_, state::fresh};
  return added;
}

result<transaction_manager::writable> transaction_manager::shadow(const block_type &type,
                                                                  metadata_block where) {
  const auto old = read(type, where);
  if (!old) {
    return std::unexpected{old.error()};
  }
  if (space_.is_new(where)) {
    writable same;
    same.where_ = where;
    same.block_ = old->block_;
    return same;
  }
  auto copy = add(type);
  if (copy) {
    std::ranges::copy(old->data(), copy->data().begin());
    release(where);
  }
  return copy;
}

void transaction_manager::release(metadata_block where) {
  space_.release(where);
  changed(where);
  cache_.erase(where.value());
}

bool transaction_manager::is_new(metadata_block where) const {
  return where.value() < space_.nr_blocks() && space_.is_new(where);
}

void transaction_manager::changed(metadata_block block) {
  bitmap_changed_[block.value() / blocks_per_bitmap] = true;
}

void transaction_manager::keep(std::uint64_t where, std::shared_ptr<buffer> block) {
  if (block->type == &btree_node_type) {
    cache_[where] = {std::move(block), state::durable};
  } else {
    cache_.erase(where);
  }
}

result<> transaction_manager::write_space_map() {
  const auto index = add(space_map_index_type);
  if (!index) {
    return std::unexpected{index.error()};
  }
  if (at_.index != metadata_block{}) {
    release(at_.index);
  }
  at_.index = index->where();
  std::vector<bool> moved(bitmap_changed_.size());
  if (auto done = move_bitmaps(moved); !done) {
    return done;
  }
  for (std::size_t i = 0; i < moved.size(); ++i) {
    if (!moved[i]) {
      continue;
    }
    if (auto written = write_bitmap(i); !written) {
      return written;
    }
  }
  std::ranges::copy(std::as_bytes(std::span{at_.bitmaps}),
                    index->data().begin() + offsetof(space_map_index, entries));
  return {};
}

// A bitmap that changes moves to a new block, which changes the bitmap of that one: until none is
// left that changed and stayed.
result<> transaction_manager::move_bitmaps(std::vector<bool> &moved) {
  for (bool is_done = false; !is_done;) {
    is_done = true;
    for (std::size_t i = 0; i < moved.size(); ++i) {
      if (!bitmap_changed_[i] || moved[i]) {
        continue;
      }
      const auto bitmap = add(space_map_bitmap_type);
      if (!bitmap) {
        return std::unexpected{bitmap.error()};
      }
      if (at_.bitmaps[i].bitmap_block != 0) {
        release(metadata_block{at_.bitmaps[i].bitmap_block});
      }
      at_.bitmaps[i].bitmap_block = bitmap->where().value();
      moved[i] = true;
      is_done = false;
    }
  }
  return {};
}

// The counts of what is in use now. Like the kernel, counts as free what lies beyond the device.
result<> transaction_manager::write_bitmap(std::size_t number) {
  space_map_index_entry &counts = at_.bitmaps[number];
  const auto block = shadow(space_map_bitmap_type, metadata_block{counts.bitmap_block});
  if (!block) {
    return std::unexpected{block.error()};
  }
  const std::uint64_t first = number * blocks_per_bitmap;
  const std::uint64_t end = std::min(first + blocks_per_bitmap, space_.nr_blocks());
  space_map_bitmap bitmap{};
  std::uint32_t nr_used = 0;
  std::optional<std::uint64_t> first_free;
  for (std::uint64_t at = first; at < end; ++at) {
    if (space_.is_used(metadata_block{at})) {
      bitmap.count_first(at - first);
      ++nr_used;
    } else if (!first_free) {
      first_free = at - first;
    }
  }
  std::ranges::copy(std::as_bytes(std::span{&bitmap, 1}), block->data().begin());
  counts.nr_free = static_cast<std::uint32_t>(blocks_per_bitmap - nr_used);
  counts.none_free_before = static_cast<std::uint32_t>(first_free.value_or(end - first));
  return {};
}

result<transaction_manager::frozen> transaction_manager::freeze() {
  require(!is_frozen_, "one transaction is on its way at a time");
  if (std::ranges::count(bitmap_changed_, true) != 0) {
    if (auto written = write_space_map(); !written) {
      return std::unexpected{written.error()};
    }
  }
  frozen made;
  made.root.nr_blocks = space_.nr_blocks();
  made.root.bitmap_root = at_.index.value();
  made.root.ref_count_root = at_.ref_counts.value();
  std::uint64_t nr_allocated = 0;
  for (const space_map_index_entry &each : at_.bitmaps) {
    nr_allocated += blocks_per_bitmap - each.nr_free;
  }
  made.root.nr_allocated = nr_allocated;
  for (auto &[where, known] : cache_) {
    if (known.is == state::fresh) {
      known.is = state::on_its_way;
      seal(*known.block->type, metadata_block{where}, known.block->data());
      made.writes.push_back({metadata_block{where}, known.block->data()});
      on_their_way_.push_back(known.block);
    }
  }
  std::ranges::sort(made.writes, {}, &frozen::block::where);
  bitmap_changed_.assign(bitmap_changed_.size(), false);
  space_.freeze();
  frozen_at_ = at_;
  is_frozen_ = true;
  return made;
}

void transaction_manager::committed() {
  require(is_frozen_, "what isn't frozen can't be committed");
  is_frozen_ = false;
  space_.commit();
  durable_at_ = frozen_at_;
  on_their_way_.clear();
  std::vector<std::uint64_t> written;
  for (const auto &[where, known] : cache_) {
    if (known.is == state::on_its_way) {
      written.push_back(where);
    }
  }
  for (const std::uint64_t where : written) {
    keep(where, cache_[where].block);
  }
}

void transaction_manager::thaw() {
  require(is_frozen_, "what isn't frozen can't be thawed");
  is_frozen_ = false;
  space_.thaw();
  frozen_at_ = durable_at_;
  on_their_way_.clear();
  for (auto &[where, known] : cache_) {
    known.is = known.is == state::on_its_way ? state::fresh : known.is;
  }
}

void transaction_manager::abort() {
  space_.abort();
  is_frozen_ = false;
  at_ = durable_at_;
  frozen_at_ = durable_at_;
  bitmap_changed_.assign(bitmap_changed_.size(), false);
  on_their_way_.clear();
  std::erase_if(cache_, [](const auto &each) {
    return each.second.is == state::fresh || each.second.is == state::on_its_way;
  });
}

result<> transaction_manager::commit(
    const std::function<result<>(const space_map_root &)> &write_superblock) {
  const auto made = freeze();
  if (!made) {
    return std::unexpected{made.error()};
  }
  if (const auto failed = write(made->writes)) {
    return fail(failure::environment,
                fmt::format("cannot write the metadata: {}", failed.message()));
  }
  if (auto written = write_superblock(made->root); !written) {
    return written;
  }
  committed();
  return {};
}

std::error_code transaction_manager::write(const std::vector<frozen::block> &blocks) {
  class listener final : public io_listener {
   public:
    void io_done(std::uint64_t /*tag*/, std::error_code error) override {
      --in_flight;
      first_error = first_error ? first_error : error;
    }
    std::size_t in_flight = 0;
    std::error_code first_error;
  };
  listener done;
  std::vector<io_request> requests;
  requests.reserve(blocks.size());
  for (const frozen::block &each : blocks) {
    requests.push_back({io_request::operation::write, offset_of(each.where), each.data, &done, 0});
  }
  done.in_flight = requests.size();
  on_.submit(requests);
  while (done.in_flight > 0) {
    on_.wait();
  }
  return done.first_error;
}

} // namespace dmcache
