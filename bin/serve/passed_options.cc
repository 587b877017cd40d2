#include "bin/serve/passed_options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string_view>

#include <fmt/format.h>

namespace dmcache {
namespace {

struct passed_option {
  std::string_view name;
  bool takes_value;
};

constexpr std::array passed_on{
    passed_option{"--filter", true},
    passed_option{"--debug", true},
    passed_option{"-D", true},
    passed_option{"--verbose", false},
    passed_option{"-v", false},
    passed_option{"--swap", false},
    passed_option{"--no-sr", false},
    passed_option{"--mask-handshake", true},
    passed_option{"--selinux-label", true},
    passed_option{"--ipv4-only", false},
    passed_option{"-4", false},
    passed_option{"--ipv6-only", false},
    passed_option{"-6", false},
};

struct own_option {
  std::string_view name;
  std::string_view instead; // to be given to cache_serve
};

// nbdkit has several spellings of some.
constexpr std::array own_options{
    own_option{"--port", "--port"},
    own_option{"-p", "--port"},
    own_option{"--ipaddr", "--listen"},
    own_option{"--ip-addr", "--listen"},
    own_option{"-i", "--listen"},
    own_option{"--tls", "--tls-certificates or --tls-psk"},
    own_option{"--tls-certificates", "--tls-certificates"},
    own_option{"--tls-psk", "--tls-psk"},
    own_option{"--unix", "--socket"},
    own_option{"-U", "--socket"},
    own_option{"--readonly", "--read-only"},
    own_option{"--read-only", "--read-only"},
    own_option{"-r", "--read-only"},
    own_option{"--run", "--run"},
    own_option{"--log", "--log"},
    own_option{"--foreground", "--foreground"},
    own_option{"--no-fork", "--foreground"},
    own_option{"-f", "--foreground"},
};

std::unexpected<error> refuse(std::string_view name) {
  const auto *const own = std::ranges::find(own_options, name, &own_option::name);
  if (own != own_options.end()) {
    return fail(failure::usage, fmt::format("{} is not passed on to nbdkit: give {} before the --",
                                            name, own->instead));
  }
  std::string all;
  for (const passed_option &each : passed_on) {
    all += fmt::format("{}, ", each.name);
  }
  return fail(
      failure::usage,
      fmt::format("'{}' is not passed on to nbdkit: {}and KEY=VALUE for filters are", name, all));
}

// nbdkit would take anything else for the name of a plugin, or for a parameter's value alone.
bool is_parameter(std::string_view word) {
  const std::string_view key = word.substr(0, word.find('='));
  return key.size() < word.size() && !key.empty() &&
         std::isalpha(static_cast<unsigned char>(key.front())) != 0 &&
         std::ranges::all_of(
             key,
             [](char each) {
               return std::isalnum(static_cast<unsigned char>(each)) != 0 ||
                      std::string_view{"._-"}.contains(each);
             });
}

} // namespace

result<passed_options> take_passed_options(std::span<const std::string> words) {
  passed_options taken;
  while (!words.empty()) {
    const std::string &word = words.front();
    words = words.subspan(1);
    if (is_parameter(word)) {
      taken.parameters.push_back(word);
      continue;
    }
    const std::size_t equals = word.starts_with("--") ? word.find('=') : std::string::npos;
    const std::string name = word.substr(0, equals);
    const auto *const known = std::ranges::find(passed_on, name, &passed_option::name);
    const bool has_value = equals != std::string::npos;
    if (known == passed_on.end()) {
      return refuse(name);
    }
    if (has_value ? !known->takes_value : known->takes_value && words.empty()) {
      return fail(failure::usage,
                  fmt::format("nbdkit's {} takes {} value", name, known->takes_value ? "a" : "no"));
    }
    taken.options.push_back(word);
    if (known->takes_value && !has_value) {
      taken.options.push_back(words.front());
      words = words.subspan(1);
    }
  }
  return taken;
}

} // namespace dmcache
