// Measures the engine on real files: bench_engine [FOLDER [ROUNDS]]. FOLDER takes sparse files with
// 1 GB in them. Prints what was measured beside its bar, and exits with 1 if a bar is missed.
// bench_engine --replay FOLDER TRACE... compares policies instead (slow_origin.h).
//
// Others use the machine as well, so reads of the raw fast file and hits through the engine take
// turns, in short rounds, and medians are compared.

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench/bench_cache.h"
#include "bench/commit_load.h"
#include "bench/io_loops.h"
#include "bench/report.h"
#include "bench/slow_origin.h"
#include "caching/sizing/size_advisor.h"

namespace dmcache {
namespace {

using namespace std::chrono_literals;
using seconds = std::chrono::duration<double>;

constexpr std::array<std::size_t, 3> depths{1, 16, 32};
constexpr auto round_length = 300ms;
constexpr auto latency_round_length = 1s;
constexpr std::uint64_t nr_counted = 20000; // hits, of which the instructions are counted
constexpr double rate_bar = 0.95;
constexpr double instruction_bar = 800;
constexpr double memory_bar = 32;           // bytes for a cache block
constexpr double open_bar = 0.5;            // seconds
constexpr double close_bar = 0.5;           // seconds
constexpr double latency_bar = 2;           // times the quiet one
constexpr std::uint64_t nr_first = 4000;    // writes
constexpr std::uint64_t nr_written = 10000; // blocks
constexpr auto steady_length = 2s;
constexpr double shared_commit_bar = 20; // writes
constexpr double advisor_bar = 1;        // percent of a hit's time
constexpr double dirty_bar = 1.5;        // percent of a million blocks, 1 % of which was written to

[[noreturn]] void give_up(const std::string &why) {
  fmt::print(stderr, "bench_engine: {}\n", why);
  std::exit(2);
}

double resident_bytes() {
  std::uint64_t total = 0;
  std::uint64_t resident = 0;
  std::ifstream{"/proc/self/statm"} >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

std::unique_ptr<file_runtime>
open_runtime(const bench_cache &cache, const std::function<void(engine_options &)> &choose = {}) {
  engine_options options;
  options.may_format = false;
  if (choose) {
    choose(options);
  }
  auto opened = file_runtime::open(cache.paths(), options, [](request &done) {
    static_cast<request_client *>(done.client)->completed(done);
  });
  if (!opened) {
    give_up(opened.error().message);
  }
  return std::move(*opened);
}

void read_only(engine_options &options) {
  options.read_only = true;
}

void close_runtime(std::unique_ptr<file_runtime> runtime) {
  if (const auto closed = runtime->close(); !closed) {
    give_up(closed.error().message);
  }
}

void clean(file_runtime &runtime) {
  if (const auto cleaned = runtime.clean(); !cleaned) {
    give_up(cleaned.error().message);
  }
}

file_descriptor open_raw(const std::string &path) {
  file_descriptor file{::open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)};
  if (!file.is_open()) {
    give_up(fmt::format("cannot open {} without the page cache", path));
  }
  return file;
}

// Does `work` in a process of its own, so that its memory doesn't mix with that of other
// measurements. The value is what `work` returns.
bool in_a_child(const std::function<bool()> &work) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    const bool is_fine = work();
    std::fflush(nullptr);
    ::_exit(is_fine ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status) > 1) {
    give_up("a part of it failed");
  }
  return WEXITSTATUS(status) == 0;
}

bool measure_memory(const bench_cache &cache) {
  const double before = resident_bytes();
  auto runtime = open_runtime(cache);
  const double opened = resident_bytes();
  hit_loop hits{*runtime, cache.origin_offsets()};
  hits.run({.depth = 32, .count = cache.origin_offsets().size()});
  const double used = resident_bytes();
  close_runtime(std::move(runtime));
  const auto per_block = [&](double bytes) {
    return (bytes - before) / static_cast<double>(bench_cache::nr_cache_blocks);
  };
  bool is_fine = report("memory, opened", per_block(opened), "bytes/block", memory_bar);
  is_fine &= report("memory, in use", per_block(used), "bytes/block", memory_bar);
  return is_fine;
}

