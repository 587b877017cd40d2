#include "functional-tests/fuzz/engine_life.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/assert.h"
#include "base/chance.h"
#include "base/crc32c.h"
#include "base/lent_device.h"
#include "base/memory_device.h"
#include "caching/engine/cache_engine.h"
#include "caching/simulation/eager_policy.h"
#include "caching/tools/check.h"
#include "functional-tests/fuzz/stamped_sectors.h"

namespace dmcache::fuzz {
namespace {

using operation = request::operation;

constexpr std::uint64_t most_cache_blocks = 16384;
constexpr std::uint64_t most_origin_sectors = std::uint64_t{1} << 50;
// Larger blocks are opened and shut down, but not used: to copy them takes too long.
constexpr std::uint64_t largest_used_block = 512; // sectors
constexpr std::uint64_t longest_request = 512;    // sectors
constexpr int longest_life = 60;                  // requests
constexpr int most_events = 1'000'000;            // after which something goes round in circles

constexpr stamp origin_stamp(std::uint64_t sector) {
  return sector * 2 + 1;
}
constexpr stamp fast_stamp(std::uint64_t sector) {
  return sector * 2 + 2;
}
constexpr stamp written_stamp(std::uint64_t number, std::uint64_t sector) {
  return std::uint64_t{1} << 63 | number << 51 | sector;
}

// The exit code of cache_check.
int check_of(memory_device &metadata, const check_options &options) {
  report quiet{"fuzz", true};
  auto read = read_metadata_device(std::make_unique<lent_device>(metadata));
  return read ? check(std::move(*read), options, quiet) : -1;
}

class life {
 public:
  explicit life(std::span<const std::byte> metadata)
      : chance_{crc32c(metadata)},
        metadata_{std::vector<std::byte>(metadata.begin(), metadata.end())},
        fast_{[this](std::uint64_t sector) { return fast_at_first(sector); }},
        origin_{origin_stamp} {}

  void run();

 private:
  // What stood in a cache block when the cache was opened first.
  struct first_mapping {
    origin_block of;
    bool is_dirty;
  };

  void choose_options();
  sectors choose_fast_size(const superblock &block);
  sectors choose_origin_size(const superblock &block);
  bool open(const engine_options &options);
  void note_first_mappings();
  stamp fast_at_first(std::uint64_t sector) const;
  stamp at_first(std::uint64_t sector) const;

  void use();
  void ask(operation op, std::uint64_t first, std::uint64_t count);
  void note_written(operation op, std::uint64_t first, std::span<const std::byte> data,
                    std::uint64_t count);
  void compare(std::uint64_t first, std::span<const std::byte> data, std::uint64_t count) const;
  result<> shut_down();
  void read_all_again();

  template <typename Done> void run_until(Done is_done);
  void take_io();
  void end_an_io();
  void carry_out(engine_io &io);

  chance chance_;
  memory_device metadata_;
  stamped_sectors fast_;
  stamped_sectors origin_;
  bool was_sound_ = false; // at first
  engine_options options_;
  sectors fast_size_;
  sectors origin_size_;
  std::uint64_t block_size_ = 0; // sectors
  instant now_{std::chrono::hours{1}};
  std::unique_ptr<cache_engine> engine_;
  std::vector<engine_io *> in_flight_;

