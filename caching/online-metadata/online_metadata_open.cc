// Opening the metadata of a cache: what can't be run on is refused before anything is written.

#include <algorithm>
#include <limits>
#include <utility>

#include <fmt/format.h>

#include "caching/metadata/metadata_reader.h"
#include "caching/metadata/metadata_size.h"
#include "caching/online-metadata/online_metadata.h"

namespace dmcache {
namespace {

std::unexpected<error> refused(std::string why) {
  return fail(failure::failed, std::move(why));
}

constexpr std::uint64_t saturating_product(std::uint64_t left, std::uint64_t right) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(left, right, &product) ? std::numeric_limits<std::uint64_t>::max()
                                                       : product;
}

// What is damaged, of which the first counts that forbids to go on. The space map is of use only to
// those who write.
class damage_found final : public damage_sink {
 public:
  explicit damage_found(bool is_read_only) : is_read_only_{is_read_only} {}

  void found(const damage &found_damage) override {
    if (found_damage.fatal && !fatal &&
        !(is_read_only_ && found_damage.in == structure::space_map)) {
      fatal = found_damage;
    }
    if (!first) {
      first = found_damage;
    }
    in_hints = in_hints || found_damage.in == structure::hints;
    in_discards = in_discards || found_damage.in == structure::discards;
  }

  std::optional<damage> fatal;
  std::optional<damage> first;
  bool in_hints = false;
  bool in_discards = false;

 private:
  bool is_read_only_;
};

// Mappings that forbid to open the cache with devices of the present size.
struct obstacles {
  std::uint64_t nr = 0;
  mapping first{};

  void add(const mapping &each) { first = nr++ == 0 ? each : first; }
};

} // namespace

class online_metadata::opening final : private metadata_visitor {
 public:
  opening(device &on, const open_options &options) : on_{on}, options_{options} {}

  result<contents> run();

 private:
  result<contents> format();
  result<contents> open();
  result<> check_superblock() const;
  result<> check_devices(std::uint64_t block_size);
  result<> read();
  result<> check_damage(const damage_found &found, const block_usage &usage) const;
  result<> check_obstacles() const;
  result<> inspect(bool is_new) const;
  result<> begin(std::unique_ptr<transaction_manager> transactions);
  result<> begin_exact(online_metadata &made);
  bool are_discards_none() const;
  result<> commit(online_metadata &first);
  contents take();

  void mappings(std::span<const mapping> some) override;
  void hints(cache_block first, std::span<const le32> some) override;
  void discards(std::uint64_t begin, std::uint64_t end) override;

  device &on_;
  const open_options &options_;
  superblock block_{};
  std::uint64_t nr_cache_blocks_ = 0; // of the fast device
  std::uint64_t nr_origin_blocks_ = 0;
  bool was_formatted_ = false;
  std::unique_ptr<online_metadata> metadata_;
  std::unique_ptr<mapping_table> table_;
  std::unique_ptr<discard_set> discards_;
  std::optional<lazy_array<le32>> hints_;
  bool are_hints_whole_ = false;     // an array of one for each cache block
  bool is_any_discarded_ = false;    // on disk
  std::vector<cache_block> dropped_; // beyond the origin's end
  obstacles beyond_fast_;
  obstacles beyond_origin_;
};

result<online_metadata::contents> online_metadata::open(device &on, const open_options &options) {
  return opening{on, options}.run();
}

result<online_metadata::contents> online_metadata::opening::run() {
  if (options_.block_size != sectors{} && !is_legal_data_block_size(options_.block_size.value())) {
    return refused(fmt::format("a cache block of {} sectors is not possible: multiples of {} from "
                               "{} to {} are",
                               options_.block_size, min_data_block_size, min_data_block_size,
                               max_data_block_size));
  }
  const auto is_blank = holds_nothing(on_);
  if (!is_blank) {
    return std::unexpected{is_blank.error()};
  }
  return *is_blank && !options_.read_only ? format() : open();
}

