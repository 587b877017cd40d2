// What is fuzzed: the server's end of a control socket, with a client that sends whatever an input
// says. Each request gets its answer, in order, and the server is there for the next client.

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "bin/control/control_protocol.h"
#include "bin/control/control_server.h"
#include "bin/control/unix_socket.h"

namespace dmcache::fuzz {
namespace {

// A cache without a cache: it grants what is granted in no time, and refuses the rest.
class still_runtime final : public threaded_runtime {
 public:
  result<> start() override { return {}; }
  std::error_code carry_out(request & /*wanted*/) override { return {}; }
  std::vector<origin_extent> extents(bytes /*offset*/, bytes /*length*/) override { return {}; }
  result<> clean(cache_engine::afterwards /*intended*/) override { return {}; }
  result<> reload(options_change change) override {
    engine_options changed = options();
    change(changed);
    if (!is_policy(changed.policy)) {
      return fail(failure::usage, changed.policy);
    }
    const std::lock_guard lock{mutex_};
    options_ = changed;
    return {};
  }
  result<> message(std::vector<std::string> words) override {
    return words.size() == 2 ? result<>{} : fail(failure::failed, words.front());
  }
  std::vector<origin_block> cached_in(cache_block begin, cache_block /*end*/) override {
    return begin == cache_block{0} ? std::vector{origin_block{1}} : std::vector<origin_block>{};
  }
  result<> compare(std::span<compared_block> /*blocks*/, comparison_changes /*wanted*/) override {
    return {};
  }
  engine_status status() override {
    engine_status now;
    now.block_size = sectors{128}; // no cache has blocks of no size
    return now;
  }
  engine_options options() override {
    const std::lock_guard lock{mutex_};
    return options_;
  }
  size_advice advice() override { return {}; }
  result<block_explanation> explain(bytes offset) override {
    return offset < bytes{1000} ? result<block_explanation>{} : fail(failure::usage, "too far");
  }
  request_recorder &recorder() override { return recorder_; }
  result<std::string> resize(const std::function<result<>()> & /*announce*/) override {
    return "the devices are as large as before";
  }
  result<> close() override { return {}; }
  bool is_closed() override { return false; }
  bytes origin_size() const override { return {}; }

 private:
  std::mutex mutex_;
  engine_options options_;
  request_recorder recorder_;
};

// A server that is started anew after a client has stopped it.
class served_cache {
 public:
  served_cache()
      : path_{std::filesystem::temp_directory_path() / ("fuzz" + std::to_string(::getpid()))},
        stops_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)} {
    start();
  }

  // All that it answers until it hangs up.
  std::string answers_to(std::string_view requests) {
    const auto client = connect_to(path_);
    require(client.has_value(), "the server listens");
    (void)::send(client->get(), requests.data(), requests.size(), MSG_NOSIGNAL);
    ::shutdown(client->get(), SHUT_WR);
    std::string answers;
    std::array<char, 65536> chunk{};
    while (true) {
      std::array<pollfd, 2> events{{{client->get(), POLLIN, 0}, {stops_.get(), POLLIN, 0}}};
      ::poll(events.data(), events.size(), -1);
      if ((events[1].revents & POLLIN) != 0) {
        std::uint64_t count = 0;
        (void)!::read(stops_.get(), &count, sizeof count);
        is_stopped_ = true;
        server_->finish({});
      }
      const ssize_t got = ::recv(client->get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
      if (got == 0 || (got < 0 && errno != EAGAIN)) {
        break;
      }
      answers.append(chunk.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    }
    if (std::exchange(is_stopped_, false)) {
      start();
    }
    return answers;
  }

 private:
  void start() {
    control_handlers handlers{
        .stop =
            [this] {
              const std::uint64_t one = 1;
              (void)!::write(stops_.get(), &one, sizeof one);
            },
        .resize = [this] { return runtime_.resize([] { return result<>{}; }); }};
    server_.reset();
    server_ = control_server::start(runtime_, {.control = path_}, std::move(handlers)).value();
  }

  std::string path_;
  file_descriptor stops_;
  still_runtime runtime_;
  bool is_stopped_ = false;
  std::unique_ptr<control_server> server_;
};

void check(std::string_view requests, std::string_view answers) {
  const auto nr_requests = std::ranges::count(requests, '\n');
  std::ptrdiff_t nr_answers = 0;
  while (!answers.empty()) {
    const std::size_t end = answers.find('\n');
    require(end != std::string_view::npos, "an answer is a line");
    const std::string_view line = answers.substr(0, end);
    const bool is_known = line == "ok" || line.starts_with("ok ") || line.starts_with("error ");
    require(is_known || line.starts_with("progress "), "an answer is of one of three kinds");
    nr_answers += is_known ? 1 : 0;
    answers.remove_prefix(end + 1);
  }
  require(nr_answers <= nr_requests + 1, "nothing is answered that was not asked");
  const bool may_end_early = requests.contains("stop") || requests.contains("record") ||
                             requests.size() >= max_request_size;
  require(nr_answers == nr_requests || may_end_early, "each request is answered");
}

} // namespace
} // namespace dmcache::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size) { // NOLINT
  static dmcache::fuzz::served_cache served;
  // As much fits into a socket, whatever the server does.
  const std::string_view requests{reinterpret_cast<const char *>(data), // NOLINT
                                  std::min<std::size_t>(size, 2 * dmcache::max_request_size)};
  dmcache::fuzz::check(requests, served.answers_to(requests));
  return 0;
}
