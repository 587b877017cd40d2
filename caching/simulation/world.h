// A cache on simulated devices, in simulated time, whose answers are compared with what is allowed.
//
// What is not is a violation: the first one is kept, and from then on nothing happens any more.
#pragma once

#include <array>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/aligned_buffer.h"
#include "caching/engine/byte_request.h"
#include "caching/engine/cache_engine.h"
#include "caching/simulation/data_model.h"
#include "caching/simulation/io_carrier.h"
#include "caching/simulation/media.h"
#include "caching/simulation/recycled.h"
#include "caching/simulation/sector_parts.h"

namespace dmcache {

struct world_options {
  std::uint64_t seed = 0;
  sectors fast_size{std::uint64_t{8} * 64};
  sectors origin_size{std::uint64_t{24} * 64 + 8};
  std::uint64_t nr_metadata_blocks = 64;
  simulated_device::options metadata{}; // of the devices
  simulated_device::options fast{};
  simulated_device::options origin{};
  bool origin_can_discard = true;
  // Data are stored whole; else only the stamp of each sector.
  bool has_whole_sectors = true;
  // Where in a sector requests of bytes can begin and end (sector_parts); if any, data are whole.
  std::vector<std::size_t> cuts{};
  bool is_verbose = false;
};

// What has happened so far.
struct world_totals {
  std::uint64_t requests = 0;
  std::uint64_t openings = 0;
  std::uint64_t refusals = 0;
  std::uint64_t shutdowns = 0; // clean ones
  std::uint64_t power_cuts = 0;
  std::uint64_t kills = 0;
  std::uint64_t promotions = 0;
  std::uint64_t demotions = 0;
  std::uint64_t writebacks = 0;
  std::uint64_t commits = 0;
  std::uint64_t failed_ios = 0;
  std::uint64_t failed_metadata = 0; // caches that were stopped with those
  std::uint64_t failed_allocations = 0;
  std::uint64_t digest = 0; // of all I/O and all answers
};

class world {
 public:
  // With so many the metadata device is never full.
  static constexpr std::uint64_t enough_metadata_blocks = 64;
  // No request is longer.
  static constexpr std::uint64_t max_request = 512; // sectors

  explicit world(const world_options &how);
  ~world();
  world(const world &) = delete;
  world &operator=(const world &) = delete;

  // The cache's life. -----------------------------------------------------------------------------

  // Opens the cache, on devices of these sizes, if they are given. If that fails, the metadata
  // device has no faults any more.
  result<> open(const engine_options &how, std::optional<sectors> fast_size = {},
                std::optional<sectors> origin_size = {});
  bool is_open() const { return engine_ != nullptr; }
  // Waits for it to end. Afterwards the cache isn't open, and the devices have no faults any more.
  result<> shut_down();
  // The power is cut, and comes back; at once, or after so many more events.
  void cut_power();
  void cut_power_in(std::uint64_t events) { events_to_cut_ = events; }
  // The process that runs the cache is killed. What it had asked for is done still, and the devices
  // go on: what was not flushed may be lost as before, by the next power cut.
  void kill();
  // It was cut by cut_power_in() or the metadata device, and not by cut_power().
  bool is_power_cut() const { return is_power_cut_; }
  // So many allocations in the engine's events succeed from now on, while the cache is open, and then
  // one fails. That fails a request which it was for, or is the end of the process.
  void fail_allocation_after(std::uint64_t nr_allocations) { nr_allocations_ = nr_allocations; }
  // The power was cut as above, or the process has ended for want of memory: take_down() is due.
  bool is_down() const { return is_power_cut_ || is_process_over_; }
  // cut_power() or kill(), whichever is due.
  void take_down();
  // Clears NEEDS_CHECK on the metadata of a cache that isn't open.
  void mend();
  // What has been found on the devices when the cache was opened last, or stopped.
  const media_contents &media() const { return media_; }

  // Requests. -------------------------------------------------------------------------------------

  using operation = request::operation;
  // Any number may be under way.
  void submit(operation op, sector_range where, bool fua = false);
  // Of the bytes of these parts of sectors.
  void submit_bytes(operation op, sector_range parts, bool fua = false);
  const sector_parts &parts() const { return parts_; }
  // Those of bytes count as two.
  std::size_t nr_under_way() const { return nr_under_way_; }
  // The same, waited for.
  std::error_code perform(operation op, sector_range where, bool fua = false);
  std::error_code read(sector_range where) { return perform(operation::read, where); }
  std::error_code write(sector_range where) { return perform(operation::write, where); }
  std::error_code flush() { return perform(operation::flush, {}); }

  // Controls; see cache_engine. -------------------------------------------------------------------

