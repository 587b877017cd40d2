// What is fuzzed: the client's end of a control socket, and all that is made of a status, with a
// server that answers whatever an input says; and the line by which a server's settings are kept.

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "bin/control/control_client.h"
#include "bin/control/settings_line.h"
#include "bin/control/status_json.h"
#include "bin/control/status_metrics.h"
#include "bin/control/status_text.h"
#include "bin/control/unix_socket.h"

namespace dmcache::fuzz {
namespace {

// Answers without reading, all that fits into the socket.
class server {
 public:
  server()
      : path_{std::filesystem::temp_directory_path() / ("fuzz" + std::to_string(::getpid()))},
        listens_{listening_socket::at(path_).value()}, door_{listens_.take_descriptor()} {}

  const std::string &path() const { return path_; }
  void answer(std::string_view text) const {
    const file_descriptor client{::accept(door_.get(), nullptr, nullptr)};
    require(client.is_open(), "a client has connected");
    (void)::send(client.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

 private:
  std::string path_;
  listening_socket listens_;
  file_descriptor door_;
};

void show(std::string_view json) {
  const auto status = status_from_json(json);
  if (!status) {
    return;
  }
  [[maybe_unused]] const std::string indented = indented_json(json);
  const status_sample now{*status, std::chrono::steady_clock::time_point{std::chrono::hours{1}}};
  const status_sample before{*status, {}};
  [[maybe_unused]] const std::string line = status_line(*status);
  [[maybe_unused]] const std::string text = readable_status(now, &before);
  [[maybe_unused]] const std::string metrics = metrics_text(*status, "cache");
  [[maybe_unused]] const std::string lacks = incompleteness_of(*status);
  [[maybe_unused]] const std::string shortage = metadata_shortage_of(*status);
  const auto again = status_from_json(to_json(*status));
  require(again && to_json(*again) == to_json(*status), "a status is told as it is");
}

void ask(const server &of, std::string_view answers) {
  auto client = control_client::connect(of.path());
  require(client.has_value(), "the server listens");
  of.answer(answers);
  const auto answer = client->ask("status", [](std::uint64_t, std::uint64_t) {});
  if (answer) {
    show(*answer);
  }
}

void take(std::string_view line) {
  engine_options options;
  if (!take_settings(line, options)) {
    require(settings_line(options) == settings_line({}), "a bad line changes nothing");
    return;
  }
  engine_options again;
  require(take_settings(settings_line(options), again), "what is in force can be told");
  require(settings_line(again) == settings_line(options), "what is told is in force again");
}

} // namespace
} // namespace dmcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

// The first byte says whether answers follow or a line of settings.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  static const dmcache::fuzz::server server;
  if (size != 0) {
    const std::string_view text{reinterpret_cast<const char *>(data) + 1, size - 1}; // NOLINT
    data[0] == 's' ? dmcache::fuzz::take(text) : dmcache::fuzz::ask(server, text);
  }
  return 0;
}
