#include "bin/command.h"

#include <algorithm>
#include <array>
#include <sstream>
#include <utility>

#include <fmt/format.h>

#include "base/report.h"
#include "base/size_text.h"
#include "base/standard_streams.h"

namespace dmcache {
namespace {

constexpr std::string_view prefix = "cache_";

constexpr std::array all_commands{
    command{"cache_check", "verify the metadata of a cache", run_cache_check},
    command{"cache_ctl", "tell about a cache that is served, and control it", run_cache_ctl},
    command{"cache_dump", "write the metadata of a cache as XML", run_cache_dump},
    command{"cache_metadata_pack", "make metadata a small file, to send to whoever can help",
            run_cache_metadata_pack},
    command{"cache_metadata_size", "estimate the size of the metadata device a cache needs",
            run_cache_metadata_size},
    command{"cache_metadata_unpack", "make a pack metadata again", run_cache_metadata_unpack},
    command{"cache_repair", "write what can be read of damaged metadata as sound metadata",
            run_cache_repair},
    command{"cache_replay", "tell from a trace what a cache would be good for", run_cache_replay},
    command{"cache_restore", "write metadata from XML", run_cache_restore},
    command{"cache_serve", "serve a cache over NBD", run_cache_serve},
    command{"cache_verify", "compare what is cached with the origin", run_cache_verify},
    command{"cache_writeback", "copy what is dirty to the origin", run_cache_writeback},
    command{"install-lvm", "make LVM call these commands, at boot too", run_install_lvm},
};

constexpr unsigned help_width = 100;

std::string part_option(const std::string &device, const char *property) {
  return device.empty() ? property : fmt::format("{}-{}", device, property);
}

} // namespace

const char *const version = DMCACHE_VERSION;

int show(std::string_view command, std::string_view text) {
  report to{std::string{command}, false};
  to.document(text);
  return to.ended(0);
}

std::span<const command> commands() {
  return all_commands;
}

const command *find_command(std::string_view name) {
  const auto *found = std::ranges::find_if(all_commands, [&](const command &each) {
    return name == each.name ||
           (each.name.starts_with(prefix) && name == each.name.substr(prefix.size()));
  });
  return found == all_commands.end() ? nullptr : found;
}

command_line::command_line(std::string name, std::string synopsis, std::string example)
    : name_{std::move(name)}, synopsis_{std::move(synopsis)}, example_{std::move(example)},
      described_{"Options", help_width} {
  add("help,h", "show this help");
  add("version,V", "show the version");
}

void command_line::add(const char *option, const char *meaning) {
  described_.add_options()(option, meaning);
}

void command_line::add(const char *option, const char *value, const char *meaning) {
  described_.add_options()(option, options::value<std::string>()->value_name(value), meaning);
  with_value_.emplace_back(std::string_view{option}.substr(0, std::string_view{option}.find(',')));
}

void command_line::add_with_optional_value(const char *option, const char *value,
                                           const char *meaning) {
  described_.add_options()(
      option, options::value<std::string>()->value_name(value)->implicit_value(""), meaning);
}

void command_line::add_repeatable(const char *option, const char *value, const char *meaning) {
  described_.add_options()(option, options::value<std::vector<std::string>>()->value_name(value),
                           meaning);
}

void command_line::add_parts_of(std::initializer_list<const char *> devices) {
  for (const std::string device : devices) {
    for (const char *const property : {"offset", "size"}) {
      of_parts_.push_back(part_option(device, property));
    }
  }
}

void command_line::add_together(
    std::initializer_list<std::pair<const char *, const char *>> options_and_values,
    const char *meaning) {
  std::string line;
  for (const auto &[option, value] : options_and_values) {
    line += fmt::format("{}--{}", line.empty() ? "  " : ", ", option);
    if (value == nullptr) {
      together_.add_options()(option, "");
    } else {
      together_.add_options()(option, options::value<std::string>());
      with_value_.emplace_back(option);
      line += fmt::format(" {}", value);
    }
  }
  help_on_those_together_ += fmt::format("{}  {}\n", line, meaning);
}

void command_line::add_of_synopsis(const char *option) {
  of_synopsis_.add_options()(option, options::value<std::string>());
}

void command_line::take_operand(std::string name) {
  operand_name_ = std::move(name);
}

void command_line::take_operands(std::string name) {
  take_operand(std::move(name));
  takes_many_ = true;
}

std::optional<int> command_line::parse(std::span<const std::string> arguments) {
  try {
    options::options_description all;
    all.add(described_).add(of_synopsis_).add(together_);
    for (const std::string &each : of_parts_) {
      all.add_options()(each.c_str(), options::value<std::string>());
    }
    all.add_options()("operand", options::value<std::vector<std::string>>());
    options::positional_options_description positional;
    positional.add("operand", -1);
    const int style =
        options::command_line_style::default_style & ~options::command_line_style::allow_guessing;
    options::store(options::command_line_parser{{arguments.begin(), arguments.end()}}
                       .options(all)
                       .positional(positional)
                       .style(style)
                       .run(),
                   values_);
    options::notify(values_);
  } catch (const options::error &wrong) {
    return refuse(wrong.what());
  }
  // A script whose variable isn't set leaves an option's value empty.
  for (const std::string &option : with_value_) {
    if (has(option) && text(option).empty()) {
      return refuse(fmt::format("--{} is empty", option));
    }
  }
  if (has("help")) {
    return show(name_, help());
  }
  if (has("version")) {
    return show(name_, fmt::format("{}\n", version));
  }
  auto operands = has("operand") ? values_["operand"].as<std::vector<std::string>>()
                                 : std::vector<std::string>{};
  if (ignores_empty_operand_) {
    std::erase(operands, "");
  }
  if (operand_name_.empty() && !operands.empty()) {
    return refuse(fmt::format("'{}' is no option, and nothing else is expected", operands.front()));
  }
  if (!operand_name_.empty() && operands.empty()) {
    return refuse(fmt::format("No {} given.", operand_name_));
  }
  if (operands.size() > 1 && !takes_many_) {
    return refuse(
        fmt::format("one {} is expected, but {} are given", operand_name_, operands.size()));
  }
  operands_ = std::move(operands);
  return {};
}

std::optional<int> command_line::parse_with(std::span<const std::string> arguments,
                                            std::initializer_list<const char *> needed) {
  if (const auto done = parse(arguments)) {
    return done;
  }
  for (const char *option : needed) {
    if (!has(option)) {
      return refuse(fmt::format("No --{} given.", option));
    }
  }
  return {};
}

result<device_part> command_line::part(const std::string &device) const {
  device_part named{device.empty() ? operand() : text(device)};
  const auto taken = [&](const char *property) -> result<std::optional<bytes>> {
    const std::string option = part_option(device, property);
    if (!has(option)) {
      return std::nullopt;
    }
    const auto size = parse_sectors("--" + option, text(option), bare_number::is_in_sectors);
    if (!size) {
      return std::unexpected{size.error()};
    }
    return to_bytes(*size);
  };
  const auto offset = taken("offset");
  if (!offset) {
    return std::unexpected{offset.error()};
  }
  const auto size = taken("size");
  if (!size) {
    return std::unexpected{size.error()};
  }
  named.begin = offset->value_or(bytes{});
  named.size = *size;
  return named;
}

int command_line::refuse(std::string_view problem) const {
  tell(fmt::format("{0}: {1}\nTry '{0} --help'.\n", name_, problem));
  return static_cast<int>(failure::usage);
}

std::string command_line::help() const {
  std::ostringstream text;
  text << "Usage: " << name_ << ' ' << synopsis_ << "\n\n"
       << described_ << help_on_those_together_ << help_on_parts() << "\nExample: " << example_
       << '\n';
  return text.str();
}

std::string command_line::help_on_parts() const {
  if (of_parts_.empty()) {
    return {};
  }
  std::string text;
  std::string line = "  ";
  for (const std::string &each : of_parts_) {
    const std::string word = fmt::format("--{}{}", each, each == of_parts_.back() ? " SIZE" : ", ");
    if (line.size() + word.size() > help_width) {
      text += line + "\n";
      line = "  ";
    }
    line += word;
  }
  return text + line + "  use only this part of the device\n";
}

} // namespace dmcache