  std::vector<std::optional<first_mapping>> first_by_cache_block_;
  std::unordered_map<std::uint64_t, std::uint64_t> first_by_origin_block_;
  bool has_discards_ = false;
  std::unordered_map<std::uint64_t, stamp> written_; // by clients, by sector of the origin
  std::unordered_set<std::uint64_t> discarded_;      // and not written to since
  std::uint64_t nr_writes_ = 0;
};

void life::run() {
  if (chance_.one_in(2)) {
    check_of(metadata_, {.open_to_mend = [this] {
               return read_metadata_device(std::make_unique<lent_device>(metadata_));
             }});
  }
  was_sound_ = check_of(metadata_, {}) == 0;
  choose_options();
  const std::vector<std::byte> before{metadata_.contents().begin(), metadata_.contents().end()};
  const auto is_as_before = [&] { return std::ranges::equal(metadata_.contents(), before); };
  if (!open(options_)) {
    require(is_as_before(), "metadata that are refused are left as they are");
    return;
  }
  note_first_mappings();
  if (block_size_ <= largest_used_block) {
    use();
  }
  if (chance_.one_in(4)) { // as if the process were killed
    run_until([&] { return in_flight_.empty(); });
    ask(operation::flush, 0, 0);
    engine_.reset();
    in_flight_.clear();
  } else if (shut_down() && !options_.read_only) {
    require(read_superblock(metadata_)->is_clean(), "a clean shutdown says so");
  }
  if (options_.read_only) {
    require(is_as_before() && fast_.is_untouched() && origin_.is_untouched(),
            "what is opened read-only is not written to");
    return;
  }
  require(check_of(metadata_, {.ignore_non_fatal = true}) == 0, "what the engine leaves is sound");
  require(check_of(metadata_, {}) == 0 || !was_sound_, "what was sound is so again");
  read_all_again();
}

void life::choose_options() {
  options_.may_format = false;
  options_.mode = chance_.one_in(12)  ? cache_mode::passthrough
                  : chance_.one_in(3) ? cache_mode::writethrough
                                      : cache_mode::writeback;
  options_.read_only = chance_.one_in(12);
  options_.migration_threshold = sectors{chance_.below(4096)};
  options_.policy = chance_.one_in(3) ? "smq" : chance_.one_in(6) ? "cleaner" : "eager";
  options_.make_policy =
      [seed = chance_()](std::string_view name,
                         const policy_geometry &geometry) -> result<std::unique_ptr<policy>> {
    if (name == eager_policy::own_name) {
      return std::make_unique<eager_policy>(geometry, seed);
    }
    return make_policy(name, geometry);
  };
  if (const auto block = read_superblock(metadata_)) {
    fast_size_ = choose_fast_size(*block);
    origin_size_ = choose_origin_size(*block);
    block_size_ = block->data_block_size;
  }
}

sectors life::choose_fast_size(const superblock &block) {
  std::uint64_t blocks = block.cache_blocks;
  if (chance_.one_in(4)) {
    blocks = blocks + 8 - std::min(blocks, chance_.below(16));
  }
  blocks = std::min(blocks, most_cache_blocks);
  return sectors{blocks * block.data_block_size + chance_.below(64)};
}

sectors life::choose_origin_size(const superblock &block) {
  const std::uint64_t blocks = chance_.one_in(8)   ? chance_.between(0, 64)
                               : chance_.one_in(8) ? std::uint64_t{1} << chance_.below(40)
                                                   : 8192;
  return sectors{std::min(blocks * block.data_block_size + chance_.below(64), most_origin_sectors)};
}

bool life::open(const engine_options &options) {
  auto opened = cache_engine::open({.metadata = metadata_,
                                    .fast_size = fast_size_,
                                    .origin_size = origin_size_,
                                    .origin_can_discard = true},
                                   options, now_);
  if (opened) {
    engine_ = std::move(*opened);
  }
  return opened.has_value();
}

void life::note_first_mappings() {
  const mapping_table &mappings = *engine_->state().mappings;
  first_by_cache_block_.resize(mappings.nr_cache_blocks());
  for (std::uint64_t i = 0; i < mappings.nr_cache_blocks(); ++i) {
    if (const cache_block block{i}; mappings.is_mapped(block)) {
      first_by_cache_block_[i] = {mappings.origin_of(block), mappings.is_dirty(block)};
      first_by_origin_block_[mappings.origin_of(block).value()] = i;
    }
  }
  has_discards_ = !engine_->state().discards->empty();
}

// Both devices hold the same of a block that is clean.
stamp life::fast_at_first(std::uint64_t sector) const {
  const std::uint64_t block = sector / block_size_;
  if (block < first_by_cache_block_.size()) {
    const auto &found = first_by_cache_block_[block];
    if (found && !found->is_dirty) {
      return origin_stamp(found->of.value() * block_size_ + sector % block_size_);
    }
  }
  return fast_stamp(sector);
}

stamp life::at_first(std::uint64_t sector) const {
  const auto found = first_by_origin_block_.find(sector / block_size_);
  return found != first_by_origin_block_.end()
             ? fast_at_first(found->second * block_size_ + sector % block_size_)
             : origin_stamp(sector);
}

void life::use() {
  constexpr std::array changes{operation::write, operation::write, operation::write,
                               operation::write_zeroes, operation::discard};
  const std::uint64_t size = origin_size_.value();
  for (auto left = chance_.between(1, longest_life); left > 0; --left) {
    // Where mappings are, mostly.
    const std::uint64_t near = chance_.one_in(3) ? size : std::min(size, block_size_ * 64);
    std::uint64_t first = ((chance_() >> 13) % near);
    std::uint64_t count = chance_.between(1, longest_request);
    if (chance_.one_in(3)) { // a whole block
      first -= first % block_size_;
      count = block_size_;
    }
    count = std::min(count, size - first);
    if (chance_.one_in(2)) {
      ask(operation::read, first, count);
    } else if (chance_.one_in(8)) {
      ask(operation::flush, 0, 0);
    } else {
      ask(changes.at(options_.read_only ? 0 : chance_.below(changes.size())), first, count);
    }
    now_ += chance_.one_in(8) ? std::chrono::seconds{3} : std::chrono::milliseconds{200};
    if (engine_->next_tick() <= now_) {
      engine_->tick(now_);
      take_io();
    }
  }
}

// A request, waited for; what else it has caused may go on.
void life::ask(operation op, std::uint64_t first, std::uint64_t count) {
  aligned_buffer buffer{divided_up(count * sector_size, io_alignment) * io_alignment};
  const auto data = buffer.span().first(count * sector_size);
  request asked;
  asked.op = op;
  asked.offset = bytes{first * sector_size};
  asked.length = bytes{count * sector_size};
  asked.fua = asked.is_write() && op != operation::flush && chance_.one_in(10);
  if (op == operation::read || op == operation::write) {
    asked.data = data;
  }
  ++nr_writes_;
  for (std::uint64_t i = 0; op == operation::write && i < count; ++i) {
    put_stamp(data, i, written_stamp(nr_writes_, first + i));
  }
  engine_->submit(asked);
  request *done = nullptr;
  run_until([&] { return (done = engine_->next_completed()) != nullptr; });
  require(done == &asked, "one request is under way");
  if (options_.read_only && asked.is_write() && op != operation::flush) {
    require(asked.outcome == std::errc::read_only_file_system, "a change is refused");
    return;
  }
  const metadata_mode mode = engine_->state().mode_of_metadata;
  require(!asked.outcome || mode == metadata_mode::fail || mode == metadata_mode::read_only ||
              options_.mode == cache_mode::passthrough,
          "no request fails on devices that work");
  if (!asked.outcome && op == operation::read) {
    compare(first, data, count);
  } else if (op != operation::flush) {
    note_written(op, first, data, asked.outcome ? 0 : count);
  }
}

void life::note_written(operation op, std::uint64_t first, std::span<const std::byte> data,
                        std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t sector = first + i;
    if (op == operation::discard) {
      discarded_.insert(sector);
    } else if (op == operation::write || op == operation::write_zeroes) {
      discarded_.erase(sector);
      written_[sector] = op == operation::write ? stamp_in(data, i) : zeroes;
    }
  }
}

void life::compare(std::uint64_t first, std::span<const std::byte> data,
                   std::uint64_t count) const {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t sector = first + i;
    const stamp found = stamp_in(data, i);
    const auto written = written_.find(sector);
    const bool may_be_zero =
        discarded_.contains(sector) || (written == written_.end() && has_discards_);
    require(found == (written != written_.end() ? written->second : at_first(sector)) ||
                (may_be_zero && found == zeroes),
            "what is read is what was written last");
  }
}

