#include "bin/lvm/lvm_connection.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "base/output_file.h"
#include "bin/lvm/lvm_settings.h"

namespace dmcache {
namespace {

using std::filesystem::path;
using changes = std::vector<std::string>;

constexpr std::array commands{"cache_check", "cache_dump", "cache_repair", "cache_restore"};
constexpr std::string_view part_begins =
    "# What dmcache install-lvm has set, and dmcache install-lvm --undo removes, begins.\n";
constexpr std::string_view part_ends = "# What dmcache install-lvm has set ends.\n";

// What takes dmcache into the initial file system, and what tells a user about its caches there.
struct boot_module {
  const char *installed; // below the prefix
  const char *link;      // where it is found if the prefix is not /usr
  const char *next_step;
};
constexpr const char *remake_by_initramfs_tools =
    "make the initial file systems anew, by: update-initramfs -u -k all";
constexpr std::array boot_modules{
    boot_module{"share/initramfs-tools/hooks/dmcache", "/etc/initramfs-tools/hooks/dmcache",
                remake_by_initramfs_tools},
    boot_module{"share/initramfs-tools/scripts/panic/dmcache",
                "/etc/initramfs-tools/scripts/panic/dmcache", remake_by_initramfs_tools},
    boot_module{"lib/dracut/modules.d/95dmcache", "/usr/lib/dracut/modules.d/95dmcache",
                "make the initial file systems anew, by: dracut --regenerate-all --force"},
};

path in(const lvm_system &system, const path &its) {
  return system.root / its.relative_path();
}

std::unexpected<error> cannot(std::string_view act, const path &file,
                              const std::error_code &reason) {
  return fail(failure::environment,
              fmt::format("cannot {} {}: {}", act, file.string(), reason.message()));
}

// The contents of a file, or nothing if there is none.
result<std::optional<std::string>> read(const path &file) {
  std::error_code failed;
  if (!std::filesystem::exists(file, failed) && !failed) {
    return std::nullopt;
  }
  std::ifstream from{file, std::ios::binary};
  std::string text{std::istreambuf_iterator<char>{from}, {}};
  if (!from.is_open() || from.bad()) {
    return cannot("read", file, failed ? failed : std::make_error_code(std::errc::io_error));
  }
  return text;
}

struct divided_text {
  std::string before;
  std::string part; // dmcache's, with its marks; empty if there is none
  std::string after;

