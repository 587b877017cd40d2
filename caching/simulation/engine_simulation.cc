// Runs random histories of a cache on simulated devices, one process a core, until there have been
// enough, the time is over, or one of them goes wrong.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <iostream>
#include <new>
#include <span>
#include <thread>
#include <vector>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "caching/simulation/history.h"

namespace dmcache {
namespace {

namespace po = boost::program_options;
using clock = std::chrono::steady_clock;

// A history that takes so much time of its processor, in seconds, will never end.
constexpr time_t longest_history = 20;

struct settings {
  std::uint64_t seed = 1;
  std::uint64_t histories = 0;
  std::uint64_t operations = 1000;
  double minutes = 0;
  unsigned jobs = 1;
  bool is_verbose = false;
};

// What a worker shares with the process that started it.
struct worker {
  std::atomic<std::uint64_t> seed; // of the history that it is at
  std::atomic<std::uint64_t> nr_done;
  std::atomic<bool> is_to_end; // another one's history went wrong
  world_totals totals;         // of those done
  pid_t process;
};

std::string replay_command(const settings &how, std::uint64_t seed, const std::string &program) {
  return fmt::format("{} --seed {} --histories 1 --operations {} --verbose", program, seed,
                     how.operations);
}

void add(world_totals &to, const world_totals &more) {
  to.requests += more.requests;
  to.openings += more.openings;
  to.refusals += more.refusals;
  to.shutdowns += more.shutdowns;
  to.power_cuts += more.power_cuts;
  to.kills += more.kills;
  to.promotions += more.promotions;
  to.demotions += more.demotions;
  to.writebacks += more.writebacks;
  to.commits += more.commits;
  to.failed_ios += more.failed_ios;
  to.failed_metadata += more.failed_metadata;
  to.failed_allocations += more.failed_allocations;
  to.digest += more.digest;
}

bool is_time_over(const settings &how, clock::time_point start) {
  return how.minutes > 0 &&
         std::chrono::duration<double>(clock::now() - start).count() >= how.minutes * 60;
}

// Histories number `first`, `first` + how.jobs, … Returns the exit code.
int work(const settings &how, unsigned first, clock::time_point start, worker &self,
         const std::string &program) {
  for (std::uint64_t i = first; how.histories == 0 || i < how.histories; i += how.jobs) {
    if (is_time_over(how, start) || self.is_to_end) {
      break;
    }
    const std::uint64_t seed = how.seed + i;
    self.seed = seed;
    const itimerval limit{.it_interval = {}, .it_value = {.tv_sec = longest_history, .tv_usec = 0}};
    ::setitimer(ITIMER_PROF, &limit, nullptr);
    history one{{.seed = seed, .operations = how.operations, .is_verbose = how.is_verbose}};
    if (const auto violation = one.run()) {
      fmt::print(stderr, "seed {}: {}\nreplay it: {}\n", seed, *violation,
                 replay_command(how, seed, program));
      return 1;
    }
    ++self.nr_done;
    add(self.totals, one.totals());
  }
  return 0;
}

// The next one that ends, and the status with which it does; null if that can't be found out.
worker *next_end(std::span<worker> workers, int &status) {
  for (;;) {
    const pid_t process = ::waitpid(-1, &status, 0);
    const auto ended = std::ranges::find(workers, process, &worker::process);
    if (process > 0 && ended != workers.end()) {
      return &*ended;
    }
    if (process < 0 && errno != EINTR) {
      return nullptr;
    }
  }
}

// Of the worker that has ended: did it do its work?
bool has_succeeded(int status, const settings &how, const worker &ended,
                   const std::string &program) {
  if (WIFSIGNALED(status)) {
    const std::uint64_t seed = ended.seed;
    fmt::print(stderr, "seed {}: {}\nreplay it: {}\n", seed,
               WTERMSIG(status) == SIGPROF
                   ? fmt::format("not at its end after {} s", longest_history)
                   : fmt::format("ended by signal {}", WTERMSIG(status)),
               replay_command(how, seed, program));
    return false;
  }
  return WEXITSTATUS(status) == 0;
}

int run(const settings &how, const std::string &program) {
  const auto start = clock::now();
  ::signal(SIGCHLD, SIG_DFL); // if it is ignored, which is inherited, nothing can be waited for
  const std::size_t size = how.jobs * sizeof(worker);
  void *shared = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) { // NOLINT: the macro's own cast
    throw std::bad_alloc{};
  }
  const std::span workers{static_cast<worker *>(shared), how.jobs};
  for (unsigned i = 0; i < how.jobs; ++i) {
    worker &each = *new (&workers[i]) worker{};
    const pid_t process = ::fork();
    if (process == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL); // NOLINT(*-vararg): it ends with the one who started it
      const int code = work(how, i, start, each, program);
      std::fflush(nullptr);
      ::_exit(code);
    }
    each.process = process; // told by the parent alone: this memory is shared
  }
  bool is_good = true;
  std::uint64_t nr_done = 0;
  world_totals totals;
  for (std::size_t i = 0; i < workers.size(); ++i) {
    int status = 0;
    const worker *ended = next_end(workers, status);
    if (ended == nullptr || !has_succeeded(status, how, *ended, program)) {
      is_good = false;
      std::ranges::for_each(workers, [](worker &each) { each.is_to_end = true; });
    }
  }
  for (const worker &each : workers) {
    nr_done += each.nr_done;
    add(totals, each.totals);
  }
  const double seconds = std::chrono::duration<double>(clock::now() - start).count();
  fmt::print(
      "{} requests, {} openings, {} refusals, {} clean shutdowns, {} power cuts, {} kills, {} "
      "promotions, {} demotions, {} writebacks, {} commits, {} failed I/Os, {} failures of "
      "the metadata, {} failed allocations\n",
      totals.requests, totals.openings, totals.refusals, totals.shutdowns, totals.power_cuts,
      totals.kills, totals.promotions, totals.demotions, totals.writebacks, totals.commits,
      totals.failed_ios, totals.failed_metadata, totals.failed_allocations);
  fmt::print("digest of all that happened: {:016x}\n", totals.digest);
  fmt::print("{} histories of {} operations in {:.1f} s: {}\n", nr_done, how.operations, seconds,
             is_good ? "all as they should be" : "not all as they should be");
  return is_good ? 0 : 1;
}