result<> life::shut_down() {
  control call;
  engine_->shut_down(call);
  run_until([&] { return engine_->next_finished() == &call; });
  run_until([&] { return in_flight_.empty(); });
  engine_.reset();
  return call.outcome;
}

void life::read_all_again() {
  engine_options reading = options_;
  reading.mode = cache_mode::writeback;
  reading.read_only = true;
  require(open(reading), "what the engine leaves can be read");
  options_ = reading;
  std::vector<std::uint64_t> written;
  written.reserve(written_.size());
  for (const auto &[sector, _] : written_) {
    written.push_back(sector);
  }
  std::ranges::sort(written);
  for (std::size_t i = 0; i < written.size();) {
    std::size_t end = i + 1;
    while (end < written.size() && written[end] == written[end - 1] + 1) {
      ++end;
    }
    ask(operation::read, written[i], end - i);
    i = end;
  }
}

template <typename Done> void life::run_until(Done is_done) {
  take_io();
  for (int events = 0; !is_done(); ++events) {
    require(events < most_events, "it comes to an end");
    if (!in_flight_.empty()) {
      end_an_io();
    } else {
      now_ = std::max(now_, engine_->next_tick());
      engine_->tick(now_);
    }
    take_io();
  }
}

void life::take_io() {
  while (engine_io *io = engine_->next_io()) {
    in_flight_.push_back(io);
  }
}

void life::end_an_io() {
  std::swap(in_flight_[chance_.below(in_flight_.size())], in_flight_.back());
  engine_io *const io = in_flight_.back();
  in_flight_.pop_back();
  carry_out(*io);
  engine_->io_done(*io, {});
}

void life::carry_out(engine_io &io) {
  if (io.on == cache_device::metadata) {
    if (io.op == engine_io::operation::write) {
      require(io.offset.value() + io.length.value() <= metadata_.size().value(),
              "nothing is written beyond the metadata device");
      std::ranges::copy(io.data, metadata_.contents().subspan(io.offset.value()).begin());
    }
    return;
  }
  const bool is_fast = io.on == cache_device::fast;
  stamped_sectors &on = is_fast ? fast_ : origin_;
  require(io.op == engine_io::operation::flush ||
              io.offset.value() + io.length.value() <=
                  to_bytes(is_fast ? fast_size_ : origin_size_).value(),
          "nothing is asked beyond a device");
  switch (io.op) {
  case engine_io::operation::read:
    on.read(io.offset, io.data);
    break;
  case engine_io::operation::write:
    on.write(io.offset, io.data);
    break;
  case engine_io::operation::write_zeroes:
  case engine_io::operation::discard:
    on.zero(io.offset, io.length);
    break;
  case engine_io::operation::flush:
  case engine_io::operation::prefetch:
    break;
  }
}

} // namespace

void live(std::span<const std::byte> metadata) {
  life{metadata}.run();
}

} // namespace dmcache::fuzz
