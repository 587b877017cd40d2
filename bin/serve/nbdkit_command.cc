#include <unistd.h>

#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include <fmt/format.h>

#include "bin/serve/child_process.h"
#include "bin/serve/nbdkit_server.h"
#include "caching/engine/cache_engine.h"

namespace dmcache {
namespace {

constexpr const char *threads_per_connection = "16"; // requests that it can have under way
constexpr std::string_view plugin_name = "nbdkit-dmcache-plugin.so";

bool is_program(const std::filesystem::path &path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

result<std::string> find_nbdkit() {
  const char *const path = std::getenv("PATH"); // NOLINT(concurrency-mt-unsafe): one thread
  std::istringstream folders{path == nullptr ? "/usr/sbin:/usr/bin" : path};
  for (std::string folder; std::getline(folders, folder, ':');) {
    const auto program = std::filesystem::path{folder.empty() ? "." : folder} / "nbdkit";
    if (is_program(program)) { // absolute, as it may be started from another folder
      return std::filesystem::absolute(program).string();
    }
  }
  return fail(failure::environment, "nbdkit is not in PATH: install it (apt-get install nbdkit)");
}

// Looks beside this program, where the plugin is built, and then where it is installed.
result<std::string> find_plugin() {
  std::error_code failed;
  const auto own_folder = std::filesystem::read_symlink("/proc/self/exe", failed).parent_path();
  const auto installed = (own_folder / DMCACHE_PLUGIN_FOLDER).lexically_normal();
  for (const auto &folder : {own_folder, installed}) {
    if (std::filesystem::is_regular_file(folder / plugin_name, failed)) {
      return (folder / plugin_name).string();
    }
  }
  return fail(failure::environment,
              fmt::format("{} is neither beside this program nor in {}: install dmcache",
                          plugin_name, installed.string()));
}

std::string_view yes_or_no(bool value) {
  return value ? "true" : "false";
}

std::string size_text(sectors size) {
  return fmt::format("{}s", size);
}

std::string size_text(const dirty_limit &limit) {
  return limit.is_percentage ? text_of(limit) : size_text(sectors{limit.amount});
}

void add_plugin_parameters(std::vector<std::string> &command, const serve_options &options,
                           std::size_t nr_locks) {
  const engine_options &engine = options.engine;
  const auto add = [&](std::string_view key, const auto &value) {
    command.push_back(fmt::format("{}={}", key, value));
  };
  const auto add_device = [&](std::string_view key, const device_part &part) {
    add(key, part.path);
    if (part.begin != bytes{}) {
      add(fmt::format("{}-offset", key), fmt::format("{}b", part.begin));
    }
    if (part.size) {
      add(fmt::format("{}-size", key), fmt::format("{}b", *part.size));
    }
  };
  add_device("metadata", options.paths.metadata);
  add_device("fast", options.paths.fast);
  add_device("origin", options.paths.origin);
  add("create", yes_or_no(engine.may_format));
  add("readonly", yes_or_no(engine.read_only));
  add("accept-resize", yes_or_no(engine.accepted.resized));
  for (const std::string_view each : names_of(engine.accepted)) {
    add("force", each);
  }
  add("mode", name_of(engine.mode));
  add("dirty-tracking", name_of(engine.tracking));
  add("dirty-linger", engine.dirty_linger.count());
  if (!engine.policy.empty()) {
    add("policy", engine.policy);
  }
  for (const auto &[key, value] : engine.policy_settings) {
    add("policy-" + key, value);
  }
  add("metadata-version", engine.metadata_version);
  add("migration-threshold", size_text(engine.migration_threshold));
  add("discard-passdown", yes_or_no(engine.discard_passdown));
  add("cleaning", name_of(engine.cleaning));
  add("max-dirty", size_text(engine.max_dirty));
  if (engine.block_size != sectors{}) {
    add("block-size", size_text(engine.block_size));
  }
  if (!options.control.empty()) {
    add("control", options.control);
    add("control-mode", fmt::format("{:o}", options.access.mode));
    if (options.access.group) {
      add("control-group", *options.access.group);
    }
    add("settings-to", notes_descriptor);
  }
  if (!options.status.empty()) {
    add("status", options.status);
  }
  for (std::size_t i = 0; i < nr_locks; ++i) {
    add("lock", first_shared_descriptor + static_cast<int>(i));
  }
  add("max-connections", options.max_connections);
}

// Without a check of clients' certificates, whoever speaks TLS could connect.
void add_tls(std::vector<std::string> &command, const tls_options &tls) {
  if (!tls.certificates.empty()) {
    command.insert(command.end(), {"--tls=require", "--tls-verify-peer",
                                   "--tls-certificates=" + tls.certificates});
  } else if (!tls.shared_keys.empty()) {
    command.insert(command.end(), {"--tls=require", "--tls-psk=" + tls.shared_keys});
  }
}

} // namespace

std::string uri_of(const serve_options &options) {
  const std::string_view scheme = options.tls.is_on() ? "nbds" : "nbd";
  if (options.tcp) {
    return fmt::format("{}://{}", scheme, uri_part(*options.tcp));
  }
  std::string uri = fmt::format("{}+unix:///?socket=", scheme);
  for (const char each : options.socket) {
    const auto byte = static_cast<unsigned char>(each);
    const bool is_plain = std::isalnum(byte) != 0 || std::string_view{"/-._~"}.contains(each);
    uri += is_plain ? std::string{each} : fmt::format("%{:02X}", byte);
  }
  return uri;
}

result<std::vector<std::string>> nbdkit_command(const serve_options &options,
                                                std::size_t nr_locks) {
  const auto nbdkit = find_nbdkit();
  if (!nbdkit) {
    return std::unexpected{nbdkit.error()};
  }
  const auto plugin = find_plugin();
  if (!plugin) {
    return std::unexpected{plugin.error()};
  }
  std::vector<std::string> command{*nbdkit, "--foreground", "--exit-with-parent", "--threads",
                                   threads_per_connection};
  if (options.tcp) {
    command.insert(command.end(),
                   {"--ipaddr", options.tcp->host, "--port", fmt::format("{}", options.tcp->port)});
  } else {
    command.insert(command.end(), {"--unix", options.socket});
  }
  add_tls(command, options.tls);
  const passed_options &passed = options.passed;
  command.insert(command.end(), passed.options.begin(), passed.options.end());
  command.push_back(*plugin);
  add_plugin_parameters(command, options, nr_locks);
  if (!passed.parameters.empty()) {
    command.emplace_back("complete=true");
    command.insert(command.end(), passed.parameters.begin(), passed.parameters.end());
  }
  return command;
}

} // namespace dmcache
