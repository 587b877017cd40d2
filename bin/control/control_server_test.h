// A control server on a cache that is none.
#pragma once

#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <thread>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"
#include "bin/control/advice_json.h"
#include "bin/control/control_client.h"
#include "bin/control/control_server.h"
#include "bin/control/explanation_json.h"
#include "bin/control/status_json.h"
#include "bin/control/unix_socket.h"

namespace dmcache {

using namespace std::chrono_literals;

MATCHER_P(succeeds_with, answer, "succeeds with the answer") {
  return arg.has_value() &&
         testing::ExplainMatchResult(testing::Matcher<std::string>(answer), *arg, result_listener);
}

// A cache without a cache: it keeps what it is told, and cleans when it is allowed to.
class fake_runtime final : public threaded_runtime {
 public:
  result<> start() override { return {}; }
  std::error_code carry_out(request & /*wanted*/) override { return {}; }
  std::vector<origin_extent> extents(bytes /*offset*/, bytes /*length*/) override { return {}; }
  result<> clean(cache_engine::afterwards intended) override {
    std::unique_lock lock{mutex_};
    ++nr_cleaning_;
    is_kept_clean_ = intended == cache_engine::afterwards::kept_clean;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_allowed_ || is_closed_; });
    if (!is_allowed_) {
      return fail(failure::failed, "the cache is being shut down");
    }
    status_.dirty = 0;
    return {};
  }
  result<> reload(options_change change) override {
    const std::lock_guard lock{mutex_};
    engine_options options = options_;
    change(options);
    if (options.mode == cache_mode::passthrough) {
      return fail(failure::failed, "passthrough\nis refused");
    }
    options_ = options;
    return {};
  }
  result<> message(std::vector<std::string> words) override {
    const std::lock_guard lock{mutex_};
    messages_.push_back(std::move(words));
    return messages_.back().size() == 2 ? result<>{} : fail(failure::usage, "a key and a value");
  }
  // Cache block 0 holds origin block 9999, and so on. They are compared when it is allowed. Of ten,
  // one is clean and differs, and one is dirty and doesn't.
  std::vector<origin_block> cached_in(cache_block begin, cache_block end) override {
    std::vector<origin_block> found;
    for (; begin < end && begin.value() < nr_cached; ++begin) {
      found.emplace_back(nr_cached - 1 - begin.value());
    }
    return found;
  }
  result<> compare(std::span<compared_block> blocks, comparison_changes wanted) override {
    std::unique_lock lock{mutex_};
    ++nr_comparing_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return is_allowed_ || is_closed_; });
    if (is_closed_) {
      return fail(failure::failed, "the cache is being shut down");
    }
    for (compared_block &each : blocks) {
      const bool is_stale = each.block.value() % 10 == 3;
      each.found = is_stale ? compared_block::finding::differs : compared_block::finding::equal;
      each.cached_in = cache_block{nr_cached - 1 - each.block.value()};
      each.is_dirty = each.block.value() % 10 == 4;
      each.is_changed = is_stale ? wanted.drops_stale : each.is_dirty && wanted.clears_equal;
    }
    return {};
  }
  engine_status status() override {
    const std::lock_guard lock{mutex_};
    return status_;
  }
  engine_options options() override {
    const std::lock_guard lock{mutex_};
    return options_;
  }
  size_advice advice() override {
    size_advice made;
    made.nr_blocks = 100;
    return made;
  }
  result<block_explanation> explain(bytes offset) override {
    if (offset >= bytes{1000}) {
      return fail(failure::usage, "beyond the end");
    }
    block_explanation made;
    made.sentences = {"It is not cached."};
    return made;
  }
  request_recorder &recorder() override { return recorder_; }
  result<> close() override {
    const std::lock_guard lock{mutex_};
    is_closed_ = true;
    changed_.notify_all();
    return {};
  }
  bool is_closed() override {
    const std::lock_guard lock{mutex_};
    return is_closed_;
  }
  result<std::string> resize(const std::function<result<>()> &announce) override {
    auto announced = announce();
    const std::lock_guard lock{mutex_};
    return announced ? growth_ : std::unexpected{announced.error()};
  }
  bytes origin_size() const override { return {}; }

  void set_growth(result<std::string> growth) {
    const std::lock_guard lock{mutex_};
    growth_ = std::move(growth);
  }
  void wait_for_comparing() {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return nr_comparing_ != 0; });
  }
  unsigned nr_comparing() {
    const std::lock_guard lock{mutex_};
    return nr_comparing_;
  }
  void wait_for_cleaning(unsigned nr) {
    std::unique_lock lock{mutex_};
    changed_.wait(lock, [&] { return nr_cleaning_ >= nr; });
  }
  void allow_cleaning() {
    const std::lock_guard lock{mutex_};
    is_allowed_ = true;
    changed_.notify_all();
  }
  bool is_kept_clean() {
    const std::lock_guard lock{mutex_};
    return is_kept_clean_;
  }
  void set_dirty(std::uint64_t nr) {
    const std::lock_guard lock{mutex_};
    status_.dirty = nr;
  }
  std::vector<std::vector<std::string>> messages() {
    const std::lock_guard lock{mutex_};
    return messages_;
  }

  static constexpr std::uint64_t nr_cached = 10000; // compared in several calls

 private:
  request_recorder recorder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  engine_status status_ = [] {
    engine_status made;
    made.block_size = sectors{128};
    made.cache_total = nr_cached;
    made.cache_used = nr_cached;
    return made;
  }();
  engine_options options_;
  std::vector<std::vector<std::string>> messages_;
  result<std::string> growth_ = "the devices are as large as before";
  unsigned nr_cleaning_ = 0;
  unsigned nr_comparing_ = 0;
  bool is_allowed_ = false;
  bool is_closed_ = false;
  bool is_kept_clean_ = false;
};

