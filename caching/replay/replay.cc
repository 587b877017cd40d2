#include "caching/replay/replay.h"

#include <algorithm>
#include <new>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "base/mutex.h"
#include "base/worker_threads.h"
#include "caching/replay/lru_cache.h"
#include "caching/replay/replayed_cache.h"

namespace dmcache {
namespace {

constexpr std::uint64_t max_cache_blocks = std::uint64_t{1} << 26;
constexpr std::uint64_t max_accesses = std::uint64_t{1} << 33;
constexpr std::size_t requests_at_a_time = std::size_t{1} << 16; // between signs of progress

template <typename Cache, typename Progress>
replay_counts run_through(Cache &cache, std::span<const trace_request> requests,
                          Progress progressed) {
  while (!requests.empty()) {
    const auto some = requests.first(std::min(requests.size(), requests_at_a_time));
    for (const trace_request &each : some) {
      cache.request(each);
    }
    requests = requests.subspan(some.size());
    progressed(some.size());
  }
  return cache.counts();
}

template <typename Progress>
result<replay_counts> replay_with(std::span<const trace_request> requests,
                                  const replayed_policy &chosen, const policy_geometry &geometry,
                                  const replay_settings &settings, Progress progressed) {
  if (chosen.name == lru_cache::name) {
    lru_cache cache{geometry, settings.mode, settings.delay};
    return run_through(cache, requests, progressed);
  }
  auto made = with_settings(make_policy(chosen.name, geometry), chosen.settings);
  if (!made) {
    return std::unexpected{made.error()};
  }
  replayed_cache cache{std::move(*made), geometry, settings.mode, settings.delay};
  return run_through(cache, requests, progressed);
}

// One combination, and where its outcome belongs.
struct replay_task {
  const replayed_policy *chosen;
  policy_geometry geometry;
  replay_counts *into;
};

// What the threads tell the one that waits for them.
class replay_progress {
 public:
  void advance(std::uint64_t nr_requests) EXCLUDES(mutex_) {
    const mutex_guard telling{mutex_};
    nr_done_ += nr_requests;
    changed_.notify_one();
  }
  void end(result<> outcome) EXCLUDES(mutex_) {
    const mutex_guard telling{mutex_};
    ++nr_ended_;
    if (!outcome && outcome_) {
      outcome_ = std::move(outcome);
    }
    changed_.notify_one();
  }
  bool has_failed() EXCLUDES(mutex_) {
    const mutex_guard looking{mutex_};
    return !outcome_;
  }
  // Shows how far all have come until so many tasks have ended. Returns the first failure.
  result<> wait_for(std::size_t nr_tasks, progress &watcher) EXCLUDES(mutex_) {
    const mutex_guard waiting{mutex_};
    while (nr_ended_ < nr_tasks) {
      watcher.advance(std::exchange(nr_done_, 0));
      changed_.wait(mutex_);
    }
    return outcome_;
  }

