#include "caching/simulation/history.h"

#include <algorithm>

#include "caching/simulation/eager_policy.h"

namespace dmcache {
namespace {

constexpr std::uint64_t smallest_block = 64; // sectors
constexpr std::uint64_t large_block = 4096;
constexpr std::uint64_t max_blocks_at_once = 1500;

using simulated_operation = simulated_device::operation;
constexpr std::array<simulated_operation, 5> fault_kinds = {
    simulated_operation::read, simulated_operation::write, simulated_operation::flush,
    simulated_operation::discard, simulated_operation::write_zeroes};

cache_device random_device(chance &by) {
  return static_cast<cache_device>(by.below(3));
}

} // namespace

history::history(const history_options &how)
    : how_{how}, chance_{how.seed}, block_size_{smallest_block}, devices_{random_world()},
      in_{devices_} {
  choose_weights();
  choose_latencies();
  max_under_way_ = chance_.one_in(3) ? 1 : chance_.between(2, 16);
  nr_hot_blocks_ = chance_.between(1, 12);
  fua_one_in_ = chance_.one_in(4) ? 2 : 12;
  metadata_version_ = chance_.one_in(3) ? 1 : 2;
}

world_options history::random_world() {
  block_size_ = smallest_block * (chance_.one_in(4) ? chance_.between(1, 3) : 1);
  std::uint64_t fewest_cached = 2;
  std::uint64_t most_cached = 12;
  std::uint64_t most_blocks = 40;
  if (chance_.one_in(60)) { // metadata of several blocks each
    most_cached = 1100;
    most_blocks = 1200;
  } else if (chance_.one_in(60)) { // copied in several pieces
    block_size_ = large_block;
    most_blocks = 10;
  } else if (chance_.one_in(12)) { // long requests are split in several slices
    most_blocks = 600;
  } else if (chance_.one_in(400)) { // discards are counted in larger blocks
    most_blocks = 33000;
  } else if (chance_.one_in(3000)) { // the tree of the mappings' array has two levels
    block_size_ = smallest_block;
    fewest_cached = 129'000;
    most_cached = 131'000;
  }
  const auto discard = [&] {
    return static_cast<simulated_device::discard_effect>(chance_.below(3));
  };
  world_options made;
  made.seed = chance_();
  made.fast_size = sectors{block_size_ * chance_.between(fewest_cached, most_cached) +
                           chance_.below(block_size_)};
  made.origin_size =
      sectors{block_size_ * chance_.between(8, most_blocks) + chance_.below(block_size_)};
  made.nr_metadata_blocks = fewest_cached > most_blocks ? chance_.between(1200, 2000)
                            : chance_.one_in(12)        ? chance_.between(10, 24)
                            : chance_.one_in(250) ? chance_.between(16400, 17000) // several bitmaps
                                                  : chance_.between(64, 100);
  made.metadata.failed_flush_loses = chance_.one_in(3);
  made.fast = {
      .on_discard = discard(), .failed_flush_loses = chance_.one_in(3), .broken = how_.broken};
  made.origin = {
      .on_discard = discard(), .failed_flush_loses = chance_.one_in(3), .broken = how_.broken};
  made.origin_can_discard = !chance_.one_in(4);
  made.has_whole_sectors = chance_.one_in(32);
  if (most_blocks <= 40 && chance_.one_in(16)) { // which are requests of bytes as well
    made.has_whole_sectors = true;
    made.cuts = random_cuts();
  }
  made.is_verbose = how_.is_verbose;
  return made;
}

// One or two, at any byte.
std::vector<std::size_t> history::random_cuts() {
  constexpr std::size_t smallest = sizeof(stamp);
  std::vector<std::size_t> made{chance_.between(smallest, sector_size - 2 * smallest)};
  if (chance_.one_in(2)) {
    made.push_back(chance_.between(made.front() + smallest, sector_size - smallest));
  }
  return made;
}

// Each history stresses something else.
void history::choose_weights() {
  weights_.at(static_cast<std::size_t>(event::read)) = 300;
  weights_.at(static_cast<std::size_t>(event::write)) = 300;
  const auto maybe = [&](event kind, std::uint32_t weight) {
    const std::uint64_t choice = chance_.below(4);
    weights_.at(static_cast<std::size_t>(kind)) = choice == 0   ? 0
                                                  : choice == 1 ? 3 * weight
                                                                : weight;
  };
  maybe(event::write_zeroes, 15);
  maybe(event::discard, 15);
  maybe(event::flush, 30);
  maybe(event::prefetch, 15);
  maybe(event::wait, 12);
  maybe(event::clean, 3);
  maybe(event::reload, 4);
  maybe(event::setting, 3);
  maybe(event::invalidate, 20);
  maybe(event::restart, 2);
  maybe(event::power_cut, 3);
  maybe(event::compare, 5);
  maybe(event::verify, 8);
  if (chance_.one_in(6)) {
    maybe(event::shortage, 1);
  }
  if (chance_.one_in(3)) {
    maybe(event::fault, 4);
    weights_.at(static_cast<std::size_t>(event::repair)) = 6;
  }
  total_weight_ = 0;
  for (const std::uint32_t each : weights_) {
    total_weight_ += each;
  }
}

void history::choose_latencies() {
  for (int i = 0; i < 3; ++i) {
    const auto shortest = chance_.between(1, 100);
    in_.carrier().set_latency(static_cast<cache_device>(i),
                              {.shortest = std::chrono::microseconds{shortest},
                               .longest = std::chrono::microseconds{shortest * 4},
                               .stall_one_in = chance_.one_in(3) ? 30U : 0U,
                               .stall = std::chrono::milliseconds{chance_.between(1, 2000)}});
  }
}

dirty_limit history::random_dirty_limit() {
  switch (chance_.below(4)) {
  case 0:
    return {chance_.below(101), true};
  case 1:
    return {chance_.below(8) * block_size_ + chance_.below(block_size_), false};
  default:
    return {};
  }
}

engine_options history::random_engine_options() {
  engine_options how;
  how.block_size = chance_.one_in(2) && in_.media().is_formatted ? sectors{} : sectors{block_size_};
  how.metadata_version = metadata_version_;
  const std::uint64_t mode = chance_.below(6);
  how.mode = mode == 0   ? cache_mode::passthrough
             : mode == 1 ? cache_mode::writethrough
                         : cache_mode::writeback;
  const std::uint64_t name = chance_.below(10);
  how.policy = name == 0   ? "cleaner"
               : name == 1 ? "smq"
               : name == 2 ? "sift"
                           : eager_policy::own_name;
  const std::uint64_t seed = chance_();
  how.make_policy = [seed](std::string_view wanted,
                           const policy_geometry &geometry) -> result<std::unique_ptr<policy>> {
    if (wanted == eager_policy::own_name) {
      return std::make_unique<eager_policy>(geometry, seed);
    }
    return dmcache::make_policy(wanted, geometry);
  };
  how.migration_threshold = sectors{chance_.one_in(3) ? 0 : chance_.below(8) * block_size_};
  how.discard_passdown = !chance_.one_in(4);
  how.tracking = chance_.one_in(3) ? dirty_tracking::at_shutdown : dirty_tracking::exact;
  how.cleaning = chance_.one_in(6) ? cleaning_trigger::on_request : cleaning_trigger::background;
  how.max_dirty = random_dirty_limit();
  how.dirty_linger = std::chrono::seconds{chance_.one_in(2) ? 1 : chance_.between(2, 60)};
  return how;
}

// Running. ----------------------------------------------------------------------------------------

std::optional<std::string> history::run() {
  start();
  for (std::uint64_t i = 0; i < how_.operations && !in_.is_over(); ++i) {
    happen(random_event());
    while (in_.nr_under_way() >= max_under_way_ && in_.step()) {
    }
    if (in_.is_down()) {
      recover();
    }
  }
  if (!in_.is_over() && in_.settle()) {
    in_.read_everything();
    in_.shut_down();
  }
  return in_.violation();
}

history::event history::random_event() {
  std::uint64_t left = chance_.below(total_weight_);
  std::size_t chosen = 0;
  while (left >= weights_.at(chosen)) {
    left -= weights_.at(chosen++);
  }
  return static_cast<event>(chosen);
}

// Mostly within a few blocks, so that they are hit; small, or whole blocks, or across some.
sector_range history::random_range(std::uint64_t longest) {
  const std::uint64_t size = in_.nr_origin_sectors();
  const std::uint64_t nr_blocks = divided_up(size, block_size_);
  const std::uint64_t block = chance_.one_in(5)
                                  ? chance_.below(nr_blocks)
                                  : chance_.below(std::min(nr_hot_blocks_, nr_blocks));
  sector_range where;
  const std::uint64_t kind = chance_.below(8);
  if (kind == 0) {
    where.begin = block * block_size_;
    where.end = where.begin + block_size_ * (chance_.one_in(4) ? chance_.between(2, 6) : 1);
  } else {
    where.begin = block * block_size_ + chance_.below(block_size_);
    where.end =
        where.begin + (kind == 1 ? chance_.between(1, block_size_ * 5 / 2) : chance_.between(1, 8));
  }
  where.begin = std::min(where.begin, size - 1);
  where.end = std::min({where.end, size, where.begin + longest});
  return where;
}

// Or everything, or half of it: more pieces than are in flight at a time.
sector_range history::long_range() {
  const std::uint64_t size = in_.nr_origin_sectors();
  const bool is_affordable = size <= max_blocks_at_once * block_size_;
  if (!is_affordable || !chance_.one_in(6)) {
    return random_range(size);
  }
  return {chance_.one_in(2) ? 0 : chance_.below(size / 2),
          chance_.one_in(2) ? size : chance_.between(size / 2 + 1, size)};
}

// Of whole sectors, or of parts of the first and the last one.
void history::ask(world::operation op, sector_range where, bool fua) {
  if (in_.parts().nr_per_sector() == 1 || where.size() > world::max_request || chance_.one_in(2)) {
    in_.submit(op, where, fua);
    return;
  }
  const std::uint64_t nr_parts = in_.parts().nr_per_sector();
  sector_range parts = in_.parts().of(where);
  parts.begin += chance_.below(nr_parts);
  parts.end -= chance_.below(std::min(nr_parts, parts.size()));
  in_.submit_bytes(op, parts, fua);
}

void history::happen(event kind) {
  using operation = world::operation;
  switch (kind) {
  case event::read:
    ask(operation::read, random_range());
    break;
  case event::write:
    ask(operation::write, random_range(), chance_.one_in(fua_one_in_));
    break;
  case event::write_zeroes:
    ask(operation::write_zeroes, long_range(), chance_.one_in(fua_one_in_));
    break;
  case event::discard:
    ask(operation::discard, long_range());
    break;
  case event::flush:
    in_.submit(operation::flush, {});
    break;
  case event::prefetch:
    ask(operation::prefetch, long_range());
    break;
  case event::wait:
    in_.advance(std::chrono::milliseconds{chance_.between(1, chance_.one_in(3) ? 4000 : 50)});
    break;
  case event::clean:
    in_.begin_clean();
    break;
  case event::reload:
    reload();
    break;
  case event::setting:
    change_setting();
    break;
  case event::invalidate:
    invalidate_some();
    break;
  case event::restart:
    restart();
    break;
  case event::power_cut:
    in_.cut_power_in(chance_.below(chance_.one_in(2) ? 200 : 20));
    break;
  case event::fault:
    add_fault();
    break;
  case event::repair:
    for (int i = 0; i < 3; ++i) {
      in_.device(static_cast<cache_device>(i)).clear_faults();
    }
    break;
  case event::shortage:
    in_.fail_allocation_after(chance_.below(chance_.one_in(4) ? 12 : 2));
    break;
  case event::compare:
    if (in_.settle()) {
      in_.compare_clean_blocks();
    }
    break;
  case event::verify:
    verify_some();
    break;
  }
}

void history::change_setting() {
  switch (chance_.below(3)) {
  case 0:
    in_.begin_message({"migration_threshold", fmt::to_string(chance_.below(4) * block_size_)});
    break;
  case 1:
    in_.begin_message({"max_dirty", text_of(random_dirty_limit())});
    break;
  default:
    in_.begin_message({"cleaning", chance_.one_in(2) ? "on-request" : "background"});
    break;
  }
}

void history::reload() {
  const engine_options how = random_engine_options();
  if (how.mode == cache_mode::passthrough && chance_.one_in(2)) {
    static_cast<void>(in_.clean()); // or else it is refused
  }
  if (in_.is_open() && !in_.is_down() && !in_.is_over()) {
    in_.begin_reload(how);
  }
}

void history::invalidate_some() {
  if (in_.engine().state().mode() != cache_mode::passthrough && !chance_.one_in(8)) {
    return; // it would be refused
  }
  const std::uint64_t nr = in_.engine().state().mappings->nr_cache_blocks();
  const std::uint64_t begin = chance_.below(nr);
  const std::uint64_t end = chance_.between(begin + 1, nr);
  in_.begin_invalidate(cache_block{begin}, cache_block{end});
}

// Cached or not, in any order: mostly what is in demand. Where devices fail, often what was written
// back in vain, which the origin may give without keeping it.
void history::verify_some() {
  if (weights_.at(static_cast<std::size_t>(event::fault)) != 0 && chance_.one_in(3)) {
    in_.device(cache_device::origin)
        .add_fault({.op = simulated_operation::flush, .one_in = 1, .at_most = 1});
    static_cast<void>(in_.clean());
    if (in_.is_down() || in_.is_over()) {
      return;
    }
  }
  const std::uint64_t nr_blocks = in_.engine().state().nr_origin_blocks;
  std::vector<origin_block> blocks;
  for (std::uint64_t i = chance_.between(1, 24); i > 0; --i) {
    blocks.emplace_back(chance_.one_in(3) ? chance_.below(nr_blocks)
                                          : chance_.below(std::min(nr_hot_blocks_, nr_blocks)));
  }
  in_.begin_compare(blocks, {.clears_equal = !chance_.one_in(3), .drops_stale = chance_.one_in(2)});
}

void history::add_fault() {
  const simulated_device::fault fault{.op = fault_kinds.at(chance_.below(fault_kinds.size())),
                                      .one_in = chance_.one_in(2) ? 1 : chance_.between(2, 20),
                                      .at_most = chance_.one_in(4) ? ~std::uint64_t{0}
                                                                   : chance_.between(1, 4)};
  const cache_device on = random_device(chance_);
  in_.note("fault: operation {} on device {}, one in {}, {} times", static_cast<int>(fault.op),
           static_cast<int>(on), fault.one_in, fault.at_most);
  in_.device(on).add_fault(fault);
}

// Starting and stopping. --------------------------------------------------------------------------

// Until the cache is open.
void history::start() {
  while (!in_.is_open() && !in_.is_over()) {
    if (in_.media().is_formatted && in_.media().block.is_needs_check() && chance_.one_in(2)) {
      in_.mend();
    }
    if (in_.media().is_formatted && chance_.one_in(4)) {
      look_read_only();
    }
    try_to_start(random_engine_options());
  }
}

void history::try_to_start(const engine_options &how) {
  const auto resized = [&](std::uint64_t smallest, std::uint64_t largest) {
    return chance_.one_in(4)
               ? std::optional{sectors{block_size_ * chance_.between(smallest, largest) +
                                       chance_.below(block_size_)}}
               : std::nullopt;
  };
  simulated_device &metadata = in_.device(cache_device::metadata);
  if (chance_.one_in(12)) {
    metadata.cut_power_at(metadata.nr_changes() + chance_.below(8));
  } else if (chance_.one_in(12)) {
    metadata.add_fault(
        {.op = fault_kinds.at(chance_.below(3)), .one_in = chance_.between(1, 4), .at_most = 1});
  }
  const std::uint64_t nr_cached = devices_.fast_size.value() / block_size_;
  const std::uint64_t nr_blocks = devices_.origin_size.value() / block_size_;
  const auto opened = in_.open(how, resized(1, nr_cached + 4), resized(4, nr_blocks + 10));
  if (!opened && !in_.media().is_formatted) { // perhaps it is full
    metadata.resize(bytes{metadata.size().value() + 4 * metadata_block_size});
  }
  metadata.clear_faults();
  if (in_.is_down()) {
    in_.cut_power();
  }
}

// All of the data, with nothing written.
void history::look_read_only() {
  engine_options how;
  how.read_only = true;
  if (!in_.open(how)) {
    return;
  }
  in_.read_everything();
  in_.shut_down();
}

void history::restart() {
  if (chance_.one_in(3)) {
    in_.begin_clean(cache_engine::afterwards::kept_clean);
    for (std::uint64_t i = chance_.below(30); i > 0 && in_.is_open() && in_.step(); --i) {
      in_.submit(world::operation::write, random_range(), chance_.one_in(fua_one_in_));
    }
  }
  if (chance_.one_in(2)) {
    in_.finish();
  }
  if (chance_.one_in(3)) {
    in_.cut_power_in(chance_.below(40));
  }
  if (!in_.is_down() && chance_.one_in(3)) {
    kill();
  } else if (!in_.is_down()) {
    in_.shut_down();
  }
  recover();
}

// Often in the midst of a commit.
void history::kill() {
  in_.submit(world::operation::flush, {});
  for (std::uint64_t i = chance_.below(30); i > 0 && in_.step(); --i) {
  }
  if (!in_.is_down() && !in_.is_over()) {
    in_.kill();
  }
}

void history::recover() {
  if (in_.is_over()) {
    return;
  }
  if (in_.is_down()) {
    in_.take_down();
  }
  start();
  if (!in_.is_over() && chance_.one_in(3)) {
    in_.read_everything();
  }
}

} // namespace dmcache
