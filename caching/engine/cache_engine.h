// A dm-cache in user space: the engine.
//
// The engine is a state machine without I/O. It owns no thread, no lock and no clock, and is
// entered by one caller at a time: events go in (submit(), io_done(), tick()), and after each the
// caller takes out what should be done next (next_io(), next_completed(), next_finished()) until
// there is nothing left. Whoever carries that out is a runtime (file_runtime.h), or a simulation.
//
// Opening is the exception: it reads and writes the metadata device itself, before there is an
// engine.
//
// No exception leaves an event. One in the midst of it would leave requests and I/O behind that
// nobody carries on: it ends the process instead, which what was flushed survives. The memory that
// a request of several blocks needs is taken before it enters; if there is none, it fails.
#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/device.h"
#include "base/result.h"
#include "caching/engine/cache_state.h"
#include "caching/engine/committer.h"
#include "caching/engine/data_path.h"
#include "caching/engine/explanation.h"
#include "caching/engine/migrator.h"
#include "caching/engine/options.h"
#include "caching/engine/status.h"
#include "caching/engine/verifier.h"

namespace dmcache {

// Something that is asked of the engine as a whole, and takes time. The caller's until it is
// finished.
struct control {
  void *client = nullptr; // whatever the caller knows it by
  result<> outcome{};     // once finished

  control *next = nullptr; // the engine's own
};

class cache_engine {
 public:
  struct devices {
    device &metadata; // outlives the engine
    sectors fast_size;
    sectors origin_size;
    bool origin_can_discard = false;
    cache_inspection inspect = {}; // of what is found, before anything is written
  };

  // Activates the cache. If that fails, the error says what is in the way, and the devices are as
  // they were.
  static result<std::unique_ptr<cache_engine>> open(const devices &on,
                                                    const engine_options &options, instant now);
  ~cache_engine();
  cache_engine(const cache_engine &) = delete;
  cache_engine &operator=(const cache_engine &) = delete;

  // Events. ---------------------------------------------------------------------------------------

  // A request, the engine's until it is completed. Any number may be under way.
  void submit(request &asked) noexcept;
  // An I/O that next_io() gave is done.
  void io_done(engine_io &io, std::error_code error) noexcept;
  // Time has come this far. To be told at next_tick(), and as often as is convenient.
  void tick(instant now) noexcept;

  // What is to be of a cache after it was cleaned.
  enum class afterwards : std::uint8_t {
    in_use,     // as before
    kept_clean, // to be shut down: nothing becomes dirty any more, from the call on
  };

  // Writes back every dirty block and waits for it. Fails if a block could not be; then the cache is
  // in use as before.
  void clean(control &call, afterwards intended = afterwards::in_use) noexcept;
  // Waits for requests under way and keeps new ones waiting, then has `change` made to the options
  // as they are by then, and takes what can change of them: mode, policy and its settings,
  // threshold, passdown, cleaning and how much may be dirty. Passthrough is refused while blocks are
  // dirty. If it fails, all is as it was.
  void reload(options_change change, control &call) noexcept;
  // As dmsetup sends it: "migration_threshold 4096", "cleaning on-request", "max_dirty 25%",
  // "<policy key> <value>", "invalidate_cblocks 1 5-9". What it sets stays set over a reload that
  // doesn't change that.
  void message(std::vector<std::string> words, control &call) noexcept;
  // Compares each of the blocks with the origin, in the background, and waits for it; the caller
  // names them, and leaves them alone meanwhile. Without clients' writes in between, a block that
  // was dirty and is to be cleared is clean at the end, durably. A reload in between leaves some
  // untried, which can be asked for again. Fails if the cache is being shut down, or its metadata
  // don't allow what is wanted, or a device could not be flushed before, which makes what is read
  // of it no proof: then blocks may be untried, and what the others say is true.
  void compare(std::span<compared_block> blocks, comparison_changes wanted, control &call) noexcept;
  // A clean shutdown: nothing new is accepted, what is under way ends, and everything is written.
  // Only if all of it worked the cache is cleanly shut down, and `outcome` good. Afterwards the
  // engine is of no use any more.
  void shut_down(control &call) noexcept;

  // What should happen next. ----------------------------------------------------------------------

