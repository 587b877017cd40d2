// Replays a block trace through a policy, for several sizes of cache, and prints what it would find
// there and copy to get it there.

#include <algorithm>
#include <exception>
#include <iostream>
#include <optional>
#include <string>
#include <vector>

#include <boost/program_options.hpp>
#include <fmt/format.h>

#include "base/size_text.h"
#include "base/whole_number.h"
#include "bench/replay/generate_trace.h"
#include "caching/replay/read_trace.h"
#include "caching/replay/replay.h"

namespace dmcache {
namespace {

namespace options = boost::program_options;

struct settings {
  replayed_policy policy;
  std::vector<bytes> block_sizes;
  std::vector<std::uint64_t> percents; // of the footprint
  replay_settings replay;
};

result<> print_one(const trace &replayed, const settings &chosen, bytes block_size,
                   const footprint &found, std::uint64_t percent) {
  const policy_geometry geometry{std::max<std::uint64_t>(1, found.nr_touched * percent / 100),
                                 found.nr_origin_blocks, sectors{block_size.value() / sector_size}};
  const auto replayed_counts =
      replay_one(replayed.requests, chosen.policy, geometry, chosen.replay);
  if (!replayed_counts) {
    return std::unexpected{replayed_counts.error()};
  }
  const replay_counts &counts = *replayed_counts;
  const auto nr_accesses =
      static_cast<double>(std::max<std::uint64_t>(1, counts.nr_hits + counts.nr_misses));
  fmt::print("{:>9}k {:>4}% {:>8} {:>9} {:>6.4f} {:>6.4f} {:>10} {:>9} {:>11} {:>14.1f}\n",
             block_size.value() / 1024, percent, geometry.nr_cache_blocks,
             counts.nr_hits + counts.nr_misses, static_cast<double>(counts.nr_hits) / nr_accesses,
             static_cast<double>(counts.nr_misses) / nr_accesses, counts.nr_promotions,
             counts.nr_demotions, counts.nr_written_back,
             static_cast<double>(counts.written_to_fast) / (1 << 20));
  return {};
}

result<> replay(const trace &replayed, const settings &chosen) {
  fmt::print("{} requests, policy {}; a request counts for each block that it touches\n",
             replayed.requests.size(), chosen.policy.name);
  fmt::print("block size  cache   blocks  accesses    hit   miss promotions demotions "
             "written back  MiB to fast\n");
  for (const bytes block_size : chosen.block_sizes) {
    const footprint found = measure(replayed.requests, block_size);
    for (const std::uint64_t percent : chosen.percents) {
      if (auto done = print_one(replayed, chosen, block_size, found, percent); !done) {
        return done;
      }
    }
  }
  return {};
}

std::vector<std::string> split(const std::string &list) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= list.size()) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    parts.push_back(list.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

result<std::uint64_t> number(const std::string &text, const char *meaning) {
  if (const auto value = whole_number<std::uint64_t>(text)) {
    return *value;
  }
  return fail(failure::usage, fmt::format("'{}' is no {}", text, meaning));
}

result<std::vector<policy::setting>> policy_settings_of(const options::variables_map &given) {
  std::vector<policy::setting> settings;
  for (const std::string &text : given["policy-setting"].as<std::vector<std::string>>()) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(failure::usage, fmt::format("--policy-setting takes KEY=VALUE, not '{}'", text));
    }
    settings.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return settings;
}

result<settings> settings_of(const options::variables_map &given) {
  settings chosen{.policy = {given["policy"].as<std::string>(), {}},
                  .block_sizes = {},
                  .percents = {},
                  .replay = {}};
  auto of_policy = policy_settings_of(given);
  if (!of_policy) {
    return std::unexpected{of_policy.error()};
  }
  chosen.policy.settings = std::move(*of_policy);
  for (const std::string &text : split(given["block-size"].as<std::string>())) {
    const result<bytes> size = parse_size(text, bare_number::is_refused);
    if (!size) {
      return std::unexpected{size.error()};
    }
    if (size->value() == 0 || size->value() % sector_size != 0) {
      return fail(failure::usage, fmt::format("a block cannot have {} bytes", *size));
    }
    chosen.block_sizes.push_back(*size);
  }
  for (const std::string &text : split(given["cache-percent"].as<std::string>())) {
    const result<std::uint64_t> percent = number(text, "percentage");
    if (!percent) {
      return std::unexpected{percent.error()};
    }
    if (*percent < 1 || *percent > 100) {
      return fail(failure::usage, fmt::format("{} % is no part of the footprint", *percent));
    }
    chosen.percents.push_back(*percent);
  }
  const result<std::uint64_t> delay =
      number(given["delay"].as<std::string>(), "number of requests");
  if (!delay) {
    return std::unexpected{delay.error()};
  }
  chosen.replay.delay = *delay;
  const auto &mode = given["mode"].as<std::string>();
  if (mode != "writeback" && mode != "writethrough") {
    return fail(failure::usage,
                fmt::format("'{}' is no mode: give writeback or writethrough", mode));
  }
  if (mode == "writethrough") {
    chosen.replay.mode = replay_mode::writethrough;
  }
  return chosen;
}

result<trace> trace_of(const options::variables_map &given) {
  if (given.contains("trace") == given.contains("generate")) {
    return fail(failure::usage, "give either a TRACE or --generate SEED");
  }
  if (given.contains("trace")) {
    progress watcher{true};
    return read_trace({.path = given["trace"].as<std::string>()}, watcher);
  }
  const result<std::uint64_t> seed = number(given["generate"].as<std::string>(), "seed");
  if (!seed) {
    return std::unexpected{seed.error()};
  }
  return generate_trace(*seed);
}

result<> run(const options::variables_map &given) {
  const result<settings> chosen = settings_of(given);
  if (!chosen) {
    return std::unexpected{chosen.error()};
  }
  const result<trace> replayed = trace_of(given);
  if (!replayed) {
    return std::unexpected{replayed.error()};
  }
  return replay(*replayed, *chosen);
}

// An option whose value is taken as text, for our own messages.
auto *text(const char *name, const char *otherwise) {
  return options::value<std::string>()->value_name(name)->default_value(otherwise);
}

int run(int argc, char **argv) {
  options::options_description described{"Options", 100};
  described.add_options()("help,h", "show this help");
  described.add_options()("policy", text("NAME", "smq"), "sift, smq, mq, default or cleaner");
  described.add_options()(
      "policy-setting",
      options::value<std::vector<std::string>>()->value_name("KEY=VALUE")->default_value({}, ""),
      "a setting of the policy; any number of them");
  described.add_options()("block-size", text("SIZE,...", "64k,256k"), "of the cache");
  described.add_options()("cache-percent", text("N,...", "1,5,10,20"),
                          "cache size as a part of all blocks that the trace touches");
  described.add_options()("mode", text("MODE", "writeback"), "writeback or writethrough");
  described.add_options()("delay", text("N", "0"),
                          "promotions and demotions take as long as N requests");
  described.add_options()("generate", options::value<std::string>()->value_name("SEED"),
                          "make up a trace");
  options::options_description all;
  all.add(described).add_options()("trace", options::value<std::string>());
  options::variables_map given;
  try {
    options::store(options::command_line_parser{argc, argv}
                       .options(all)
                       .positional(options::positional_options_description{}.add("trace", 1))
                       .run(),
                   given);
  } catch (const options::error &wrong) {
    fmt::print(stderr, "replay: {}\n", wrong.what());
    return static_cast<int>(failure::usage);
  }
  if (given.contains("help")) {
    std::cout << "Usage: replay [OPTION...] (TRACE | --generate SEED)\n\n"
              << described << "\nTRACE has lines \"time,R or W,sector,bytes\"; it may be "
              << "compressed with gzip.\nExample: replay --block-size 256k trace.csv.gz\n";
    return 0;
  }
  const result<> done = run(given);
  if (!done) {
    fmt::print(stderr, "replay: {}\n", done.error().message);
    return static_cast<int>(done.error().kind);
  }
  return 0;
}

} // namespace
} // namespace dmcache

int main(int argc, char **argv) {
  try {
    return dmcache::run(argc, argv);
  } catch (const std::exception &unexpected) { // out of memory, most likely
    fmt::print(stderr, "replay: {}\n", unexpected.what());
    return static_cast<int>(dmcache::failure::environment);
  }
}