class control_server_test : public testing::Test {
 protected:
  control_server_test() {
    std::string made = testing::TempDir() + "controlXXXXXX";
    folder_ = ::mkdtemp(made.data());
  }
  ~control_server_test() override {
    runtime_.allow_cleaning();
    server_.reset();
    std::filesystem::remove_all(folder_);
  }

  void start(const control_limits &limits = {}) {
    auto started = control_server::start(
        runtime_, {.control = path(), .status = status_path()},
        {.stop = [this] { ++nr_stops_; },
         .changed = [this] { ++nr_changes_; },
         .resize = [this] { return runtime_.resize([] { return result<>{}; }); }},
        limits);
    ASSERT_THAT(started, succeeds());
    server_ = std::move(*started);
  }

  std::string path() const { return folder_ / "control"; }
  std::string status_path() const { return folder_ / "status"; }

  control_client connect() const {
    auto made = control_client::connect(path());
    EXPECT_THAT(made, succeeds());
    return std::move(*made);
  }
  // Others go on their own time, which this waits for.
  bool is_granted_soon(std::string_view request) const {
    bool is_granted = false;
    for (int i = 0; i < 100 && !is_granted; ++i) {
      std::this_thread::sleep_for(50ms);
      is_granted = connect().ask(request).has_value();
    }
    return is_granted;
  }
  file_descriptor connect_raw() const {
    auto made = connect_to(path());
    EXPECT_THAT(made, succeeds());
    return std::move(*made);
  }
  // What the server makes of it, up to the end of the line, or of the connection.
  static std::string say(const file_descriptor &to, std::string_view text) {
    (void)::send(to.get(), text.data(), text.size(), MSG_NOSIGNAL);
    return hear(to);
  }
  static std::string hear(const file_descriptor &from) {
    std::string line;
    char each = 0;
    while (!line.ends_with('\n') && ::recv(from.get(), &each, 1, 0) == 1) {
      line += each;
    }
    return line;
  }
  static bool is_hung_up(const file_descriptor &on) {
    pollfd events{on.get(), POLLRDHUP, 0};
    return ::poll(&events, 1, 60'000) == 1 && (events.revents & (POLLRDHUP | POLLHUP)) != 0;
  }
  void expect_alive() const {
    const auto status = connect().ask("status");
    ASSERT_THAT(status, succeeds());
    EXPECT_THAT(status_from_json(*status), succeeds());
  }

  std::filesystem::path folder_;
  fake_runtime runtime_;
  std::atomic<unsigned> nr_stops_ = 0;
  std::atomic<unsigned> nr_changes_ = 0;
  std::unique_ptr<control_server> server_;
};

} // namespace dmcache
