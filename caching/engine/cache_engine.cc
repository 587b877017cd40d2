#include "caching/engine/cache_engine.h"

#include <algorithm>
#include <utility>

namespace dmcache {
namespace {

constexpr instant idle_after = std::chrono::seconds{1};
constexpr std::string_view policy_of_new_caches = "sift";
constexpr std::string_view policy_of_the_kernel = "smq";

std::uint64_t seconds_of(instant time) {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(time).count());
}

hit_totals totals_of(const cache_statistics &counted) {
  return {counted.read_hits, counted.read_misses, counted.write_hits, counted.write_misses};
}

// As the options say: of this name, and with these settings.
result<std::unique_ptr<policy>> policy_of(const engine_options &options,
                                          const policy_geometry &geometry) {
  return with_settings(options.make_policy(options.policy, geometry), options.policy_settings);
}

// The options, with what they leave open as the metadata say, or as is usual for new ones. Metadata
// that name no policy of ours get the kernel's, whose they are most likely.
result<engine_options> completed(device &metadata, sectors fast_size, engine_options options) {
  if (options.block_size != sectors{} && !options.policy.empty()) {
    return options;
  }
  const auto is_new = holds_nothing(metadata);
  if (!is_new) {
    return std::unexpected{is_new.error()};
  }
  sectors block_size = usual_block_size(fast_size);
  std::string policy{policy_of_new_caches};
  if (!*is_new) {
    const auto found = read_superblock(metadata);
    if (!found) {
      return std::unexpected{found.error()};
    }
    block_size = sectors{found->data_block_size};
    policy = is_policy(found->policy()) ? found->policy() : policy_of_the_kernel;
  }
  if (options.block_size == sectors{}) {
    options.block_size = block_size;
  }
  if (options.policy.empty()) {
    options.policy = policy;
  }
  return options;
}

// Of the cache that is to be opened. What online_metadata refuses may have any.
policy_geometry geometry_of(const cache_engine::devices &on, sectors block_size) {
  if (!is_legal_data_block_size(block_size.value()) || on.fast_size < block_size) {
    return {1, 1, usual_block_size(on.fast_size)};
  }
  return {on.fast_size.value() / block_size.value(), on.origin_size.value() / block_size.value(),
          block_size};
}

} // namespace

cache_engine::cache_engine()
    : commits_{state_,
               [this](const committer::outcome &result) { migrations_.commit_ended(result); }},
      migrations_{state_, commits_}, comparisons_{state_, commits_, migrations_},
      data_{state_, migrations_, commits_}, something_ended_{state_.ready} {}

cache_engine::~cache_engine() = default;

result<std::unique_ptr<cache_engine>> cache_engine::open(const devices &on,
                                                         const engine_options &given, instant now) {
  if (!given.may_format) {
    if (const auto found = read_superblock(on.metadata); !found) {
      return std::unexpected{found.error()};
    }
  }
  const auto completed_options = completed(on.metadata, on.fast_size, given);
  if (!completed_options) {
    return std::unexpected{completed_options.error()};
  }
  const engine_options &options = *completed_options;
  // What is wrong with the policy is told before anything is written. It is made again when the
  // memory that opening takes is free, which it can use then.
  if (auto tried = policy_of(options, geometry_of(on, options.block_size)); !tried) {
    return std::unexpected{tried.error()};
  }
  auto opened =
      online_metadata::open(on.metadata, {.block_size = options.block_size,
                                          .fast_size = on.fast_size,
                                          .origin_size = on.origin_size,
                                          .format_version = options.metadata_version,
                                          .policy = options.policy,
                                          .read_only = options.read_only,
                                          .is_passthrough = options.mode == cache_mode::passthrough,
                                          .is_exact = options.tracking == dirty_tracking::exact,
                                          .inspect = on.inspect});
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  std::unique_ptr<cache_engine> engine{new cache_engine};
  cache_state &state = engine->state_;
  state.options = options;
  state.options.block_size = opened->block_size;
  state.block_size = static_cast<std::uint32_t>(to_bytes(opened->block_size).value());
  state.origin_size = to_bytes(on.origin_size);
  state.nr_origin_blocks = state.origin_size.value() / state.block_size;
  state.origin_can_discard = on.origin_can_discard;
  state.metadata = std::move(opened->metadata);
  state.mappings = std::move(opened->mappings);
  state.discards = std::move(opened->discards);
  state.statistics = opened->statistics;
  engine->apply_dirty_limit();
  state.is_exact = state.metadata->is_exact();
  state.mode_of_metadata = options.read_only ? metadata_mode::untouched : metadata_mode::write;
  if (!options.read_only) { // who had the cache before may have been killed
    state.flushes.wrote(cache_device::fast);
    state.flushes.wrote(cache_device::origin);
  }
  state.now = now;
  engine->last_arrival_ = now;
  auto made = engine->make_policy(options);
  if (!made) {
    return std::unexpected{made.error()};
  }
  engine->load(**made, opened->hints, opened->policy, opened->policy_version);
  state.policy = std::move(*made);
  state.policy->tick(seconds_of(now));
  state.advisor = std::make_unique<size_advisor>(engine->geometry(), totals_of(state.statistics));
  state.advisor->follow(*state.policy);
  engine->commits_.start();
  return engine;
}