// The new metadata differ from the kernel's in nothing but having their full size at once, and naming
// the policy before the first clean shutdown does.
result<online_metadata::contents> online_metadata::opening::format() {
  if (options_.block_size == sectors{}) {
    return refused("the device holds no cache metadata yet: to format it, a block size is needed");
  }
  if (options_.format_version != 1 && options_.format_version != 2) {
    return refused(
        fmt::format("there is no metadata version {}: 1 and 2 are known", options_.format_version));
  }
  if (auto checked = check_devices(options_.block_size.value()); !checked) {
    return std::unexpected{checked.error()};
  }
  if (auto inspected = inspect(true); !inspected) {
    return std::unexpected{inspected.error()};
  }
  was_formatted_ = true;
  block_.magic = superblock::magic_value;
  block_.version = options_.format_version;
  block_.data_block_size = static_cast<std::uint32_t>(options_.block_size.value());
  block_.metadata_block_size = metadata_block_size / sector_size;
  require(options_.policy.size() <= block_.policy_name.size(), "a policy's name fits its field");
  std::ranges::copy(options_.policy, block_.policy_name.begin());
  std::ranges::copy(own_version_of_policy(options_.policy), block_.policy_version.begin());
  auto transactions = transaction_manager::create(on_);
  if (!transactions) {
    return std::unexpected{transactions.error()};
  }
  if (auto begun = begin(std::move(*transactions)); !begun) {
    return std::unexpected{begun.error()};
  }
  return take();
}

result<online_metadata::contents> online_metadata::opening::open() {
  const auto found = read_superblock(on_);
  if (!found) {
    return std::unexpected{found.error()};
  }
  block_ = *found;
  auto done = check_superblock();
  done = done ? check_devices(block_.data_block_size) : done;
  done = done ? read() : done;
  done = done ? check_obstacles() : done;
  done = done ? inspect(false) : done;
  if (done && options_.read_only) {
    metadata_.reset(new online_metadata{block_, nullptr, *table_});
  } else if (done) {
    auto transactions = begin_changes(on_, block_);
    done = transactions ? begin(std::move(*transactions)) : std::unexpected{transactions.error()};
  }
  if (!done) {
    return std::unexpected{done.error()};
  }
  return take();
}

result<> online_metadata::opening::check_superblock() const {
  if (const auto faults = faults_of(block_); !faults.empty()) {
    return refused(fmt::format("block 0: {}: see cache_repair", faults.front()));
  }
  if (options_.block_size != sectors{} && options_.block_size != sectors{block_.data_block_size}) {
    return refused(fmt::format("the cache has blocks of {} sectors, and can't be used with blocks "
                               "of {}",
                               std::uint32_t{block_.data_block_size}, options_.block_size));
  }
  if (options_.read_only) {
    return {};
  }
  if (block_.compat_ro_flags != 0) {
    return refused(fmt::format("block 0: unknown features {:#x}: the cache can be used read-only",
                               std::uint32_t{block_.compat_ro_flags}));
  }
  if (block_.is_needs_check()) {
    return refused("NEEDS_CHECK is set, a metadata operation failed: run cache_check, and if it "
                   "finds nothing, cache_check --clear-needs-check-flag");
  }
  return {};
}

result<> online_metadata::opening::check_devices(std::uint64_t block_size) {
  nr_cache_blocks_ = options_.fast_size.value() / block_size;
  nr_origin_blocks_ = options_.origin_size.value() / block_size; // a partial one is never cached
  if (nr_cache_blocks_ == 0) {
    return refused(fmt::format("the fast device has {} sectors, less than a cache block of {}",
                               options_.fast_size, block_size));
  }
  if (options_.origin_size == sectors{}) {
    return refused("the origin is empty");
  }
  if (nr_cache_blocks_ > mapping_table::max_cache_blocks) {
    return refused(fmt::format("{} cache blocks are more than the {} that a cache can have",
                               nr_cache_blocks_, mapping_table::max_cache_blocks));
  }
  table_ = std::make_unique<mapping_table>(nr_cache_blocks_);
  discards_ = std::make_unique<discard_set>(sectors{block_size}, options_.origin_size);
  return {};
}