int main_of_simulation(int argc, char **argv) {
  settings how;
  how.jobs = std::max(1U, std::thread::hardware_concurrency());
  po::options_description described{"Options"};
  auto add = described.add_options();
  add("help,h", "tell this");
  add("seed", po::value(&how.seed), "of the first history; those that follow have the next ones");
  add("histories", po::value(&how.histories), "how many; 0: until the time is over");
  add("operations", po::value(&how.operations), "of each history");
  add("minutes", po::value(&how.minutes), "stop after this time");
  add("jobs", po::value(&how.jobs), "so many at a time: by default, one a core");
  add("verbose", po::bool_switch(&how.is_verbose), "tell everything that happens");
  po::variables_map given;
  try {
    po::store(po::parse_command_line(argc, argv, described), given);
    po::notify(given);
  } catch (const po::error &wrong) {
    fmt::print(stderr, "engine_simulation: {}\n", wrong.what());
    return 2;
  }
  if (given.contains("help")) {
    std::cout << "Usage: engine_simulation [options]\n" << described;
    return 0;
  }
  if (how.histories == 0 && how.minutes <= 0) {
    how.histories = 1;
  }
  if (how.jobs == 0 || how.is_verbose) {
    how.jobs = 1;
  }
  return run(how, argv[0]); // NOLINT(*-pointer-arithmetic)
}

} // namespace
} // namespace dmcache

int main(int argc, char **argv) {
  return dmcache::main_of_simulation(argc, argv);
}
