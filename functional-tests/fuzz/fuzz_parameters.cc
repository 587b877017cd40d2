// What is fuzzed: the plugin's parameters, as whoever starts nbdkit could give them. Each is taken
// without a word or refused with one message, and what was taken is legal.
//
// An input is lines of KEY=VALUE.

#include <cstdarg>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "base/assert.h"
#include "base/whole_number.h"
#include "bin/control/settings_line.h"
#include "bin/plugin/nbdkit_parameters.h"

namespace dmcache::fuzz {
namespace {

unsigned nr_messages = 0;

void check(const nbdkit_parameters &taken) {
  const engine_options &options = taken.options;
  require(options.metadata_version == 1 || options.metadata_version == 2, "the format is known");
  require(is_legal_dirty_linger(options.dirty_linger), "blocks linger for a legal time");
  require(taken.max_connections != 0, "somebody can connect");
  require(!options.max_dirty.is_percentage || options.max_dirty.amount <= 100,
          "no more than all is dirty");
  require((taken.control.access.mode & ~0777U) == 0, "a socket's mode has permissions alone");
  // The name and settings of the policy are checked by others, and are text then.
  engine_options in_force = options;
  in_force.policy = "smq";
  in_force.policy_settings.clear();
  engine_options again;
  require(take_settings(settings_line(in_force), again), "what is in force can be told");
  require(settings_line(again) == settings_line(in_force), "what is told is in force again");
}

void take(nbdkit_parameters &into, std::string_view line) {
  const std::size_t end = line.find('=');
  if (end == std::string_view::npos) {
    return;
  }
  // It comes as a C string.
  const std::string key{std::string{line.substr(0, end)}.c_str()};
  const std::string value{line.substr(end + 1)};
  nr_messages = 0;
  const int taken = into.config(key, value.c_str());
  require(taken == 0 || taken == -1, "a parameter is taken or refused");
  require(nr_messages == (taken == 0 ? 0 : 1), "a refusal has one message");
}

} // namespace
} // namespace dmcache::fuzz

// In place of nbdkit's. NOLINTBEGIN(cert-dcl50-cpp,*-vararg)
extern "C" void nbdkit_error(const char *form, ...) {
  va_list arguments;
  va_start(arguments, form);
  char *text = nullptr;
  dmcache::require(vasprintf(&text, form, arguments) > 0, "a message has a text");
  va_end(arguments);
  std::free(text);
  ++dmcache::fuzz::nr_messages;
}
// NOLINTEND(cert-dcl50-cpp,*-vararg)

extern "C" char *nbdkit_absolute_path(const char *path) {
  if (*path == 0) {
    nbdkit_error("no path");
    return nullptr;
  }
  return ::strdup((std::string{"/"} + path).c_str());
}

extern "C" int nbdkit_parse_bool(const char *text) {
  const std::string_view word{text};
  if (word != "true" && word != "false") {
    nbdkit_error("no boolean");
    return -1;
  }
  return word == "true" ? 1 : 0;
}

template <typename Number> static int parse(const char *text, Number &into) {
  const auto parsed = dmcache::whole_number<Number>(text);
  if (!parsed) {
    nbdkit_error("no number");
    return -1;
  }
  into = *parsed;
  return 0;
}

extern "C" int nbdkit_parse_int(const char * /*name*/, const char *text, int *into) {
  return parse(text, *into);
}

extern "C" int nbdkit_parse_unsigned(const char * /*name*/, const char *text, unsigned *into) {
  return parse(text, *into);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  using namespace dmcache::fuzz;
  dmcache::nbdkit_parameters parameters;
  std::string_view left{reinterpret_cast<const char *>(data), size}; // NOLINT
  while (!left.empty()) {
    const std::string_view line = left.substr(0, left.find('\n'));
    take(parameters, line);
    left.remove_prefix(std::min(left.size(), line.size() + 1));
  }
  check(parameters);
  nr_messages = 0;
  const int complete = parameters.config_complete();
  dmcache::require(nr_messages == (complete == 0 ? 0 : 1), "a refusal has one message");
  return 0;
}