bool measure_opening(const bench_cache &cache, int rounds) {
  std::vector<double> openings;
  std::vector<double> closings;
  for (int i = 0; i < rounds; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    auto runtime = open_runtime(cache);
    const auto opened = std::chrono::steady_clock::now();
    openings.push_back(seconds{opened - begun}.count());
    hit_loop hits{*runtime, cache.origin_offsets()};
    hits.run({.writes = true, .depth = 32, .count = 1000});
    const auto used = std::chrono::steady_clock::now();
    close_runtime(std::move(runtime));
    closings.push_back(seconds{std::chrono::steady_clock::now() - used}.count());
  }
  bool is_fine = report("activation", median(openings), "s", open_bar);
  is_fine &= report("clean shutdown", median(closings), "s", close_bar);
  return is_fine;
}

// The rounds of the two loops take turns, and so does which of them begins.
bool compare_rates(io_loop &raw, io_loop &hits, bool writes, std::size_t depth, int rounds) {
  const io_plan plan{.writes = writes, .depth = depth, .duration = round_length};
  std::vector<double> raw_rates;
  std::vector<double> hit_rates;
  std::vector<double> ratios;
  for (int i = 0; i < rounds; ++i) {
    if (i % 2 == 0) {
      raw_rates.push_back(raw.run(plan).per_second);
    }
    hit_rates.push_back(hits.run(plan).per_second);
    if (i % 2 != 0) {
      raw_rates.push_back(raw.run(plan).per_second);
    }
    ratios.push_back(hit_rates.back() / raw_rates.back());
  }
  fmt::print("{} at depth {:2}: raw {:7.0f}/s, hits {:7.0f}/s\n", writes ? "writes" : "reads",
             depth, median(raw_rates), median(hit_rates));
  const double ratio = median(ratios);
  if (writes) {
    fmt::print("{:<44} {:8.2f} of raw\n", "  hits", ratio);
    return true;
  }
  return report("  hits", ratio, "of raw", rate_bar, true);
}

bool measure_rates(const bench_cache &cache, file_runtime &runtime, int rounds) {
  const file_descriptor file = open_raw(cache.paths().fast.path);
  raw_loop raw{file.get(), cache.fast_offsets()};
  hit_loop hits{runtime, cache.origin_offsets()};
  bool is_fine = true;
  for (const bool writes : {false, true}) {
    for (const std::size_t depth : depths) {
      clean(runtime); // lest dirty blocks are written back meanwhile
      is_fine &= compare_rates(raw, hits, writes, depth, rounds);
    }
  }
  return is_fine;
}

// Nanoseconds that the advisor takes of a read hit, by itself: less what the loop takes. `one_in` becomes
// how many touches there are to one of a block that it follows.
double advisor_time(const bench_cache &cache, double &one_in) {
  const policy_geometry geometry{.nr_cache_blocks = bench_cache::nr_cache_blocks,
                                 .nr_origin_blocks = bench_cache::nr_origin_blocks,
                                 .block_size = sectors{bench_cache::block_size / sector_size}};
  size_advisor advisor{geometry, {}};
  std::minstd_rand chance{1};
  constexpr std::uint64_t nr_hits = 1 << 20;
  std::uint64_t nr_followed = 0;
  const auto time_of = [&](bool is_advised) {
    const auto begun = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < nr_hits; ++i) {
      const auto &offsets = cache.origin_offsets();
      const origin_block block{offsets[chance() % offsets.size()] / bench_cache::block_size};
      if (is_advised ? advisor.follows(block) : block.value() == 0) {
        advisor.touch(block, promotion::by_copy);
        ++nr_followed;
      }
    }
    return std::chrono::duration<double, std::nano>{std::chrono::steady_clock::now() - begun} /
           nr_hits;
  };
  (void)time_of(true); // until only a sample is followed
  nr_followed = 0;
  const double advised = time_of(true).count();
  one_in = static_cast<double>(nr_hits) / static_cast<double>(nr_followed);
  return advised - time_of(false).count();
}