  result<> clean(cache_engine::afterwards intended = cache_engine::afterwards::in_use);
  result<> reload(const engine_options &how);
  result<> message(const std::vector<std::string> &words);
  // What came out, if it succeeded.
  result<std::vector<compared_block>> compare(const std::vector<origin_block> &blocks,
                                              comparison_changes wanted);
  // Without waiting for them.
  void begin_clean(cache_engine::afterwards intended = cache_engine::afterwards::in_use);
  void begin_reload(const engine_options &how);
  void begin_message(const std::vector<std::string> &words);
  void begin_invalidate(cache_block begin, cache_block end);
  void begin_compare(const std::vector<origin_block> &blocks, comparison_changes wanted);
  void begin_shut_down();

  // Time. -----------------------------------------------------------------------------------------

  instant now() const { return now_; }
  // The next event: an I/O ends, or time passes. False when there is no power, or a violation.
  bool step();
  // Goes on until all requests and controls have ended. False as above.
  bool finish();
  // Goes on until no I/O is in flight either.
  bool settle();
  // Goes on for so long.
  bool advance(instant by);

  // Reads all of the origin.
  void read_everything();
  // Somebody else writes to a sector of a device.
  void overwrite(cache_device on, std::uint64_t sector, std::span<std::byte> data);
  // Of a settled cache: what is clean is the same on both devices.
  void compare_clean_blocks();

  // What went wrong. ------------------------------------------------------------------------------

  bool is_over() const { return violation_.has_value(); }
  const std::optional<std::string> &violation() const { return violation_; }
  void violate(const std::string &text);
  template <typename... Args> void note(fmt::format_string<Args...> text, Args &&...args) {
    if (how_.is_verbose) {
      fmt::print(stderr, "{:12} {}\n", now_.count(),
                 fmt::format(text, std::forward<Args>(args)...));
    }
  }

  world_totals totals() const {
    world_totals so_far = totals_;
    so_far.digest = carrier_.digest().value();
    return so_far;
  }

  cache_engine &engine() { return *engine_; }
  simulated_device &device(cache_device on) { return *devices_[static_cast<std::size_t>(on)]; }
  io_carrier &carrier() { return carrier_; }
  data_model &model() { return model_; }
  std::uint64_t nr_origin_sectors() const { return origin_size_.value(); }

 private:
  // Of the fast device and the origin, by operation.
  using failure_counts = std::array<std::uint64_t, 5>;

  struct byte_client;
  struct client_request {
    request inner{};
    aligned_buffer data{max_request * sector_size};
    sector_range where;
    sector_range parts; // that it changes, if it does
    byte_client *step_of = nullptr;
    bool is_under_way = false;
    change_id change = 0;             // if it is one
    change_id before = 0;             // what was submitted later has this number or a higher one
    std::uint64_t submitted_at = 0;   // in the model's time
    metadata_mode mode{};             // when it was submitted
    std::uint64_t failed_flushes = 0; // that the engine knew of, until it let it in
    failure_counts failures{};        // of the devices, until then
    std::optional<std::error_code> *told = nullptr; // of its outcome
  };
  struct byte_client { // of bytes
    request wanted{};
    aligned_buffer data{max_request * sector_size};
    sector_range parts;
    std::optional<byte_request> steps{}; // while it is under way
    std::optional<sectors> held{};
    bool is_sector_read = false;  // the one that is held
    std::error_code failure{};    // of a step
    change_id before = 0;         // for the last step
    std::uint64_t nr_changed = 0; // parts
  };
  // Whoever goes on when nothing is in his way any more: one of the two.
  struct held_up {
    client_request *asked = nullptr;
    byte_client *bytes = nullptr;
  };
  struct client_control {
    control inner{};
    bool is_done = false;
    bool is_reload = false;
    bool is_clean = false;
    bool is_to_stay_clean = false;
    cache_block invalidated_begin; // if it succeeds
    cache_block invalidated_end;
    std::vector<compared_block> compared;
    std::uint64_t reloads_before = 0;
  };

  // Opening and stopping.
  std::optional<std::string> expected_refusal(const engine_options &how, sectors fast_size,
                                              sectors origin_size) const;
  void check_opened();
  void stop();
  bool vouches_for_dirty_bits() const;
  void expect_clean(bool is_exact);
  void forget_engine();
  bool look_at_metadata();
  void inspect_media();
  void inspect_sectors(bool are_discards_kept);
  bool differs_wrongly(std::uint64_t sector, std::span<const std::byte> on_fast,
                       std::span<const std::byte> on_origin) const;
  void compare_shutdown(const cache_state &last);
  std::uint64_t nr_changes() const;
  std::uint64_t nr_failed() const;