// Everything that is in use is read here, once; what follows relies on its being sound.
result<> online_metadata::opening::read() {
  if (block_.is_clean() && block_.hint_root != 0 && block_.policy_hint_size == sizeof(le32) &&
      !block_.policy().empty()) {
    hints_.emplace(nr_cache_blocks_);
  }
  damage_found found{options_.read_only};
  block_usage usage{on_.size()};
  progress quiet{true};
  const walk_context context{on_, usage, found, quiet};
  read_metadata(context, block_, {.space_map = true}, *this);
  if (auto checked = check_damage(found, usage); !checked) {
    return checked;
  }
  if (found.in_hints) {
    hints_.reset();
  }
  are_hints_whole_ = hints_.has_value() && block_.cache_blocks == nr_cache_blocks_;
  if (found.in_discards || !block_.is_clean()) {
    *discards_ = discard_set{sectors{block_.data_block_size}, options_.origin_size};
  }
  return {};
}

// Damaged hints and discards do without, and are replaced by the next clean shutdown, if it is
// known which blocks they consist of, which then become free.
result<> online_metadata::opening::check_damage(const damage_found &found,
                                                const block_usage &usage) const {
  if (found.fatal) {
    return fail(
        found.fatal->io_error ? failure::environment : failure::failed,
        fmt::format("{}: run cache_check, and see cache_repair", dmcache::describe(*found.fatal)));
  }
  if (!usage.is_complete() && !options_.read_only) {
    return fail(
        found.first->io_error ? failure::environment : failure::failed,
        fmt::format("{}: run cache_repair, no data is at stake", dmcache::describe(*found.first)));
  }
  return {};
}

void online_metadata::opening::mappings(std::span<const mapping> some) {
  for (const mapping &each : some) {
    if (each.cached_in.value() >= nr_cache_blocks_) {
      if (each.dirty || options_.read_only) {
        beyond_fast_.add(each);
      }
      continue;
    }
    if (each.origin.value() >= nr_origin_blocks_) {
      if (each.dirty) {
        beyond_origin_.add(each);
      }
      dropped_.push_back(each.cached_in);
      continue;
    }
    table_->map(each.cached_in, each.origin);
    table_->mark_stored(each.cached_in);
    if (each.dirty) {
      table_->mark_dirty(each.cached_in);
    }
  }
}

void online_metadata::opening::hints(cache_block first, std::span<const le32> some) {
  if (hints_ && first.value() < nr_cache_blocks_) {
    const auto kept = std::min<std::uint64_t>(some.size(), nr_cache_blocks_ - first.value());
    std::ranges::copy(some.first(kept), hints_->span().subspan(first.value()).begin());
  }
}

void online_metadata::opening::discards(std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t size = block_.discard_block_size;
  const std::uint64_t nr_blocks = block_.discard_nr_blocks;
  is_any_discarded_ = true;
  // What the last block says of what lies beyond the end that the origin had is unknown.
  if (end == nr_blocks && saturating_product(nr_blocks, size) < options_.origin_size.value()) {
    --end;
  }
  discards_->set_within(sectors{saturating_product(begin, size)},
                        std::min(sectors{saturating_product(end, size)}, options_.origin_size));
}

result<> online_metadata::opening::check_obstacles() const {
  if (beyond_fast_.nr != 0) {
    const auto &[nr, first] = beyond_fast_;
    return refused(fmt::format(
        "the fast device has {} cache blocks, and {} {} blocks lie beyond: the first is cache "
        "block {}, mapped to origin block {}",
        nr_cache_blocks_, nr, options_.read_only ? "mapped" : "dirty", first.cached_in,
        first.origin));
  }
  if (beyond_origin_.nr != 0) {
    const auto &[nr, first] = beyond_origin_;
    return refused(fmt::format(
        "the origin has {} blocks, and {} dirty blocks are mapped to beyond its end: the first is "
        "cache block {}, mapped to origin block {}",
        nr_origin_blocks_, nr, first.cached_in, first.origin));
  }
  if (options_.is_passthrough && !block_.is_clean()) {
    return refused("the cache was not cleanly shut down, so all of it counts as dirty: use "
                   "writeback or writethrough, and passthrough after a clean shutdown");
  }
  if (options_.is_passthrough && table_->nr_dirty() != 0) {
    return refused(fmt::format("{} cache blocks are dirty, which passthrough can't serve: use "
                               "writeback or writethrough until none is",
                               table_->nr_dirty()));
  }
  return {};
}