bool measure_advisor(const bench_cache &cache, file_runtime &runtime, int rounds) {
  constexpr double percent_of_second = 1e7; // ns
  hit_loop hits{runtime, cache.origin_offsets()};
  std::vector<double> shares;
  double one_in = 0;
  for (int i = 0; i < rounds; ++i) {
    const double rate = hits.run({.depth = max_depth, .duration = round_length}).per_second;
    shares.push_back(advisor_time(cache, one_in) * rate / percent_of_second);
  }
  fmt::print("the advisor follows one touch in {:.0f}\n", one_in);
  return report("  share of the time of hits at depth 32", median(shares), "%", advisor_bar);
}

// The 99th percentile of hits in microseconds, while `something` is done.
double p99_while(hit_loop &hits, const std::function<void()> &something) {
  hits.start({.depth = 1, .with_latencies = true});
  something();
  return hits.stop().p99() / 1000;
}

// The same of raw reads, while the engine does something with the same device.
double raw_p99_while(raw_loop &raw, const std::function<void()> &something) {
  io_outcome all;
  std::atomic<bool> is_enough = false;
  std::jthread reader{[&] {
    while (!is_enough) {
      const auto some = raw.run({.depth = 1, .count = 100, .with_latencies = true}).latencies;
      all.latencies.insert(all.latencies.end(), some.begin(), some.end());
    }
  }};
  something();
  is_enough = true;
  reader.join();
  return all.p99() / 1000;
}

// The devices of this cache are files on one disk, which is slower for everybody while blocks are
// copied from one to another. So the bar is a multiple of what raw reads take meanwhile.
bool measure_latencies(const bench_cache &cache, file_runtime &runtime, int rounds) {
  const file_descriptor file = open_raw(cache.paths().fast.path);
  raw_loop raw{file.get(), cache.fast_offsets()};
  hit_loop hits{runtime, cache.origin_offsets()};
  const std::span dirtied = std::span{cache.origin_offsets()}.first(bench_cache::nr_to_write_back);
  hit_loop writes{runtime, dirtied};
  commit_load commits{runtime, cache.uncached_offsets()};
  const auto run_for = [&](std::chrono::nanoseconds how_long) {
    const auto end = std::chrono::steady_clock::now() + how_long;
    runtime.run_until([&] { return std::chrono::steady_clock::now() >= end; });
  };
  const auto commit_for_a_round = [&] {
    commits.start();
    run_for(latency_round_length);
    commits.stop();
  };
  // Quiet, migrating, committing; raw while blocks migrate, and while there are commits.
  std::array<std::vector<double>, 5> found;
  clean(runtime);
  for (int i = 0; i < rounds; ++i) {
    found[0].push_back(p99_while(hits, [&] { run_for(latency_round_length); }));
    writes.run({.writes = true, .depth = 32, .count = bench_cache::nr_to_write_back});
    found[1].push_back(p99_while(hits, [&] { clean(runtime); }));
    found[2].push_back(p99_while(hits, commit_for_a_round));
  }
  for (int i = 0; i < rounds; ++i) {
    writes.run({.writes = true, .depth = 32, .count = bench_cache::nr_to_write_back});
    found[3].push_back(raw_p99_while(raw, [&] { clean(runtime); }));
    found[4].push_back(raw_p99_while(raw, commit_for_a_round));
  }
  const double quiet = median(found[0]);
  const double raw_migrating = median(found[3]);
  fmt::print(
      "99th percentile of hits: quiet {:.0f} us, migrating {:.0f} us (raw {:.0f} us), committing "
      "{:.0f} us (raw {:.0f} us)\n",
      quiet, median(found[1]), raw_migrating, median(found[2]), median(found[4]));
  bool is_fine = report("  while blocks migrate", median(found[1]) / std::max(quiet, raw_migrating),
                        "x raw then", latency_bar);
  is_fine &= report("  while the metadata are committed", median(found[2]) / quiet, "x quiet",
                    latency_bar);
  return is_fine;
}

