// One executable holds all commands. Which one runs is said by the name of the link by which it is
// called, or by the first argument: `dmcache NAME`.

#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/standard_streams.h"
#include "bin/command.h"

namespace dmcache {
namespace {

std::string overview() {
  std::string text = "Usage: dmcache COMMAND [OPTION...]\n\nCommands:\n";
  for (const command &each : commands()) {
    text += fmt::format("  {:<23}{}\n", each.name, each.purpose);
  }
  return text + "\nOptions:\n  -h [ --help ]          show this help, or that of a COMMAND\n"
                "  -V [ --version ]       show the version\n"
                "\nThe prefix cache_ can be left out.\n"
                "Example: dmcache check /dev/mapper/vg-pool_cmeta\n";
}

int run(std::string_view called, std::span<const std::string> arguments) {
  if (const command *named = find_command(called)) {
    return named->run(arguments);
  }
  if (arguments.empty()) {
    tell(overview());
    return static_cast<int>(failure::usage);
  }
  const std::string &first = arguments.front();
  if (first == "--help" || first == "-h") {
    return show("dmcache", overview());
  }
  if (first == "--version" || first == "-V") {
    return show("dmcache", fmt::format("{}\n", version));
  }
  if (const command *named = find_command(first)) {
    return named->run(arguments.subspan(1));
  }
  tell(fmt::format("dmcache: '{}' is no command\nTry 'dmcache --help'.\n", first));
  return static_cast<int>(failure::usage);
}

// Where memory doesn't even suffice to throw an exception, this is called instead. Whatever else
// allocates than malloc() would throw once more.
[[noreturn]] void end_if_without_memory() {
  constexpr std::size_t enough_to_throw = 1024;
  if (std::malloc(enough_to_throw) == nullptr) {
    tell("dmcache: Cannot allocate memory\n");
    std::_Exit(static_cast<int>(failure::environment));
  }
  std::abort();
}

} // namespace
} // namespace dmcache

int main(int argc, char **argv) {
  std::set_terminate(dmcache::end_if_without_memory);
  try {
    dmcache::occupy_closed_streams();
    // When the reader of a pipe has gone away, or a file would exceed what the user may write,
    // writing fails, and that is enough.
    for (const int each : {SIGPIPE, SIGXFSZ}) {
      if (std::signal(each, SIG_IGN) == SIG_ERR) { // NOLINT(*-cstyle-cast): the macro's own
        return static_cast<int>(dmcache::failure::environment);
      }
    }
    const std::vector<std::string> arguments{argv + std::min(argc, 1), argv + argc};
    const std::string called = argc > 0 ? std::filesystem::path{argv[0]}.filename() : "dmcache";
    return dmcache::run(called, arguments);
  } catch (const std::exception &unexpected) { // out of memory, most likely
    for (const std::string_view part : {"dmcache: ", unexpected.what(), "\n"}) {
      dmcache::tell(part);
    }
    return static_cast<int>(dmcache::failure::environment);
  }
}