 private:
  mutex mutex_;
  condition changed_;
  std::uint64_t nr_done_ GUARDED_BY(mutex_) = 0; // requests that were not shown yet
  std::size_t nr_ended_ GUARDED_BY(mutex_) = 0;
  result<> outcome_ GUARDED_BY(mutex_);
};

result<> carry_out(const replay_task &task, std::span<const trace_request> requests,
                   const replay_settings &settings, replay_progress &told) {
  try {
    auto counts = replay_with(requests, *task.chosen, task.geometry, settings,
                              [&](std::size_t some) { told.advance(some); });
    if (!counts) {
      return std::unexpected{counts.error()};
    }
    *task.into = *counts;
    return {};
  } catch (const std::bad_alloc &) {
    return fail(
        failure::environment,
        fmt::format("there is not enough memory for {} cache blocks: make the blocks larger, "
                    "or the cache smaller",
                    task.geometry.nr_cache_blocks));
  }
}

result<std::uint64_t> number_of_blocks(const replayed_size &size, bytes block_size,
                                       const footprint &touched) {
  const auto share = static_cast<double>(touched.nr_touched) * size.percent / 100;
  const std::uint64_t nr_blocks =
      size.length == bytes{} ? std::max<std::uint64_t>(1, static_cast<std::uint64_t>(share))
                             : size.length.value() / block_size.value();
  if (nr_blocks == 0) {
    return fail(failure::usage, fmt::format("a cache of {} bytes has no room for a block of {}",
                                            size.length, block_size));
  }
  if (nr_blocks > max_cache_blocks) {
    return fail(
        failure::usage,
        fmt::format("{} cache blocks of {} bytes are more than the {} that can be replayed: "
                    "make the blocks larger, or the cache smaller",
                    nr_blocks, block_size, max_cache_blocks));
  }
  return nr_blocks;
}

// Room for the outcomes of one size of blocks.
result<replay_of_blocks> prepare(const trace &replayed, const replay_plan &plan, bytes block_size) {
  replay_of_blocks prepared{block_size, measure(replayed.requests, block_size), {}};
  if (prepared.touched.nr_accesses > max_accesses) {
    return fail(
        failure::usage,
        fmt::format("the requests touch blocks of {} bytes {} times, which is more than the "
                    "{} that can be replayed: make the blocks larger",
                    block_size, prepared.touched.nr_accesses, max_accesses));
  }
  for (const replayed_size &size : plan.cache_sizes) {
    const auto nr_blocks = number_of_blocks(size, block_size, prepared.touched);
    if (!nr_blocks) {
      return std::unexpected{nr_blocks.error()};
    }
    prepared.sizes.push_back({*nr_blocks, std::vector<replay_counts>(plan.policies.size())});
  }
  return prepared;
}

std::vector<replay_task> tasks_of(const replay_plan &plan, std::vector<replay_of_blocks> &made) {
  std::vector<replay_task> tasks;
  for (replay_of_blocks &blocks : made) {
    for (replay_of_size &size : blocks.sizes) {
      for (std::size_t i = 0; i < plan.policies.size(); ++i) {
        tasks.push_back({&plan.policies[i],
                         {size.nr_cache_blocks, blocks.touched.nr_origin_blocks,
                          sectors{blocks.block_size.value() / sector_size}},
                         &size.counts[i]});
      }
    }
  }
  return tasks;
}

} // namespace

result<> check_replayed_policy(const replayed_policy &chosen) {
  if (chosen.name == lru_cache::name) {
    return chosen.settings.empty()
               ? result<>{}
               : fail(failure::usage,
                      fmt::format("lru has no setting '{}'", chosen.settings.front().first));
  }
  constexpr policy_geometry any{1, 1, sectors{64}};
  const auto made = with_settings(make_policy(chosen.name, any), chosen.settings);
  if (!made && !is_policy(chosen.name)) {
    return fail(failure::usage, made.error().message + ", or lru, to compare with");
  }
  return made ? result<>{} : std::unexpected{made.error()};
}

result<replay_counts> replay_one(std::span<const trace_request> requests,
                                 const replayed_policy &chosen, const policy_geometry &geometry,
                                 const replay_settings &settings) {
  return replay_with(requests, chosen, geometry, settings, [](std::size_t) {});
}

result<std::vector<replay_of_blocks>> replay_all(const trace &replayed, const replay_plan &plan,
                                                 progress &watcher) {
  std::vector<replay_of_blocks> made;
  for (const bytes block_size : plan.block_sizes) {
    auto prepared = prepare(replayed, plan, block_size);
    if (!prepared) {
      return std::unexpected{prepared.error()};
    }
    made.push_back(std::move(*prepared));
  }
  const std::vector<replay_task> tasks = tasks_of(plan, made);
  replay_progress told; // outlives the threads
  auto threads = worker_threads::start(std::max(1U, std::thread::hardware_concurrency()));
  if (!threads) {
    return std::unexpected{threads.error()};
  }
  watcher.begin("replaying", tasks.size() * replayed.requests.size());
  for (const replay_task &each : tasks) {
    (*threads)->add([&] {
      told.end(told.has_failed() ? result<>{}
                                 : carry_out(each, replayed.requests, plan.settings, told));
    });
  }
  if (auto done = told.wait_for(tasks.size(), watcher); !done) {
    return std::unexpected{done.error()};
  }
  watcher.clear();
  return made;
}

} // namespace dmcache
