// Exercises a cache by commands, which are carried out one after the other:
//
//   exerciser KEY=VALUE... COMMAND...
//
// The keys are:
//   metadata, fast, origin   the devices of a cache, which the engine opens
//   device                   a block device, instead of these
//   model                    the file of the model, which knows what the sectors hold
//   block_size, version, mode, policy, threshold, read_only, tracking
//                            the engine's options
//   seed                     of all that is random
// The commands are:
//   fill                     writes all of the device once
//   use=BATCHES              reads and writes
//   flush
//   idle=SECONDS             lets time pass
//   settle                   waits for the background work
//   status                   prints the cache's status
//   verify                   reads everything, and expects what was written last
//   recover                  reads everything, and expects what a power cut may leave
//   copy=FILE                reads everything into a file
//   clean
//   message=KEY:VALUE
//   cut=N                    cuts the power after N more I/Os, whatever commands follow
//   close                    without it the cache is left as if the process was killed

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "functional-tests/exerciser/device_target.h"
#include "functional-tests/exerciser/engine_target.h"
#include "functional-tests/exerciser/sector_model.h"
#include "functional-tests/exerciser/workload.h"

namespace dmcache::exerciser {
namespace {

using namespace std::literals;

const std::map<std::string, std::string, std::less<>> default_options{
    {"metadata", ""},     {"fast", ""},          {"origin", ""},      {"device", ""},
    {"model", ""},        {"seed", "1"},         {"block_size", "0"}, {"version", "2"},
    {"policy", "smq"},    {"tracking", "exact"}, {"read_only", "0"},  {"mode", "writeback"},
    {"threshold", "2048"}};

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failed != std::errc{} || end != text.data() + text.size()) {
    throw std::invalid_argument{fmt::format("'{}' is no number", text)};
  }
  return value;
}

cache_mode mode_named(std::string_view name) {
  const auto mode = find_cache_mode(name);
  if (!mode) {
    throw std::invalid_argument{mode.error().message};
  }
  return *mode;
}

dirty_tracking tracking_named(std::string_view name) {
  const auto tracking = find_dirty_tracking(name);
  if (!tracking) {
    throw std::invalid_argument{tracking.error().message};
  }
  return *tracking;
}

class session {
 public:
  explicit session(std::map<std::string, std::string, std::less<>> options);

  void run(std::string_view command, const std::string &argument);

 private:
  const std::string &option(std::string_view key) const { return options_.find(key)->second; }
  void open();
  void run_on_engine(std::string_view command, const std::string &argument);
  void verify(sector_model::since last);
  void copy(const std::string &path);
  engine_target &engine();
  workload &io();

  std::map<std::string, std::string, std::less<>> options_;
  std::unique_ptr<target> target_;
  engine_target *engine_ = nullptr; // the target, if it is such a one
  std::optional<sector_model> model_;
  std::optional<workload> workload_;
};

session::session(std::map<std::string, std::string, std::less<>> options)
    : options_{std::move(options)} {
  open();
  if (!option("model").empty()) {
    const sectors block_size{number(option("block_size"))};
    model_.emplace(option("model"), target_->size().value() / sector_size);
    workload_.emplace(*target_, *model_, block_size == sectors{} ? sectors{128} : block_size,
                      number(option("seed")));
  }
}

void session::open() {
  if (!option("device").empty()) {
    target_ = std::make_unique<device_target>(option("device"));
    return;
  }
  engine_options options;
  options.block_size = sectors{number(option("block_size"))};
  options.metadata_version = static_cast<std::uint32_t>(number(option("version")));
  options.read_only = number(option("read_only")) != 0;
  options.mode = mode_named(option("mode"));
  options.tracking = tracking_named(option("tracking"));
  options.policy = option("policy");
  options.migration_threshold = sectors{number(option("threshold"))};
  auto made = std::make_unique<engine_target>(
      engine_target::files{option("metadata"), option("fast"), option("origin")}, options,
      number(option("seed")));
  engine_ = made.get();
  target_ = std::move(made);
}

engine_target &session::engine() {
  if (engine_ == nullptr) {
    throw std::invalid_argument{"that takes a cache of the engine's"};
  }
  return *engine_;
}

workload &session::io() {
  if (!workload_) {
    throw std::invalid_argument{"that takes a model"};
  }
  return *workload_;
}

void session::run(std::string_view command, const std::string &argument) {
  if (command == "fill") {
    io().fill();
  } else if (command == "use") {
    io().use(number(argument));
  } else if (command == "flush") {
    io().flush();
  } else if (command == "verify") {
    verify(sector_model::since::last_told);
  } else if (command == "recover") {
    verify(sector_model::since::power_cut);
  } else if (command == "copy") {
    copy(argument);
  } else {
    run_on_engine(command, argument);
  }
}

void session::run_on_engine(std::string_view command, const std::string &argument) {
  if (command == "status") {
    fmt::print("status {}\n", engine().status());
  } else if (command == "idle") {
    engine().idle(std::chrono::seconds{number(argument)});
  } else if (command == "settle") {
    engine().settle();
  } else if (command == "clean") {
    engine().clean();
  } else if (command == "message") {
    const auto colon = argument.find(':');
    engine().message({argument.substr(0, colon), argument.substr(colon + 1)});
  } else if (command == "cut") {
    engine().cut_power_after(number(argument));
  } else if (command == "close") {
    engine().close();
    if (model_) {
      model_->made_all_durable();
    }
    fmt::print("closed\n");
  } else {
    throw std::invalid_argument{fmt::format("there is no command '{}'", command)};
  }
}

void session::verify(sector_model::since last) {
  const workload::findings found = io().verify(last);
  if (found.wrong != 0) {
    throw std::runtime_error{
        fmt::format("{} sectors are wrong: {}", found.wrong, found.first_wrong)};
  }
  fmt::print("verified {} uncertain, {} discarded\n", found.uncertain, found.discarded);
  fmt::print("checksum {:08x}\n", found.checksum);
}

void session::copy(const std::string &path) {
  constexpr std::uint64_t chunk = 1 << 17;
  aligned_buffer buffer{chunk};
  std::ofstream to{path, std::ios::binary};
  const std::uint64_t size = target_->size().value();
  for (std::uint64_t at = 0; at < size; at += chunk) {
    operation read;
    read.offset = bytes{at};
    read.length = bytes{std::min(chunk, size - at)};
    read.data = buffer.span().first(read.length.value());
    target_->carry_out({&read, 1});
    to.write(reinterpret_cast<const char *>(read.data.data()),
             static_cast<std::streamsize>(read.data.size()));
  }
  to.close();
  if (!to) {
    throw std::runtime_error{fmt::format("cannot write {}", path)};
  }
}

void run(const std::vector<std::string_view> &words) {
  auto options = default_options;
  std::optional<session> running;
  for (const std::string_view word : words) {
    const auto equals = word.find('=');
    const std::string_view key = word.substr(0, equals);
    const std::string value{equals == std::string_view::npos ? "" : word.substr(equals + 1)};
    if (const auto option = options.find(key); option != options.end() && !running) {
      option->second = value;
      continue;
    }
    if (!running) {
      running.emplace(options);
    }
    running->run(key, value);
  }
}

} // namespace
} // namespace dmcache::exerciser

int main(int argc, char **argv) {
  try {
    dmcache::exerciser::run({argv + 1, argv + argc});
  } catch (const dmcache::exerciser::power_cut &) {
    fmt::print("cut\n");
  } catch (const std::exception &failed) {
    std::fflush(stdout); // what was said before comes first
    fmt::print(stderr, "failed {}\n", failed.what());
    return 1;
  }
  return 0;
}
