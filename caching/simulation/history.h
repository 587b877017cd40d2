// A random history of a cache: what is asked of it, and what befalls it, all decided by a seed.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/chance.h"
#include "caching/simulation/world.h"

namespace dmcache {

struct history_options {
  std::uint64_t seed = 0;
  std::uint64_t operations = 1000;
  bool is_verbose = false;
  // A defect of each device that holds data, which has to be found.
  simulated_device::defect broken = simulated_device::defect::none;
};

class history {
 public:
  explicit history(const history_options &how);

  // What went wrong, if anything.
  std::optional<std::string> run();
  world_totals totals() const { return in_.totals(); }

 private:
  enum class event : std::uint8_t {
    read,
    write,
    write_zeroes,
    discard,
    flush,
    prefetch,
    wait,
    clean,
    reload,
    setting,
    invalidate,
    restart,
    power_cut,
    fault,
    repair,
    shortage,
    compare,
    verify,
  };
  static constexpr std::size_t nr_events = static_cast<std::size_t>(event::verify) + 1;

  world_options random_world();
  std::vector<std::size_t> random_cuts();
  void choose_weights();
  void choose_latencies();
  dirty_limit random_dirty_limit();
  engine_options random_engine_options();
  event random_event();
  sector_range random_range(std::uint64_t longest = world::max_request);
  sector_range long_range();
  void ask(world::operation op, sector_range where, bool fua = false);
  void happen(event kind);
  void start();
  void try_to_start(const engine_options &how);
  void change_setting();
  void reload();
  void restart();
  void kill();
  void recover();
  void look_read_only();
  void add_fault();
  void invalidate_some();
  void verify_some();

  history_options how_;
  chance chance_;
  std::uint64_t block_size_; // sectors
  world_options devices_;
  world in_;
  std::array<std::uint32_t, nr_events> weights_{};
  std::uint32_t total_weight_ = 0;
  std::uint64_t max_under_way_ = 1;
  std::uint64_t nr_hot_blocks_ = 1;
  std::uint64_t fua_one_in_ = 10;
  std::uint32_t metadata_version_ = 2;
};

} // namespace dmcache
