#include <algorithm>

#include "base/size_text.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "bin/control/status_text.h"
#include "bin/serve/nbdkit_server.h"
#include "bin/serve/serve_check.h"
#include "bin/serve_addresses.h"
#include "caching/engine/cache_engine.h"

namespace dmcache {
namespace {

// Who serves a cache may know the plugin's parameters, or those of other servers, to which a bare
// number is in bytes.
result<sectors> size_in_sectors(const command_line &line, const char *option) {
  return parse_sectors(fmt::format("--{}", option), line.text(option), bare_number::is_refused);
}

result<std::vector<policy::setting>> policy_settings(const command_line &line) {
  std::vector<policy::setting> settings;
  for (const std::string &text : line.texts("policy-setting")) {
    const std::size_t equals = text.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(failure::usage, fmt::format("--policy-setting takes KEY=VALUE, not '{}'", text));
    }
    settings.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  return settings;
}

// Takes the options about new metadata, which only --create makes.
result<> take_format(const command_line &line, engine_options &engine) {
  engine.may_format = line.has("create");
  if (engine.may_format && engine.read_only) {
    return fail(failure::usage, "--create and --read-only exclude each other");
  }
  if (line.has("metadata-version")) {
    const auto version = whole_number<std::uint32_t>(line.text("metadata-version"));
    if (!version || (*version != 1 && *version != 2)) {
      return fail(failure::usage, "the metadata version is 1 or 2");
    }
    if (!engine.may_format) {
      return fail(failure::usage,
                  "--metadata-version is that of new metadata: it goes with --create");
    }
    engine.metadata_version = *version;
  }
  if (line.has("block-size")) {
    const auto size = size_in_sectors(line, "block-size");
    if (!size) {
      return std::unexpected{size.error()};
    }
    if (!is_legal_data_block_size(size->value())) {
      return fail(failure::usage, fmt::format("--block-size is a multiple of 32k up to 1g, not {}",
                                              line.text("block-size")));
    }
    engine.block_size = *size;
  }
  return {};
}

result<> take_dirty_tracking(const command_line &line, engine_options &engine) {
  const auto tracking = find_dirty_tracking(line.text_or("dirty-tracking", "exact"));
  if (!tracking) {
    return std::unexpected{tracking.error()};
  }
  engine.tracking = *tracking;
  if (line.has("dirty-linger")) {
    const std::string text = line.text("dirty-linger");
    const auto linger = whole_number<std::uint32_t>(text);
    if (!linger || !is_legal_dirty_linger(std::chrono::seconds{*linger})) {
      return fail(failure::usage, fmt::format("--dirty-linger is 1 to {} seconds, not '{}'",
                                              max_dirty_linger.count(), text));
    }
    engine.dirty_linger = std::chrono::seconds{*linger};
  }
  return {};
}

// Takes the options about what is dirty, and when it is written back.
result<> take_cleaning(const command_line &line, engine_options &engine) {
  const auto trigger = find_cleaning_trigger(line.text_or("cleaning", "background"));
  if (!trigger) {
    return std::unexpected{trigger.error()};
  }
  engine.cleaning = *trigger;
  if (line.has("max-dirty")) {
    const auto limit =
        find_dirty_limit("--max-dirty", line.text("max-dirty"), bare_number::is_refused);
    if (!limit) {
      return std::unexpected{limit.error()};
    }
    engine.max_dirty = *limit;
  }
  return {};
}

result<engine_options> take_engine_options(const command_line &line) {
  engine_options engine;
  engine.read_only = line.has("read-only");
  engine.discard_passdown = !line.has("no-discard-passdown");
  if (auto taken = take_format(line, engine); !taken) {
    return std::unexpected{taken.error()};
  }
  engine.accepted.resized = line.has("accept-resize");
  for (const std::string &each : line.texts("force")) {
    if (auto taken = accept(engine.accepted, each); !taken) {
      return std::unexpected{taken.error()};
    }
  }
  const auto mode = find_cache_mode(line.text_or("mode", "writeback"));
  if (!mode) {
    return std::unexpected{mode.error()};
  }
  engine.mode = *mode;
  if (auto taken = take_dirty_tracking(line, engine); !taken) {
    return std::unexpected{taken.error()};
  }
  if (auto taken = take_cleaning(line, engine); !taken) {
    return std::unexpected{taken.error()};
  }
  engine.policy = line.text_or("policy", "");
  auto settings = policy_settings(line);
  if (!settings) {
    return std::unexpected{settings.error()};
  }
  engine.policy_settings = std::move(*settings);
  if (line.has("migration-threshold")) {
    const auto threshold = size_in_sectors(line, "migration-threshold");
    if (!threshold) {
      return std::unexpected{threshold.error()};
    }
    engine.migration_threshold = *threshold;
  }
  return engine;
}

result<cache_paths> take_devices(const command_line &line) {
  cache_paths paths;
  for (const auto &[option, part] :
       {std::pair{"metadata-device", &paths.metadata}, std::pair{"fast-device", &paths.fast},
        std::pair{"origin-device", &paths.origin}}) {
    auto named = line.part(option);
    if (!named) {
      return std::unexpected{named.error()};
    }
    *part = std::move(*named);
    part->path = absolute(part->path);
  }
  return paths;
}

std::string log_of(const command_line &line) {
  const std::string log = line.text_or("log", "");
  return log == "stderr" || log == "journal" ? log : absolute(log);
}

result<> take_connections(const command_line &line, serve_options &options) {
  if (line.has("max-connections")) {
    const auto number = whole_number<unsigned>(line.text("max-connections"));
    if (!number || *number == 0) {
      return fail(failure::usage, fmt::format("--max-connections is a number from 1 on, not '{}'",
                                              line.text("max-connections")));
    }
    options.max_connections = *number;
  }
  return {};
}

// A URI isn't something that the kernel can open.
result<> check_that_they_are_devices(const command_line &line) {
  for (const char *option : {"metadata-device", "fast-device", "origin-device"}) {
    if (const std::string text = line.text(option); text.contains("://")) {
      return fail(
          failure::usage,
          fmt::format("--{} is a block device or a regular file, not '{}': nbd-client makes "
                      "a block device of what an NBD server serves",
                      option, text));
    }
  }
  return {};
}

// `passed_on` are the words that follow "--".
result<serve_options> take_options(const command_line &line,
                                   std::span<const std::string> passed_on) {
  if (const auto checked = check_that_they_are_devices(line); !checked) {
    return std::unexpected{checked.error()};
  }
  const auto engine = take_engine_options(line);
  if (!engine) {
    return std::unexpected{engine.error()};
  }
  const auto paths = take_devices(line);
  if (!paths) {
    return std::unexpected{paths.error()};
  }
  serve_options options{.paths = *paths,
                        .engine = *engine,
                        .socket = {},
                        .tcp = {},
                        .tls = {},
                        .control = {},
                        .access = {},
                        .status = {},
                        .run = line.text_or("run", ""),
                        .foreground = line.has("foreground"),
                        .max_connections = 64,
                        .passed = {},
                        .log = log_of(line)};
  auto passed = take_passed_options(passed_on);
  if (!passed) {
    return std::unexpected{passed.error()};
  }
  options.passed = std::move(*passed);
  if (const auto taken = take_connections(line, options); !taken) {
    return std::unexpected{taken.error()};
  }
  if (const auto taken = take_addresses(line, options); !taken) {
    return std::unexpected{taken.error()};
  }
  return options;
}

result<int> serve(const serve_options &options, report &to) {
  const auto rehearsed = check_before_serving(options.paths, options.engine);
  if (!rehearsed) {
    return std::unexpected{rehearsed.error()};
  }
  if (const auto checked = check_addresses(options); !checked) {
    return std::unexpected{checked.error()};
  }
  if (options.engine.may_format) {
    to.problem(description_of_new(*rehearsed));
  }
  return run_nbdkit(options, to);
}

} // namespace

int run_cache_serve(std::span<const std::string> arguments) {
  command_line line{
      "cache_serve",
      "[OPTION...] --metadata-device DEVICE --fast-device DEVICE --origin-device DEVICE\n"
      "         [-- --filter=FILTER|KEY=VALUE|NBDKIT-OPTION...]",
      "cache_serve --metadata-device cmeta --fast-device ssd --origin-device slow --create"};
  for (const char *each : {"metadata-device", "fast-device", "origin-device"}) {
    line.add_of_synopsis(each);
  }
  line.add("create", "make a new cache; the metadata device must be all zero");
  line.add("accept-resize", "accept another size of the fast device or the origin");
  line.add_repeatable("force", "CHECK", "use devices though they look wrong: see the man page");
  line.add("block-size", "SIZE", "size of the new cache's blocks (default: 64k or more)");
  line.add("metadata-version", "1|2", "its metadata's format (default: 2)");
  line.add("mode", "MODE", "writeback (the default), writethrough or passthrough");
  line.add("dirty-tracking", "HOW", "exact (the default), or at-shutdown as the kernel does");
  line.add("dirty-linger", "SECONDS", "until clean blocks' bits are cleared (default: 60)");
  line.add("policy", "NAME", "sift, smq or cleaner (default: as it was; sift if it is new)");
  line.add_repeatable("policy-setting", "KEY=VALUE", "a setting of the policy; any number of them");
  line.add("migration-threshold", "SIZE",
           "how much to copy at a time in the background (default: 1m)");
  line.add("cleaning", "WHEN", "write back in the background (the default), or on-request only");
  line.add("max-dirty", "SIZE|N%", "how much may be dirty, and is lost with the fast device");
  line.add("no-discard-passdown", "don't pass discards on to the origin");
  line.add("read-only", "write nothing to any of the three devices");
  line.add("socket", "PATH", "serve at this unix socket");
  line.add("port", "N", "serve at this TCP port, for clients on this host");
  line.add("control", "PATH", "make this socket for cache_ctl");
  line.add("max-connections", "N", "of clients at a time (default: 64)");
  line.add("log", "FILE", "where messages go: FILE, stderr, or journal (the system's log)");
  line.add("foreground", "stay until the cache is shut down");
  line.add("run", "COMMAND", "serve while the shell runs this, with $uri in its environment");
  line.add_together({{"status-socket", "PATH"}, {"socket-group", "GROUP"}, {"socket-mode", "MODE"}},
                    "let in other users");
  line.add_together({{"listen", "ADDRESS"},
                     {"tls-certificates", "DIR"},
                     {"tls-psk", "FILE"},
                     {"insecure", nullptr}},
                    "serve other hosts");
  line.add_parts_of({"metadata-device", "fast-device", "origin-device"});
  const auto end = std::ranges::find(arguments, "--");
  const auto passed_on = std::span{end, arguments.end()};
  if (const auto done = line.parse_with({arguments.begin(), end},
                                        {"metadata-device", "fast-device", "origin-device"})) {
    return *done;
  }
  report to{"cache_serve", false};
  const auto options = take_options(line, passed_on.empty() ? passed_on : passed_on.subspan(1));
  if (!options) {
    return options.error().kind == failure::usage ? line.refuse(options.error().message)
                                                  : to.failed(options.error());
  }
  const auto served = serve(*options, to);
  return served ? *served : to.failed(served.error());
}

} // namespace dmcache