// Writes go to a hundredth of the cache. The bits on disk that the end of the process leaves are those
// that a power cut would.
void write_and_die(const bench_cache &cache) {
  auto runtime = open_runtime(cache);
  hit_loop writes{*runtime, std::span{cache.origin_offsets()}.first(nr_written)};
  writes.run({.writes = true, .depth = max_depth, .count = 4 * nr_written});
  std::fflush(nullptr);
  ::_exit(0);
}

// First writes to clean blocks, which are nearly all others each time.
bool measure_first_writes(const bench_cache &cache) {
  auto runtime = open_runtime(cache);
  clean(*runtime);
  hit_loop writes{*runtime, cache.origin_offsets()};
  const std::uint64_t before = runtime->engine().status().counts.commits;
  const io_outcome made = writes.run({.writes = true, .depth = max_depth, .count = nr_first});
  const std::uint64_t commits = runtime->engine().status().counts.commits - before;
  fmt::print("first writes at depth {}: {:.0f}/s, {} commits\n", max_depth, made.per_second,
             commits);
  close_runtime(std::move(runtime));
  return report("  share commits", static_cast<double>(nr_first) / static_cast<double>(commits),
                "a commit", shared_commit_bar, true);
}

// Of random writes, when each block has been written to once. The commits are those of a second.
double steady_rate(const bench_cache &cache, dirty_tracking tracking, double &commits) {
  auto runtime = open_runtime(cache, [&](engine_options &how) { how.tracking = tracking; });
  const std::span some = std::span{cache.origin_offsets()}.first(nr_written);
  hit_loop writes{*runtime, some};
  writes.run({.writes = true, .depth = max_depth, .count = 10 * nr_written});
  const std::uint64_t before = runtime->engine().status().counts.commits;
  const double rate =
      writes.run({.writes = true, .depth = max_depth, .duration = steady_length}).per_second;
  commits = static_cast<double>(runtime->engine().status().counts.commits - before) /
            seconds{steady_length}.count();
  close_runtime(std::move(runtime));
  return rate;
}

bool measure_dirty_tracking(const bench_cache &cache, int rounds) {
  bool is_fine = in_a_child([&] { return measure_first_writes(cache); });
  is_fine &= in_a_child([&] {
    std::vector<double> ratios;
    double commits = 0;
    double others = 0;
    for (int i = 0; i < rounds; ++i) {
      const double at_shutdown = steady_rate(cache, dirty_tracking::at_shutdown, others);
      ratios.push_back(steady_rate(cache, dirty_tracking::exact, commits) / at_shutdown);
    }
    fmt::print("steady writes: {:.1f} commits/s, at-shutdown {:.1f}\n", commits, others);
    return report("  exact", median(ratios), "of at-shutdown", rate_bar, true);
  });
  (void)in_a_child([&] {
    auto runtime = open_runtime(cache);
    clean(*runtime);
    close_runtime(std::move(runtime));
    return true;
  });
  (void)in_a_child([&] {
    write_and_die(cache);
    return true;
  });
  is_fine &= in_a_child([&] {
    const auto runtime = open_runtime(cache, read_only);
    const auto dirty = static_cast<double>(runtime->engine().status().dirty);
    constexpr double hundred = 100;
    return report("dirty after the process died",
                  hundred * dirty / static_cast<double>(bench_cache::nr_loaded), "%", dirty_bar);
  });
  return is_fine;
}

