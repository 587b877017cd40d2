#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <filesystem>
#include <optional>
#include <string_view>
#include <thread>

#include "base/output_file.h"
#include "base/report.h"
#include "base/size_text.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "bin/control/advice_chart.h"
#include "bin/control/advice_json.h"
#include "bin/control/advice_text.h"
#include "bin/control/control_client.h"
#include "bin/control/explanation_json.h"
#include "bin/control/status_json.h"
#include "bin/control/status_metrics.h"
#include "bin/control/status_text.h"
#include "bin/live_verify.h"
#include "bin/recording.h"
#include "caching/engine/options.h"

namespace dmcache {
namespace {

constexpr std::chrono::seconds between_redraws{1};
constexpr std::array forms{"human", "json", "metrics", "watch"}; // that the status can have
constexpr bytes largest_recording{std::uint64_t{1} << 30};       // unless it is told otherwise

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
  constexpr std::array requests{"status", "advise", "explain", "record", "message",
                                "set",    "clean",  "verify",  "resize", "stop"};
  if (std::ranges::find(requests, words.front()) == requests.end()) {
    return fail(failure::usage, fmt::format("'{}' is no request: status, advise, explain, record, "
                                            "message, set, clean, verify, resize and stop are",
                                            words.front()));
  }
  if (words.front() == "record") { // to a file, of which the server needs to know nothing
    return words.front();
  }
  if (words.front() == "verify" && words.size() > 1) { // whose answer only verify_live() can judge
    return fail(failure::usage, fmt::format("verify takes options, not '{}': --clear-equal, "
                                            "--drop-stale, --force differing",
                                            words[1]));
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
  if (request == "resize") {
    to.answer(*answer);
  } else if (!answer->empty()) { // of a stop
    to.problem(*answer);
  }
  return request.starts_with("stop") ? server.wait_for_its_end() : result<>{};
}

// Draws it as well, if `picture` is the path of a file.
result<> show_advice(control_client &server, bool is_json, const std::string &picture, report &to) {
  const auto text = server.ask("advise");
  if (!text) {
    return std::unexpected{text.error()};
  }
  const auto advice = advice_from_json(*text);
  if (!advice) {
    return std::unexpected{advice.error()};
  }
  if (is_json) {
    to.answer(indented_json(*text));
  } else {
    to.document(readable_advice(*advice));
  }
  if (picture.empty()) {
    return {};
  }
  if (advice->progress < 1) {
    return fail(failure::failed, "there is nothing to draw yet");
  }
  const std::array charts{chart_of(*advice)};
  return write_output(picture, svg_of(charts));
}

result<> explain(control_client &server, bytes offset, bool is_json, report &to) {
  const auto text = server.ask(fmt::format("explain {}", offset));
  if (!text) {
    return std::unexpected{text.error()};
  }
  const auto sentences = sentences_of_explanation(*text);
  if (!sentences) {
    return std::unexpected{sentences.error()};
  }
  if (is_json) {
    to.answer(indented_json(*text));
  } else {
    to.document(*sentences);
  }
  return {};
}

result<> verify(control_client &server, const command_line &line, report &to) {
  return verify_live(server,
                     {.list = line.has("list"),
                      .clear_equal = line.has("clear-equal"),
                      .drop_stale = line.has("drop-stale"),
                      .accepts_differing = line.has("force"),
                      .as_json = line.has("json")},
                     to);
}

// Takes what `record FILE` says.
result<recording_options> take_recording(const command_line &line) {
  recording_options how{.path = {}, .at_most = {}, .max_size = largest_recording};
  if (line.operands().size() != 2) {
    return fail(failure::usage, "record where? record FILE");
  }
  how.path = line.operands().back();
  if (line.has("for")) {
    const auto seconds = whole_number<std::uint32_t>(line.text("for"));
    if (!seconds || *seconds == 0) {
      return fail(failure::usage,
                  fmt::format("--for is a number of seconds, not '{}'", line.text("for")));
    }
    how.at_most = std::chrono::seconds{*seconds};
  }
  if (line.has("max-size")) {
    const auto size = parse_size(line.text("max-size"), bare_number::is_refused);
    if (!size) {
      return std::unexpected{size.error()};
    }
    how.max_size = *size;
  }
  return how;
}

bool has_json_form(std::string_view request) {
  return request == "advise" || request == "explain" || request == "verify";
}

// Each of these options goes with one request. Returns what is wrong, or nothing.
std::string misplaced_option(const command_line &line, std::string_view request) {
  constexpr std::array<std::pair<const char *, std::string_view>, 10> places{
      {{"clean", "stop"},
       {"svg", "advise"},
       {"origin", "explain"},
       {"for", "record"},
       {"max-size", "record"},
       {"list", "verify"},
       {"clear-equal", "verify"},
       {"drop-stale", "verify"},
       {"force", "verify"},
       {"quiet", "verify"}}};
  for (const auto &[option, place] : places) {
    if (line.has(option) && request != place) {
      return fmt::format("--{} goes with {}", option, place);
    }
  }
  for (const std::string &each : line.texts("force")) {
    if (each != "differing") {
      return fmt::format("'{}' can't be forced: differing can", each);
    }
  }
  return "";
}

// Makes the request. What can be wrong with that to explain or to record something is told before the
// cache is looked for. Returns the exit code.
int carry_out(const command_line &line, const std::string &request, std::string_view form) {
  const bool is_to_explain = line.operands().front() == "explain";
  const bool is_to_record = request == "record";
  result<bytes> offset;
  result<recording_options> recording;
  if (is_to_explain) {
    offset = line.has("origin") && line.operands().size() == 1
                 ? parse_size(line.text("origin"), bare_number::is_refused)
                 : fail(failure::usage, "explain what? explain --origin OFFSET");
  }
  if (is_to_record) {
    recording = take_recording(line);
  }
  if (!offset || !recording) {
    return line.refuse((offset ? recording.error() : offset.error()).message);
  }
  report to{"cache_ctl", line.has("quiet")};
  const std::string path = line.text("control");
  auto server = control_client::connect(path);
  if (!server) {
    return to.failed(server.error());
  }
  return to.ended(request == "status" ? show_status(*server, form, path, to)
                  : request == "advise"
                      ? show_advice(*server, form == "json", line.text_or("svg", ""), to)
                  : is_to_explain       ? explain(*server, *offset, form == "json", to)
                  : is_to_record        ? record(*server, *recording, to)
                  : request == "verify" ? verify(*server, line, to)
                                        : request_and_wait(*server, request, to));
}

} // namespace

int run_cache_ctl(std::span<const std::string> arguments) {
  command_line line{
      "cache_ctl",
      "--control SOCKET status [--human|--json|--metrics|--watch]\n"
      "       cache_ctl --control SOCKET advise [--json] [--svg FILE]\n"
      "       cache_ctl --control SOCKET explain --origin OFFSET [--json]\n"
      "       cache_ctl --control SOCKET record FILE [--for SECONDS] [--max-size SIZE]\n"
      "       cache_ctl --control SOCKET message [0] KEY VALUE...\n"
      "       cache_ctl --control SOCKET set mode MODE\n"
      "       cache_ctl --control SOCKET set policy NAME [KEY VALUE]...\n"
      "       cache_ctl --control SOCKET set cleaning background|on-request\n"
      "       cache_ctl --control SOCKET set max-dirty SIZE|PERCENT%\n"
      "       cache_ctl --control SOCKET clean\n"
      "       cache_ctl --control SOCKET verify [OPTION...]\n"
      "       cache_ctl --control SOCKET resize\n"
      "       cache_ctl --control SOCKET stop [--clean]",
      "cache_ctl --control /run/dmcache/disk/control status --human"};
  line.take_operands("request");
  line.add("control", "SOCKET", "where the cache listens: cache_serve --control");
  line.add("human", "tell the status in words, not as the kernel's status line");
  line.add("json", "tell it, or what is asked for, as JSON");
  line.add("metrics", "tell it as OpenMetrics, for Prometheus");
  line.add("watch", "tell it in words once a second, with rates");
  line.add("svg", "FILE", "draw as well what caches of other sizes would hit");
  line.add("origin", "OFFSET", "of the block that is to be explained");
  line.add("for", "SECONDS", "record for so long (default: until interrupted)");
  line.add("max-size", "SIZE", "or until the file is as large (default: 1g)");
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
  const std::string &first = line.operands().front();
  if (const std::string wrong = misplaced_option(line, first); !wrong.empty()) {
    return line.refuse(wrong);
  }
  const auto form = form_of_status(line);
  const bool is_with_form = *request == "status" || (form == "json" && has_json_form(*request));
  if (!form || (!form->empty() && !is_with_form)) {
    return line.refuse("--human, --json, --metrics and --watch are forms of the status, one at a "
                       "time");
  }
  return carry_out(line, first == "stop" && line.has("clean") ? *request + " clean" : *request,
                   *form);
}

} // namespace dmcache