// Tells a new policy what is cached. Hints are believed that one of the same name and major version
// gave.
void cache_engine::load(policy &into, const std::optional<lazy_array<le32>> &hints,
                        std::string_view hints_of, std::array<std::uint32_t, 3> version) const {
  const bool are_believed =
      hints && hints_of == into.name() && version.front() == into.version().front();
  for (std::uint64_t i = 0; i < state_.mappings->nr_cache_blocks(); ++i) {
    const cache_block block{i};
    if (!state_.mappings->is_mapped(block)) {
      continue;
    }
    const auto hint = are_believed && i < hints->size() ? std::optional<std::uint32_t>{(*hints)[i]}
                                                        : std::nullopt;
    into.load(block, state_.mappings->origin_of(block), state_.mappings->is_dirty(block), hint);
  }
}

result<std::unique_ptr<policy>> cache_engine::make_policy(const engine_options &options) const {
  return policy_of(options, geometry());
}

policy_geometry cache_engine::geometry() const {
  return {.nr_cache_blocks = state_.mappings->nr_cache_blocks(),
          .nr_origin_blocks = state_.nr_origin_blocks,
          .block_size = state_.options.block_size};
}

void cache_engine::submit(request &asked) noexcept {
  if (!std::exchange(has_arrived_, true)) {
    migrations_.set_idle(false);
  }
  if (!may_enter(asked)) [[unlikely]] {
    asked.outcome = refusal_of(asked);
    state_.completed.push(asked);
  } else if (nr_pauses_ != 0) [[unlikely]] {
    waiting_.push(asked);
  } else {
    let_in(asked);
  }
  run();
}

bool cache_engine::may_enter(const request &asked) const {
  if (is_shut_down_) {
    return false;
  }
  if (asked.op == request::operation::flush) {
    return true;
  }
  const std::uint64_t size = state_.origin_size.value();
  return (asked.offset.value() | asked.length.value()) % sector_size == 0 &&
         asked.length.value() != 0 && asked.length.value() <= size &&
         asked.offset.value() <= size - asked.length.value() &&
         (!state_.options.read_only || !asked.is_write());
}

// The error for a request that may_enter() rejected.
std::error_code cache_engine::refusal_of(const request &refused) const {
  if (is_shut_down_) {
    return std::make_error_code(std::errc::no_such_device);
  }
  return std::make_error_code(state_.options.read_only && refused.is_write()
                                  ? std::errc::read_only_file_system
                                  : std::errc::invalid_argument);
}

void cache_engine::let_in(request &asked) {
  if (asked.op == request::operation::flush) {
    asked.outcome = {};
    commits_.make_durable(asked);
  } else {
    data_.submit(asked);
  }
}

