// Commands, and what all of them share: options, help, version.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/program_options.hpp>

#include "base/device_part.h"
#include "base/result.h"

namespace dmcache {

struct command {
  std::string_view name;    // "cache_check"
  std::string_view purpose; // one line
  int (*run)(std::span<const std::string> arguments);
};

// All commands, in the order in which they are listed.
std::span<const command> commands();

// The command of this name: "cache_check", or "check". Null if there is none.
const command *find_command(std::string_view name);

extern const char *const version;

// Writes to standard output what `command` was asked to show. Returns the exit code.
int show(std::string_view command, std::string_view text);

int run_cache_check(std::span<const std::string> arguments);
int run_cache_ctl(std::span<const std::string> arguments);
int run_cache_dump(std::span<const std::string> arguments);
int run_cache_metadata_pack(std::span<const std::string> arguments);
int run_cache_metadata_size(std::span<const std::string> arguments);
int run_cache_metadata_unpack(std::span<const std::string> arguments);
int run_cache_repair(std::span<const std::string> arguments);
int run_cache_replay(std::span<const std::string> arguments);
int run_cache_restore(std::span<const std::string> arguments);
int run_cache_serve(std::span<const std::string> arguments);
int run_cache_verify(std::span<const std::string> arguments);
int run_cache_writeback(std::span<const std::string> arguments);
int run_install_lvm(std::span<const std::string> arguments);

namespace options = boost::program_options;

// The command line of one command. A usage error is told on standard error, help and version on
// standard output.
class command_line {
 public:
  // `synopsis` follows the name in the usage line; `example` stands at the end of the help.
  command_line(std::string name, std::string synopsis, std::string example);

  // The command's own options, "long" or "long,l"; -h and -V are there already.
  void add(const char *option, const char *meaning);
  void add(const char *option, const char *value, const char *meaning);
  void add_with_optional_value(const char *option, const char *value, const char *meaning);
  void add_repeatable(const char *option, const char *value, const char *meaning);
  // Adds, for each of these options that names a device, NAME-offset and NAME-size, which choose a
  // part of the device. If the option is called "", it is the operand that names the device.
  void add_parts_of(std::initializer_list<const char *> devices);
  // Adds options that the help has room for in one line only: names, each with what its value is
  // called, or nullptr if it has none.
  void add_together(std::initializer_list<std::pair<const char *, const char *>> options_and_values,
                    const char *meaning);
  // One with a value that the synopsis shows: a long help doesn't describe it once more.
  void add_of_synopsis(const char *option);
  // The command takes one operand; messages call it `name` ("DEVICE").
  void take_operand(std::string name);
  // The command takes any number of operands, but at least one.
  void take_operands(std::string name);
  // LVM puts an empty operand before the options, which is not to count as one.
  void ignore_empty_operand() { ignores_empty_operand_ = true; }

  // Returns the exit code if nothing is left to do: help was shown, or the usage is wrong.
  std::optional<int> parse(std::span<const std::string> arguments);

  // Does what parse() does, and refuses a command line that lacks one of these options.
  std::optional<int> parse_with(std::span<const std::string> arguments,
                                std::initializer_list<const char *> needed);

  // All that follows requires parse().
  bool has(const std::string &option) const { return values_.contains(option); }
  std::string text(const std::string &option) const { return values_[option].as<std::string>(); }
  std::string text_or(const std::string &option, const char *otherwise) const {
    return has(option) ? text(option) : otherwise;
  }
  std::vector<std::string> texts(const std::string &repeatable) const {
    return has(repeatable) ? values_[repeatable].as<std::vector<std::string>>()
                           : std::vector<std::string>{};
  }
  // The device that the option names, or, if that is called "", the operand, or the part of it.
  // Requires that the device is named and was among those of add_parts_of(). Fails with
  // failure::usage if offset or size is no size.
  result<device_part> part(const std::string &device) const;
  std::string operand() const { return operands_.empty() ? "" : operands_.front(); }
  const std::vector<std::string> &operands() const { return operands_; }

  // Tells `problem` and where to find help. Returns the exit code of wrong usage.
  int refuse(std::string_view problem) const;

 private:
  std::string help() const;
  std::string help_on_parts() const;

  std::string name_;
  std::string synopsis_;
  std::string example_;
  std::string operand_name_;
  bool ignores_empty_operand_ = false;
  bool takes_many_ = false;
  std::vector<std::string> operands_;
  options::options_description described_;
  std::vector<std::string> with_value_; // options that need one
  std::vector<std::string> of_parts_;   // options that the help has room for in one paragraph only
  options::options_description of_synopsis_;
  options::options_description together_;
  std::string help_on_those_together_;
  options::variables_map values_;
};

} // namespace dmcache