  engine_io *next_io() noexcept {
    engine_io *next = state_.io.take();
    return next != nullptr || !commits_.has_to_begin() ? next : first_of_commit();
  }
  request *next_completed() { return state_.completed.pop(); }
  control *next_finished() { return finished_.pop(); }
  // When tick() is due even if nothing happens.
  instant next_tick() const {
    const instant regular = state_.now + tick_interval;
    return std::min(regular, commits_.due().value_or(regular));
  }

  engine_status status() const;
  // How large the cache should be, as far as can be told by now.
  size_advice advice();
  // What is known of the block in which this byte of the origin lies. Fails with failure::usage if it
  // lies beyond the end.
  result<block_explanation> explain(bytes offset) const;
  cache_counts counts() const;
  const cache_state &state() const { return state_; }

 private:
  static constexpr instant tick_interval = std::chrono::seconds{1};

  cache_engine();

  struct block_range {
    cache_block begin;
    cache_block end; // one past the last
  };

  bool may_enter(const request &asked) const;
  std::error_code refusal_of(const request &refused) const;
  void let_in(request &asked);
  void finish(control &call, result<> outcome);
  // Requests that arrive wait, and nothing new migrates, until as many calls of resume().
  void pause();
  void resume();
  bool is_quiet() const { return is_unoccupied() && !comparisons_.is_busy(); }
  // Nothing is done for clients, or by migrations.
  bool is_unoccupied() const {
    return data_.is_idle() && !migrations_.is_busy() && nr_invalidating_ == 0;
  }
  policy_geometry geometry() const;
  result<std::unique_ptr<policy>> make_policy(const engine_options &options) const;
  result<std::unique_ptr<policy>> successor(const engine_options &options) const;
  void load(policy &into, const std::optional<lazy_array<le32>> &hints, std::string_view hints_of,
            std::array<std::uint32_t, 3> version) const;

  void run() {
    if (data_.has_to_carry_on()) {
      data_.carry_on();
    }
    if (!state_.ready.empty() || !flows_.empty()) [[unlikely]] {
      run_flows();
    }
  }
  std::string state_of_cached(cache_block block) const; // explanation.cc
  std::string obstacle_to_promotion(origin_block block) const;

  engine_io *first_of_commit();
  void run_flows();
  void run_ready();
  void start(flow<> call);

  flow<> do_clean(control &call, afterwards intended);
  flow<> do_reload(options_change change, control &call);
  flow<> do_message(std::vector<std::string> words, control &call);
  flow<> do_compare(std::span<compared_block> blocks, comparison_changes wanted, control &call);
  result<> obstacle_to_comparing(comparison_changes wanted) const;
  flow<> clear_equal(std::span<compared_block> blocks);
  flow<> do_shut_down(control &call);
  flow<std::string> write_back_all(bool is_for_shutdown);
  flow<result<>> close_metadata();
  flow<result<>> write_shutdown();
  flow<result<>> leave_in_order();
  flow<> wait_for_quiet();
  std::uint64_t nr_failed_writebacks() const;
  result<std::vector<block_range>> ranges_of(const std::vector<std::string> &words) const;
  result<> set(const std::string &key, const std::string &value);
  result<> set_threshold(const std::string &value);
  result<> set_cleaning(const std::string &value);
  result<> set_max_dirty(const std::string &value);
  result<> set_of_policy(const std::string &key, const std::string &value);
  result<> change_options(engine_options options);
  void apply_dirty_limit();

  cache_state state_;
  committer commits_;
  migrator migrations_;
  verifier comparisons_;
  data_path data_;
  intrusive_queue<control> finished_;
  intrusive_queue<request> waiting_; // arrived while nothing is let in
  unsigned nr_pauses_ = 0;
  unsigned nr_invalidating_ = 0; // messages
  unsigned nr_reloading_ = 0;
  unsigned nr_cleaning_ = 0;
  unsigned nr_comparing_ = 0;
  bool is_shut_down_ = false;       // or about to be
  std::optional<result<>> closing_; // how that ended
  flow_event something_ended_;
  instant last_arrival_{};
  bool has_arrived_ = false; // since the last tick
  flow_set flows_;
};

} // namespace dmcache