  // Running.
  void pump();
  void begin_ios();
  void end_next_io();
  bool is_unhindered_hit(const client_request &asked) const;
  void let_in(client_request &held);
  void completed(client_request &asked);
  void finished(client_control &call);
  std::optional<std::string> fault_of_comparison(const client_control &call) const;
  std::optional<std::string> fault_of(const client_request &asked);
  std::optional<std::string> fault_of_shortage(const client_request &asked);
  void owe_failure(const client_request &asked);
  bool is_failure_justified(const client_request &asked) const;
  bool is_durability_denied(const client_request &asked) const;
  bool is_invalidation_denied(const client_request &asked) const;
  bool has_failed_since(const client_request &asked, engine_io::operation op) const;
  void look_at_mode();
  void look_at_withdrawal();
  void look_at_dirty();
  bool is_cleaning_held_off() const;
  void look_at_background(const engine_io &begun);
  std::optional<std::string> fault_of_data(std::span<const std::byte> data, sector_range parts,
                                           change_id before);
  std::optional<std::string> fault_of_discard(const client_request &asked) const;
  client_control &begin_control();
  void send_message(std::vector<std::string> words, client_control &call);
  // An event comes to the engine, unless its process is no more.
  template <typename Event> void enter(Event event) {
    look_at_withdrawal();
    if (!nr_allocations_ && !is_process_over_) [[likely]] {
      event();
    } else if (!is_process_over_) {
      enter_short_of_memory(event);
    }
  }
  void enter_short_of_memory(const std::function<void()> &event);
  result<> finish(client_control &call);
  void arrive(client_request &asked);
  void begin_change(client_request &asked, data_model::change_kind kind, sector_range parts);
  void send(client_request &asked);
  void go_on(byte_client &asked);
  void go_on_with_one();
  bool hold(byte_client &asked, std::optional<sectors> wanted);
  void begin_step(byte_client &asked, const request &step, sector_range parts_of_sector);
  void ended(client_request &step);
  void finished(byte_client &asked);
  void put_stamps(std::span<std::byte> data, sector_range parts, change_id change) const;

  world_options how_;
  sector_parts parts_;
  chance chance_;
  instant now_{std::chrono::hours{1}};
  sectors fast_size_;
  sectors origin_size_;
  io_carrier::device_set devices_;
  io_carrier carrier_;
  data_model model_;
  media_contents media_;
  bool was_formatted_ = false; // durably
  engine_options options_;
  std::unique_ptr<cache_engine> engine_;
  std::uint64_t changes_at_open_ = 0;
  std::uint64_t failed_at_open_ = 0;
  bool is_overwritten_ = false; // by somebody else
  failure_counts failures_{};
  std::uint64_t nr_dirty_ = 0;       // when it was looked at last
  std::uint64_t max_dirty_ = 0;      // and so many might be
  std::uint64_t nr_may_differ_ = 0;  // blocks, for each of which something failed
  std::size_t nr_cleans_ = 0;        // that are not finished
  std::size_t nr_keeping_clean_ = 0; // of these, and of those that have succeeded
  bool is_background_over_ = false;  // nothing migrates that was begun before cleaning was held off
  std::uint64_t passthrough_at_ = 0; // when that was the mode last, in the model's time
  std::optional<instant> not_withdrawn_at_; // when last there were blocks that could not be
  bool is_shutting_down_ = false;
  bool has_failed_flush_ = false;            // since the cache was opened
  bool has_untold_failure_ = false;          // and no client has heard of it
  std::optional<instant> told_at_;           // when one has
  std::optional<std::uint64_t> untold_loss_; // by that, of what had ended then
  bool is_power_cut_ = false;
  bool is_process_over_ = false;                // for want of memory
  std::optional<std::uint64_t> nr_allocations_; // of the engine's, before one fails
  bool is_memory_missing_ = false;              // one has failed, and no request has since
  std::optional<std::uint64_t> events_to_cut_;
  std::uint64_t nr_idle_ticks_ = 0; // in a row, with something under way, but no I/O
  std::size_t nr_under_way_ = 0;
  std::size_t nr_controls_ = 0; // not finished
  std::size_t nr_reloads_ = 0;  // of these
  std::uint64_t nr_reloads_begun_ = 0;
  std::vector<client_request *> waiting_; // arrived during those
  recycled<client_request> requests_;
  recycled<byte_client> byte_clients_;
  sector_locks locks_;
  std::vector<held_up> locked_out_; // by those
  std::vector<held_up> going_on_;
  std::deque<client_control> controls_;
  world_totals totals_;
  std::optional<std::string> violation_;
};

} // namespace dmcache