// The number that callgrind counts when this program is called with `arguments`.
double count_instructions(const std::string &arguments) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string command = fmt::format(
      "valgrind --tool=callgrind --callgrind-out-file=/dev/null {} {} 2>&1", self, arguments);
  const std::unique_ptr<FILE, int (*)(FILE *)> output{::popen(command.c_str(), "re"), &::pclose};
  std::array<char, 256> line{};
  double counted = 0;
  while (output && std::fgets(line.data(), line.size(), output.get()) != nullptr) {
    if (const char *at = std::strstr(line.data(), "Collected : "); at != nullptr) {
      counted = std::strtod(at + std::strlen("Collected : "), nullptr);
    }
  }
  if (counted == 0) {
    give_up("valgrind doesn't count: is it installed?");
  }
  return counted;
}

// Those of one I/O: the difference that twice as many I/Os make, divided by their number.
double instructions_of(const std::string &loop, const std::string &folder, std::size_t depth) {
  const auto count = [&](std::uint64_t nr) {
    return count_instructions(fmt::format("--loop {} {} {} {}", loop, folder, depth, nr));
  };
  return (count(2 * nr_counted) - count(nr_counted)) / static_cast<double>(nr_counted);
}

bool measure_instructions(const std::string &folder) {
  bool is_fine = true;
  for (const std::size_t depth : {depths.front(), depths.back()}) {
    const double raw = instructions_of("raw", folder, depth);
    const double hit = instructions_of("hits", folder, depth);
    fmt::print("instructions of a read at depth {}: raw {:.0f}, hit {:.0f}\n", depth, raw, hit);
    is_fine &= report("  added by the engine", hit - raw, "instructions", instruction_bar);
    const double with_smq = instructions_of("smq-hits", folder, depth);
    fmt::print("{:<44} {:8.2f} instructions\n", "  with smq", with_smq - raw);
  }
  return is_fine;
}

int run_loop(const std::string &loop, const bench_cache &cache, const io_plan &plan) {
  if (loop == "raw") {
    const file_descriptor file = open_raw(cache.paths().fast.path);
    raw_loop{file.get(), cache.fast_offsets()}.run(plan);
  } else {
    const auto runtime = open_runtime(cache, [&](engine_options &options) {
      options.read_only = true;
      options.policy = loop == "smq-hits" ? "smq" : "";
    });
    hit_loop{*runtime, cache.origin_offsets()}.run(plan);
  }
  return 0;
}

int run_all(const std::string &folder, int rounds) {
  const bench_cache cache{folder};
  (void)in_a_child([&] {
    const auto made = cache.prepare();
    if (!made) {
      give_up(made.error().message);
    }
    return true;
  });
  bool is_fine = in_a_child([&] { return measure_memory(cache); });
  is_fine &= in_a_child([&] { return measure_opening(cache, rounds); });
  is_fine &= in_a_child([&] {
    auto runtime = open_runtime(cache);
    bool is_good = measure_rates(cache, *runtime, rounds);
    is_good &= measure_advisor(cache, *runtime, rounds);
    is_good &= measure_latencies(cache, *runtime, rounds);
    close_runtime(std::move(runtime));
    return is_good;
  });
  is_fine &= measure_dirty_tracking(cache, rounds);
  is_fine &= measure_instructions(folder);
  return is_fine ? 0 : 1;
}

} // namespace
} // namespace dmcache

int main(int argc, char **argv) {
  const std::vector<std::string> arguments{argv + 1, argv + argc};
  if (arguments.size() == 5 && arguments[0] == "--loop") {
    return dmcache::run_loop(
        arguments[1], dmcache::bench_cache{arguments[2]},
        {.depth = std::stoul(arguments[3]), .count = std::stoul(arguments[4])});
  }
  if (arguments.size() >= 3 && arguments[0] == "--replay") {
    return dmcache::replay_on_slow_origin(arguments[1], {arguments.begin() + 2, arguments.end()});
  }
  const std::string folder = arguments.empty() ? "." : arguments[0];
  return dmcache::run_all(folder, arguments.size() > 1 ? std::stoi(arguments[1]) : 9);
}