bool online_metadata::opening::are_discards_none() const {
  return block_.is_clean() && !is_any_discarded_ && block_.discard_root != 0 &&
         block_.discard_nr_blocks == discards_->nr_blocks() &&
         block_.discard_block_size == discards_->block_size().value();
}

// Makes true what CLEAN_SHUTDOWN vouches for; if there is no room for that, the dirty state is not
// tracked exactly.
result<> online_metadata::opening::begin_exact(online_metadata &made) {
  const discard_set none{sectors{block_.data_block_size}, options_.origin_size};
  const bool is_sound = was_formatted_ || block_.is_clean();
  const std::uint64_t nr_dirty_parts = is_sound ? 0 : made.mappings_->nr_dirty_parts();
  if (!made.has_room_for_exact(nr_dirty_parts, dropped_.size(), none)) {
    return {};
  }
  made.is_exact_ = true;
  result<> done;
  for (std::uint64_t part = 0; done && part < nr_dirty_parts; ++part) {
    done = made.mappings_->write_dirty_part(part);
  }
  if (done && !was_formatted_ && !are_discards_none()) {
    done = made.replace_discards(none);
  }
  if (done && made.superblock_.hint_root != 0 && !are_hints_whole_) {
    done = array{*made.transactions_, sizeof(le32)}.destroy(
        metadata_block{made.superblock_.hint_root});
    made.superblock_.hint_root = 0;
  }
  for (std::uint64_t i = 0; done && i < table_->nr_cache_blocks(); ++i) {
    if (const cache_block block{i}; table_->is_mapped(block) && table_->is_dirty(block)) {
      table_->mark_noted(block);
    }
  }
  return done;
}

result<> online_metadata::opening::inspect(bool is_new) const {
  if (!options_.inspect) {
    return {};
  }
  return options_.inspect({is_new, block_, *table_, *discards_, nr_cache_blocks_, dropped_.size()});
}

// From here on the metadata are in use, which the device is told.
result<> online_metadata::opening::begin(std::unique_ptr<transaction_manager> transactions) {
  metadata_.reset(new online_metadata{block_, std::move(transactions), *table_});
  online_metadata &made = *metadata_;
  if (auto loaded = was_formatted_ ? result<>{} : made.load_trees(); !loaded) {
    return loaded;
  }
  auto done = was_formatted_ ? made.mappings_->create() : result<>{};
  done = done && was_formatted_ ? made.replace_discards(*discards_) : done;
  done = done ? made.mappings_->resize(static_cast<std::uint32_t>(nr_cache_blocks_)) : done;
  done = done && options_.is_exact ? begin_exact(made) : done;
  for (const cache_block block : dropped_) {
    made.changed(block);
  }
  done = done ? made.write_changed_parts() : done;
  done = done ? commit(made) : done;
  if (!done && done.error().kind == failure::failed) {
    return refused(fmt::format("{}: {} cache blocks need a larger one: {}", done.error().message,
                               nr_cache_blocks_, way_to_larger_metadata(nr_cache_blocks_)));
  }
  return done;
}

result<> online_metadata::opening::commit(online_metadata &first) {
  auto committed = first.transactions_->commit([&](const space_map_root &space_map) {
    first.superblock_.space_map = space_map;
    first.durable_ = first.superblock_;
    if (first.is_exact_) {
      first.durable_.flags = first.durable_.flags | superblock::clean_shutdown;
    }
    return commit_superblock(on_, first.durable_);
  });
  first.is_pending_ = false;
  return committed;
}

online_metadata::contents online_metadata::opening::take() {
  return {
      .metadata = std::move(metadata_),
      .mappings = std::move(table_),
      .discards = std::move(discards_),
      .hints = std::move(hints_),
      .policy = std::string{block_.policy()},
      .policy_version = {block_.policy_version[0], block_.policy_version[1],
                         block_.policy_version[2]},
      .statistics = {block_.read_hits, block_.read_misses, block_.write_hits, block_.write_misses},
      .block_size = sectors{block_.data_block_size},
      .was_clean = was_formatted_ || block_.is_clean(),
      .was_formatted = was_formatted_};
}

} // namespace dmcache
