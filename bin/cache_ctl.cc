#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string_view>
#include <thread>

#include "base/report.h"
#include "bin/command.h"
#include "bin/control/control_client.h"
#include "bin/control/status_json.h"
#include "bin/control/status_metrics.h"
#include "bin/control/status_text.h"
#include "bin/live_verify.h"
#include "caching/engine/options.h"

namespace dmcache {
namespace {

constexpr std::chrono::seconds between_redraws{1};
constexpr std::array forms{"human", "json", "metrics", "watch"}; // that the status can have
constexpr std::array verify_only{"list", "clear-equal", "drop-stale", "force", "quiet"}; // options

// The form of the status that is asked for; "" is the kernel's line. None if there are several.
std::optional<std::string> form_of_status(const command_line &line) {
  std::string form;
  for (const char *each : forms) {
    if (line.has(each)) {
      if (!form.empty()) {
        return {};
      }
      form = each;
    }
  }
  return form;
}

// The request that these words make, as the control socket takes it. The server finds out whether
// the words after the first make sense.
result<std::string> request_of(std::vector<std::string> words) {
  constexpr std::array requests{"status", "message", "set", "clean", "verify", "stop"};
  if (std::ranges::find(requests, words.front()) == requests.end()) {
    return fail(failure::usage, fmt::format("'{}' is no request: status, message, set, clean, "
                                            "verify and stop are",
                                            words.front()));
  }
  if (words.front() == "set" && words.size() < 3) {
    return fail(failure::usage, "set what? set mode MODE, or set policy NAME [KEY VALUE]...");
  }
  if (words.front() == "set" && words[1] == "max-dirty") {
    const auto limit = find_dirty_limit("max-dirty", words[2], bare_number::is_refused);
    if (!limit) {
      return std::unexpected{limit.error()};
    }
  }
  // dmsetup wants to know which target of a device the message is for, by one of its sectors. Those
  // who are used to it, and scripts written for it, give the cache's first one.
  if (words.front() == "message" && words.size() > 2 && words[1] == "0") {
    words.erase(words.begin() + 1);
  }
  for (const std::string &word : words) {
    if (std::ranges::any_of(word, [](char each) { return each < ' ' || each > '~'; })) {
      return fail(failure::usage, "requests are words of printable characters");
    }
  }
  return fmt::format("{}", fmt::join(words, " "));
}

result<status_sample> take_sample(control_client &server) {
  const auto text = server.ask("status");
  if (!text) {
    return std::unexpected{text.error()};
  }
  const auto status = status_from_json(*text);
  if (!status) {
    return std::unexpected{status.error()};
  }
  return status_sample{*status, std::chrono::steady_clock::now()};
}

// On a terminal, each line replaces the one that stood there.
std::string over_the_last(std::string_view text) {
  constexpr std::string_view home = "\x1b[H";
  constexpr std::string_view clear_to_end_of_line = "\x1b[K";
  constexpr std::string_view clear_below = "\x1b[J";
  std::string all{home};
  for (const char each : text) {
    if (each == '\n') {
      all += clear_to_end_of_line;
    }
    all += each;
  }
  return all.append(clear_below);
}

// Ends when the server ends, or when nobody reads the output any more.
result<> watch(control_client &server) {
  const bool is_terminal = ::isatty(STDOUT_FILENO) == 1;
  std::optional<status_sample> before;
  while (true) {
    auto now = take_sample(server);
    if (!now) {
      return std::unexpected{now.error()};
    }
    const std::string text = readable_status(*now, before ? &*before : nullptr);
    if (auto written = write_out(is_terminal ? over_the_last(text) : text + '\n'); !written) {
      const bool is_unread = written.error().message.empty();
      return is_unread ? result<>{} : written;
    }
    before = std::move(*now);
    std::this_thread::sleep_for(between_redraws);
  }
}

result<> show_status(control_client &server, std::string_view form, const std::string &path,
                     report &to) {
  if (form == "watch") {
    return watch(server);
  }
  const auto now = take_sample(server);
  if (!now) {
    return std::unexpected{now.error()};
  }
  if (form == "json") {
    to.answer(indented_json(to_json(now->status)));
  } else if (form == "metrics") {
    to.document(metrics_text(now->status, std::filesystem::weakly_canonical(path).string()));
  } else if (form == "human") {
    to.document(readable_status(*now));
  } else {
    to.answer(status_line(now->status));
  }
  return {};
}

result<> request_and_wait(control_client &server, const std::string &request, report &to) {
  std::uint64_t so_far = 0;
  bool has_begun = false;
  const auto answer = server.ask(request, [&](std::uint64_t done, std::uint64_t total) {
    if (total != 0 && !std::exchange(has_begun, true)) {
      to.watcher().begin("writing back", total);
    }
    if (done > so_far) {
      to.watcher().advance(done - std::exchange(so_far, done));
    }
  });
  to.watcher().clear();
  if (!answer) {
    return std::unexpected{answer.error()};
  }
  if (!answer->empty()) { // of a stop
    to.problem(*answer);
  }
  return request.starts_with("stop") ? server.wait_for_its_end() : result<>{};
}

} // namespace

int run_cache_ctl(std::span<const std::string> arguments) {
  command_line line{"cache_ctl",
                    "--control SOCKET status [--human|--json|--metrics|--watch]\n"
                    "       cache_ctl --control SOCKET message [0] KEY VALUE...\n"
                    "       cache_ctl --control SOCKET set mode MODE\n"
                    "       cache_ctl --control SOCKET set policy NAME [KEY VALUE]...\n"
                    "       cache_ctl --control SOCKET set cleaning background|on-request\n"
                    "       cache_ctl --control SOCKET set max-dirty SIZE|PERCENT%\n"
                    "       cache_ctl --control SOCKET clean\n"
                    "       cache_ctl --control SOCKET verify [OPTION...]\n"
                    "       cache_ctl --control SOCKET stop [--clean]",
                    "cache_ctl --control /run/dmcache/disk/control status --human"};
  line.take_operands("request");
  line.add("control", "SOCKET", "where the cache listens: cache_serve --control");
  line.add("human", "tell the status in words, not as the kernel's status line");
  line.add("json", "tell it, or what verify has found, as JSON");
  line.add("metrics", "tell it as OpenMetrics, for Prometheus");
  line.add("watch", "tell it in words once a second, with rates");
  line.add("list", "verify: print clean blocks that differ, and dirty ones that don't");
  line.add("clear-equal", "verify: make dirty blocks clean that are the same on the origin");
  line.add("drop-stale", "verify: take clean blocks out of the cache that differ from the origin");
  line.add_repeatable("force", "CHECK", "verify: drop though devices look wrong: differing");
  line.add("quiet,q", "verify: print nothing; the exit status tells");
  line.add("clean", "before stopping, write back everything, while clients are served");
  if (const auto done = line.parse_with(arguments, {"control"})) {
    return *done;
  }
  auto request = request_of(line.operands());
  if (!request) {
    return line.refuse(request.error().message);
  }
  if (line.has("clean")) {
    if (*request != "stop") {
      return line.refuse("--clean goes with stop");
    }
    *request += " clean";
  }
  const bool is_verification = *request == "verify";
  for (const char *each : verify_only) {
    if (line.has(each) && !is_verification) {
      return line.refuse(fmt::format("--{} goes with verify", each));
    }
  }
  for (const std::string &each : line.texts("force")) {
    if (each != "differing") {
      return line.refuse(fmt::format("'{}' can't be forced: differing can", each));
    }
  }
  const auto form = form_of_status(line);
  const bool is_json_of_verification = is_verification && form == "json";
  if (!form || (!form->empty() && *request != "status" && !is_json_of_verification)) {
    return line.refuse("--human, --json, --metrics and --watch are forms of the status, one at a "
                       "time");
  }
  report to{"cache_ctl", line.has("quiet")};
  const std::string path = line.text("control");
  auto server = control_client::connect(path);
  if (!server) {
    return to.failed(server.error());
  }
  if (is_verification) {
    return to.ended(verify_live(*server,
                                {.list = line.has("list"),
                                 .clear_equal = line.has("clear-equal"),
                                 .drop_stale = line.has("drop-stale"),
                                 .accepts_differing = line.has("force"),
                                 .as_json = line.has("json")},
                                to));
  }
  const auto done = *request == "status" ? show_status(*server, *form, path, to)
                                         : request_and_wait(*server, *request, to);
  return to.ended(done);
}

} // namespace dmcache