void cache_engine::io_done(engine_io &io, std::error_code error) noexcept {
  if (io.op != engine_io::operation::read && io.op != engine_io::operation::flush) {
    state_.flushes.wrote(io.on);
  }
  io.on_done(io.context, io, error);
  run();
}

engine_io *cache_engine::first_of_commit() {
  commits_.begin();
  run();
  return state_.io.take();
}

// What waits for something to end looks when all else has come as far as it can.
void cache_engine::run_flows() {
  run_ready();
  if (!flows_.empty()) {
    something_ended_.happen();
    run_ready();
  }
}

void cache_engine::run_ready() {
  while (!state_.ready.empty()) {
    state_.ready.run_one();
    data_.carry_on();
  }
}

void cache_engine::tick(instant now) noexcept {
  const bool is_next_second = seconds_of(now) != seconds_of(state_.now);
  state_.now = now;
  if (has_arrived_ || !is_unoccupied()) {
    last_arrival_ = now;
    has_arrived_ = false;
  }
  migrations_.set_idle(now - last_arrival_ >= idle_after);
  if (is_next_second && !is_shut_down_) { // its hints are being written, which are of one time
    if (const auto times = state_.origin_reads.so_far()) {
      state_.policy->measured(*times);
      state_.advisor->measured(*times);
    }
    state_.policy->tick(seconds_of(now));
    state_.advisor->tick(seconds_of(now), totals_of(state_.statistics));
  }
  commits_.tick();
  migrations_.work();
  run();
}

cache_counts cache_engine::counts() const {
  const migrator::counts &migrated = migrations_.so_far();
  const committer::counts &committed = commits_.so_far();
  return {.demotions = migrated.demotions,
          .promotions = migrated.promotions,
          .writebacks = committed.settled,
          .fast_errors_served = data_.nr_fast_errors_served(),
          .migration_errors = migrated.errors + committed.unsettled,
          .commits = committed.commits};
}

size_advice cache_engine::advice() {
  state_.advisor->tick(seconds_of(state_.now), totals_of(state_.statistics));
  return state_.advisor->advice();
}

engine_status cache_engine::status() const {
  engine_status now;
  now.origin_size = sectors{state_.origin_size.value() / sector_size};
  now.metadata_used = state_.metadata->nr_used_blocks();
  now.metadata_total = state_.metadata->nr_blocks();
  now.metadata_version = state_.metadata->version();
  now.block_size = state_.options.block_size;
  now.cache_used = state_.mappings->nr_mapped();
  now.cache_total = state_.mappings->nr_cache_blocks();
  now.statistics = state_.statistics;
  now.counts = counts();
  now.dirty = state_.mappings->nr_dirty();
  now.max_dirty = state_.max_dirty;
  now.cleaning = state_.options.cleaning;
  now.migrating = migrations_.nr_migrating();
  now.mode = state_.mode();
  now.discard_passdown = state_.options.discard_passdown;
  now.migration_threshold = state_.options.migration_threshold;
  now.policy = state_.policy->name();
  now.policy_settings = state_.policy->settings();
  now.mode_of_metadata = state_.mode_of_metadata;
  now.tracking = state_.is_exact ? dirty_tracking::exact : dirty_tracking::at_shutdown;
  now.is_read_only = state_.mode_of_metadata != metadata_mode::write;
  now.needs_check = state_.metadata->is_needs_check();
  return now;
}

void cache_engine::finish(control &call, result<> outcome) {
  call.outcome = std::move(outcome);
  finished_.push(call);
}

void cache_engine::pause() {
  ++nr_pauses_;
  state_.migrations_allowed = false;
}

void cache_engine::resume() {
  if (--nr_pauses_ != 0) {
    return;
  }
  state_.migrations_allowed = true;
  auto waiting = waiting_.take_all();
  while (request *next = waiting.pop()) {
    let_in(*next);
  }
  migrations_.work();
}

flow<> cache_engine::wait_for_quiet() {
  while (!is_quiet()) {
    co_await something_ended_;
  }
}

} // namespace dmcache
