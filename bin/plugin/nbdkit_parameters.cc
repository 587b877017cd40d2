#include "bin/plugin/nbdkit_parameters.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <array>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "base/size_text.h"

namespace dmcache {
namespace {

constexpr std::string_view policy_prefix = "policy-";

int take_path(std::string &into, const char *value) {
  const std::unique_ptr<char, void (*)(void *)> path{nbdkit_absolute_path(value), std::free};
  if (!path) {
    return -1;
  }
  into = path.get();
  return 0;
}

// Takes what was found, or tells why nothing was.
template <typename Value, typename Found> int take(Value &into, const result<Found> &found) {
  if (!found) {
    nbdkit_error("%s", found.error().message.c_str());
    return -1;
  }
  into = *found;
  return 0;
}

// Takes NAME, NAME-offset or NAME-size; none of these is another parameter's.
std::optional<int> take_device(device_part &into, std::string_view name, std::string_view key,
                               const char *value) {
  if (!key.starts_with(name)) {
    return {};
  }
  const std::string_view rest = key.substr(name.size());
  if (rest.empty()) {
    return take_path(into.path, value);
  }
  if (rest != "-offset" && rest != "-size") {
    return {};
  }
  sectors size;
  if (const int taken = take(size, parse_sectors(key, value, bare_number::is_in_sectors));
      taken != 0) {
    return taken;
  }
  if (rest == "-offset") {
    into.begin = to_bytes(size);
  } else {
    into.size = to_bytes(size);
  }
  return 0;
}

int take_bool(bool &into, const char *value) {
  const int parsed = nbdkit_parse_bool(value);
  if (parsed == -1) {
    return -1;
  }
  into = parsed != 0;
  return 0;
}

int take_version(std::uint32_t &into, const char *value) {
  unsigned parsed = 0;
  if (nbdkit_parse_unsigned("metadata-version", value, &parsed) == -1) {
    return -1;
  }
  if (parsed != 1 && parsed != 2) {
    nbdkit_error("metadata-version must be 1 or 2, not %u", parsed);
    return -1;
  }
  into = parsed;
  return 0;
}

int take_mode(cache_mode &into, const char *value) {
  const auto mode = find_cache_mode(value);
  if (!mode) {
    nbdkit_error("mode must be writeback, writethrough or passthrough, not '%s'", value);
    return -1;
  }
  into = *mode;
  return 0;
}

int take_dirty_tracking(dirty_tracking &into, const char *value) {
  const auto tracking = find_dirty_tracking(value);
  if (!tracking) {
    nbdkit_error("dirty-tracking must be exact or at-shutdown, not '%s'", value);
    return -1;
  }
  into = *tracking;
  return 0;
}

int take_force(accepted_devices &into, const char *value) {
  if (const auto accepted = accept(into, value); !accepted) {
    nbdkit_error("force: %s", accepted.error().message.c_str());
    return -1;
  }
  return 0;
}

int take_dirty_linger(std::chrono::seconds &into, const char *value) {
  unsigned parsed = 0;
  if (nbdkit_parse_unsigned("dirty-linger", value, &parsed) == -1) {
    return -1;
  }
  if (!is_legal_dirty_linger(std::chrono::seconds{parsed})) {
    nbdkit_error("dirty-linger must be 1 to %lld seconds, not %u",
                 static_cast<long long>(max_dirty_linger.count()), parsed);
    return -1;
  }
  into = std::chrono::seconds{parsed};
  return 0;
}

int take_control_group(std::optional<gid_t> &into, const char *value) {
  const auto found = find_group(value);
  if (!found) {
    nbdkit_error("control-group: %s", found.error().message.c_str());
    return -1;
  }
  into = *found;
  return 0;
}

int take_max_connections(unsigned &into, const char *value) {
  unsigned parsed = 0;
  if (nbdkit_parse_unsigned("max-connections", value, &parsed) == -1) {
    return -1;
  }
  if (parsed == 0) {
    nbdkit_error("max-connections must be 1 or more");
    return -1;
  }
  into = parsed;
  return 0;
}

} // namespace

int nbdkit_parameters::config(const std::string &key, const char *value) {
  if (are_complete) {
    nbdkit_error("no filter takes the parameter '%s'", key.c_str());
    return -1;
  }
  if (key == "complete") {
    return take_bool(are_complete, value);
  }
  for (const auto &[name, part] :
       {std::pair{"metadata", &paths.metadata}, std::pair{"fast", &paths.fast},
        std::pair{"origin", &paths.origin}}) {
    if (const auto taken = take_device(*part, name, key, value)) {
      return *taken;
    }
  }
  if (key == "control") {
    return take_path(control.control, value);
  }
  if (key == "status") {
    return take_path(control.status, value);
  }
  if (key == "control-mode") {
    return take(control.access.mode, parse_socket_mode(key, value));
  }
  if (key == "control-group") {
    return take_control_group(control.access.group, value);
  }
  if (key == "settings-to") {
    return nbdkit_parse_int("settings-to", value, &settings_to);
  }
  if (key == "lock") {
    paths.files_locked_by = locking::callers;
    return nbdkit_parse_int("lock", value, &locks.emplace_back());
  }
  if (key == "max-connections") {
    return take_max_connections(max_connections, value);
  }
  if (key == "block-size") {
    return take(options.block_size, parse_sectors(key, value, bare_number::is_refused));
  }
  if (key == "migration-threshold") {
    return take(options.migration_threshold, parse_sectors(key, value, bare_number::is_refused));
  }
  if (key == "metadata-version") {
    return take_version(options.metadata_version, value);
  }
  if (key == "mode") {
    return take_mode(options.mode, value);
  }
  if (key == "dirty-tracking") {
    return take_dirty_tracking(options.tracking, value);
  }
  if (key == "dirty-linger") {
    return take_dirty_linger(options.dirty_linger, value);
  }
  if (key == "accept-resize") {
    return take_bool(options.accepted.resized, value);
  }
  if (key == "force") {
    return take_force(options.accepted, value);
  }
  if (key == "create") {
    return take_bool(options.may_format, value);
  }
  if (key == "readonly") {
    return take_bool(options.read_only, value);
  }
  if (key == "discard-passdown") {
    return take_bool(options.discard_passdown, value);
  }
  if (key == "cleaning") {
    return take(options.cleaning, find_cleaning_trigger(value));
  }
  if (key == "max-dirty") {
    return take(options.max_dirty, find_dirty_limit(key, value, bare_number::is_refused));
  }
  if (key == "policy") {
    options.policy = value;
    return 0;
  }
  if (key.starts_with(policy_prefix)) {
    options.policy_settings.emplace_back(key.substr(policy_prefix.size()), value);
    return 0;
  }
  nbdkit_error("unknown parameter '%s'", key.c_str());
  return -1;
}

int nbdkit_parameters::config_complete() const {
  const std::array needed{std::pair{"metadata", &paths.metadata.path},
                          std::pair{"fast", &paths.fast.path},
                          std::pair{"origin", &paths.origin.path}};
  for (const auto &[name, path] : needed) {
    if (path->empty()) {
      nbdkit_error("you must supply the %s=DEVICE parameter after the plugin name on the command "
                   "line",
                   name);
      return -1;
    }
  }
  return 0;
}

const char *const nbdkit_parameters_help =
    "metadata=DEVICE      (required) The metadata device of the cache.\n"
    "fast=DEVICE          (required) The fast (cache) device.\n"
    "origin=DEVICE        (required) The origin, which is cached.\n"
    "NAME-offset=SIZE, NAME-size=SIZE  Where metadata, fast or origin begins on its device, and "
    "how\n"
    "                     large it is. Default: all of the device.\n"
    "create=BOOL          Make a new cache if the metadata device is all zero. Default: false.\n"
    "block-size=SIZE      The size of a cache block. Default, for a new cache: 64K.\n"
    "metadata-version=N   The metadata format of a new cache: 1 or 2 (the default).\n"
    "mode=MODE            writeback (the default), writethrough or passthrough.\n"
    "dirty-tracking=HOW   exact (the default), or at-shutdown: after a crash all is dirty then.\n"
    "dirty-linger=SECONDS  With exact: how long a block has to be quiet to count as clean after a\n"
    "                     crash. Default: 60.\n"
    "policy=NAME          sift, smq or cleaner. Default: what the cache had, or sift.\n"
    "policy-KEY=VALUE     A setting of the policy.\n"
    "migration-threshold=SIZE  How much is copied at a time in the background. Default: 1M.\n"
    "discard-passdown=BOOL  Pass discards to the origin. Default: true.\n"
    "cleaning=WHEN        Write back in the background (the default), or on-request only.\n"
    "max-dirty=SIZE|N%    How much may be dirty, and is lost with the fast device. Default: 100%.\n"
    "accept-resize=BOOL   Accept another size of the fast device or the origin. Default: false.\n"
    "force=CHECK          Use devices that look wrong: differing, contents, large-fast or image.\n"
    "readonly=BOOL        Write nothing to any of the devices. Default: false.\n"
    "control=SOCKET       A unix socket at which cache_ctl can control the cache.\n"
    "control-mode=OCTAL   The mode of that socket. Default: 600.\n"
    "control-group=GROUP  The group of that socket. Default: the server's.\n"
    "status=SOCKET        A unix socket that tells everybody the status, and does nothing else.\n"
    "settings-to=FD       A pipe that is told which settings cache_ctl has made.\n"
    "lock=FD              Who starts this has locked the cache's files, one by this descriptor.\n"
    "max-connections=N    How many clients can be connected at a time. Default: 64.\n"
    "complete=BOOL        Refuse all parameters that follow, unless filters take them.\n";

} // namespace dmcache
