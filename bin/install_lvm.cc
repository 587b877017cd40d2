#include <cstdlib>
#include <filesystem>

#include "base/report.h"
#include "bin/command.h"
#include "bin/lvm/lvm_connection.h"

namespace dmcache {
namespace {

using std::filesystem::path;

// Where this program is, as a system in the folder `root` sees it.
path own_folder(const path &root) {
  std::error_code failed;
  const path folder = std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
  const path below = folder.lexically_relative(root);
  return below.empty() || *below.begin() == ".." ? folder : "/" / below;
}

path folder_of_lvm() {
  const char *const named = std::getenv("LVM_SYSTEM_DIR"); // NOLINT(*-mt-unsafe): one thread
  return named != nullptr && *named != '\0' ? named : "/etc/lvm";
}

} // namespace

int run_install_lvm(std::span<const std::string> arguments) {
  command_line line{"dmcache install-lvm", "[OPTION...]", "dmcache install-lvm"};
  line.add("undo", "let LVM call what it would without dmcache");
  line.add("root", "FOLDER", "of the system to change (default: /)");
  line.add("quiet,q", "print nothing; the exit status tells");
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  report told{"dmcache install-lvm", line.has("quiet")};
  std::error_code failed;
  const path root = std::filesystem::canonical(line.text_or("root", "/"), failed);
  if (failed) {
    return told.failed({failure::environment, fmt::format("cannot use the folder {}: {}",
                                                          line.text("root"), failed.message())});
  }
  const lvm_system system{root, own_folder(root), folder_of_lvm()};
  const auto changed = line.has("undo") ? disconnect_lvm(system) : connect_lvm(system);
  if (!changed) {
    return told.failed(changed.error());
  }
  for (const std::string &each : *changed) {
    told.answer(each);
  }
  if (changed->empty()) {
    told.answer("nothing had to be changed");
  }
  return 0;
}

} // namespace dmcache