  // What is outside of the part, with as many lines.
  std::string others() const {
    const auto lines = static_cast<std::size_t>(std::ranges::count(part, '\n'));
    return before + std::string(lines, '\n') + after;
  }
};

result<divided_text> divide(const path &file, const std::string &text) {
  const auto begin = text.find(part_begins);
  const auto end = text.find(part_ends);
  if (begin == std::string::npos && end == std::string::npos) {
    return divided_text{text, "", ""};
  }
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    return fail(failure::failed,
                fmt::format("{}: one of the two lines between which dmcache's settings stand is "
                            "missing: remove the other one, and dmcache's settings",
                            file.string()));
  }
  const auto after = end + part_ends.size();
  return divided_text{text.substr(0, begin), text.substr(begin, after - begin), text.substr(after)};
}

result<divided_text> read_local(const path &file) {
  const auto text = read(file);
  if (!text) {
    return std::unexpected{text.error()};
  }
  auto divided = divide(file, text->value_or(""));
  if (!divided) {
    return divided;
  }
  const auto own = read_lvm_settings(divided->part);
  const auto is_ours = [](const lvm_setting &each) {
    return std::ranges::any_of(commands, [&](std::string_view command) {
      return each.path == fmt::format("global/{}_executable", command);
    });
  };
  if (!own || !std::ranges::all_of(*own, is_ours)) {
    return fail(failure::failed,
                fmt::format("{}: there is something else among dmcache's settings: "
                            "move it out of the lines between which they stand",
                            file.string()));
  }
  return divided;
}

// The commands that this LVM calls: its example of a configuration names the settings of all. It warns
// of those that it doesn't know.
result<changes> commands_known_to(const path &main_file) {
  const auto text = read(main_file);
  if (!text) {
    return std::unexpected{text.error()};
  }
  if (!*text) {
    return fail(failure::environment,
                fmt::format("{} isn't there: is LVM installed?", main_file.string()));
  }
  changes known;
  for (const std::string_view command : commands) {
    // Releases before 2.03.22 don't call it.
    if (command != "cache_restore" || (*text)->contains("cache_restore_executable")) {
      known.emplace_back(command);
    }
  }
  return known;
}

// The links of dmcache are beside it, and lead to it.
result<> check_programs(const lvm_system &system, const changes &known) {
  const path program = in(system, system.programs / "dmcache");
  for (const std::string &command : known) {
    const path link = in(system, system.programs / command);
    std::error_code failed;
    if (!std::filesystem::equivalent(link, program, failed)) {
      return fail(failure::failed,
                  fmt::format("{} is not a link to {}: LVM would call something else, or nothing; "
                              "install dmcache by cmake --install",
                              link.string(), program.string()));
    }
  }
  return {};
}

// That nobody has set another program in `text`, which is what `file` says.
result<> check_settings(const path &file, std::string_view text, const lvm_system &system) {
  const auto settings = read_lvm_settings(text);
  if (!settings) {
    return fail(settings.error().kind,
                fmt::format("{}, {}", file.string(), settings.error().message));
  }
  for (const lvm_setting &each : *settings) {
    for (const std::string command : commands) {
      if (each.path == fmt::format("global/{}_executable", command) &&
          each.value != system.programs / command) {
        return fail(failure::failed,
                    fmt::format("{}, line {}: {} is set already, to \"{}\": remove that, if LVM is "
                                "to call dmcache",
                                file.string(), each.line, each.path, each.value));
      }
    }
  }
  return {};
}

// The files that LVM reads beside lvmlocal.conf: those for hosts with a tag as well.
result<> check_other_files(const lvm_system &system) {
  std::error_code failed;
  const path folder = in(system, system.configuration);
  for (const auto &each : std::filesystem::directory_iterator{folder, failed}) {
    const std::string name = each.path().filename();
    if (name != "lvm.conf" && !(name.starts_with("lvm_") && name.ends_with(".conf"))) {
      continue;
    }
    const auto text = read(each.path());
    if (!text) {
      return std::unexpected{text.error()};
    }
    if (auto fine = check_settings(each.path(), text->value_or(""), system); !fine) {
      return fine;
    }
  }
  return failed ? cannot("read", folder, failed) : result<>{};
}

bool is_boot_module_in_use(const lvm_system &system, const boot_module &module) {
  return std::filesystem::is_directory(in(system, module.link).parent_path()) &&
         system.programs.parent_path() != "/usr";
}

result<> check_boot_modules(const lvm_system &system) {
  for (const boot_module &each : boot_modules) {
    if (!is_boot_module_in_use(system, each)) {
      continue;
    }
    const path installed = in(system, system.programs.parent_path() / each.installed);
    if (!std::filesystem::exists(installed)) {
      return fail(failure::failed,
                  fmt::format("{} isn't there, so dmcache would be missing at boot: install it by "
                              "cmake --install",
                              installed.string()));
    }
    const path link = in(system, each.link);
    if (std::filesystem::exists(link) && !std::filesystem::is_symlink(link)) {
      return fail(failure::failed, fmt::format("{} is somebody else's, not a link of dmcache: "
                                               "remove it, if dmcache is to be there at boot",
                                               link.string()));
    }
  }
  return {};
}

result<> link_boot_modules(const lvm_system &system, changes &made) {
  for (const boot_module &each : boot_modules) {
    const path link = in(system, each.link);
    const path target = system.programs.parent_path() / each.installed;
    std::error_code failed;
    if (!is_boot_module_in_use(system, each) ||
        std::filesystem::read_symlink(link, failed) == target) {
      continue;
    }
    std::filesystem::remove(link, failed);
    std::filesystem::create_symlink(target, link, failed);
    if (failed) {
      return cannot("make the link", link, failed);
    }
    made.push_back(
        fmt::format("{} is a link to {} now; {}", link.string(), target.string(), each.next_step));
  }
  return {};
}

result<> remove_boot_modules(const lvm_system &system, changes &made) {
  for (const boot_module &each : boot_modules) {
    const path link = in(system, each.link);
    std::error_code failed;
    if (!std::filesystem::is_symlink(link)) {
      continue;
    }
    if (!std::filesystem::remove(link, failed)) {
      return cannot("remove the link", link, failed);
    }
    made.push_back(fmt::format("{} is removed; {}", link.string(), each.next_step));
  }
  return {};
}

std::string settings_of(const lvm_system &system, const changes &known) {
  std::string text{part_begins};
  text += "global {\n";
  for (const std::string &command : known) {
    text +=
        fmt::format("\t{}_executable = \"{}\"\n", command, (system.programs / command).string());
  }
  return text + "}\n" + std::string{part_ends};
}

} // namespace

result<changes> connect_lvm(const lvm_system &system) {
  const path folder = in(system, system.configuration);
  const path local = folder / "lvmlocal.conf";
  const auto known = commands_known_to(folder / "lvm.conf");
  if (!known) {
    return std::unexpected{known.error()};
  }
  auto text = read_local(local);
  if (!text) {
    return std::unexpected{text.error()};
  }
  for (const result<> &fine :
       {check_programs(system, *known), check_settings(local, text->others(), system),
        check_other_files(system), check_boot_modules(system)}) {
    if (!fine) {
      return std::unexpected{fine.error()};
    }
  }
  // The links come first: settings without them would lead to a program that is missing at boot.
  changes made;
  if (const auto linked = link_boot_modules(system, made); !linked) {
    return std::unexpected{linked.error()};
  }
  const std::string settings = settings_of(system, *known);
  if (settings == text->part) {
    return made;
  }
  if (!text->before.empty() && !text->before.ends_with('\n')) {
    text->before += '\n';
  }
  if (const auto written = write_output(local, text->before + settings + text->after); !written) {
    return std::unexpected{written.error()};
  }
  made.push_back(fmt::format("{} makes LVM call the commands in {}", local.string(),
                             system.programs.string()));
  return made;
}

result<changes> disconnect_lvm(const lvm_system &system) {
  const path local = in(system, system.configuration) / "lvmlocal.conf";
  const auto text = read_local(local);
  if (!text) {
    return std::unexpected{text.error()};
  }
  changes made;
  if (!text->part.empty()) {
    if (const auto written = write_output(local, text->before + text->after); !written) {
      return std::unexpected{written.error()};
    }
    made.push_back(fmt::format("{} leaves it to LVM what it calls", local.string()));
  }
  if (const auto removed = remove_boot_modules(system, made); !removed) {
    return std::unexpected{removed.error()};
  }
  return made;
}

} // namespace dmcache
