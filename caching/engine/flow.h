// Work of several steps that wait for events, written as coroutines: promotion, writeback, commit.
//
// Whatever a flow waits for never resumes it in the middle of something else: it makes the flow
// ready, and ready flows run at the end of the event, one after the other. A flow owns its frame
// through flow_set; an engine that is destroyed in mid-flight, as by a power cut, leaks nothing.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <exception>
#include <list>
#include <optional>
#include <utility>
#include <vector>

#include "base/assert.h"

namespace dmcache {

// Flows that can go on.
class ready_flows {
 public:
  bool empty() const { return flows_.empty(); }
  void add(std::coroutine_handle<> flow) { flows_.push_back(flow); }
  void add_first(std::coroutine_handle<> flow) { flows_.push_front(flow); }

  // Runs the first one until it waits again, or ends. Requires that there is one.
  void run_one() {
    const std::coroutine_handle<> flow = flows_.front();
    flows_.pop_front();
    is_running_ = true;
    flow.resume();
    is_running_ = false;
  }
  // A flow goes on that was ready; not one that has just been started by something else.
  bool is_running() const { return is_running_; }

 private:
  std::deque<std::coroutine_handle<>> flows_;
  bool is_running_ = false;
};

class flow_promise {
 public:
  std::suspend_always initial_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { std::terminate(); } // no exception crosses a layer

  // Ends in the flow that waits for this one, or in flow_set.
  struct ending {
    bool await_ready() noexcept { return false; }
    template <typename Promise>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) noexcept {
      const flow_promise &of = ended.promise();
      if (of.continuation) {
        return of.continuation;
      }
      if (of.on_end != nullptr) {
        of.on_end(of.on_end_context);
      }
      return std::noop_coroutine();
    }
    void await_resume() noexcept {}
  };
  ending final_suspend() noexcept { return {}; }

  std::coroutine_handle<> continuation;
  void (*on_end)(void *context) = nullptr; // destroys the flow
  void *on_end_context = nullptr;
};

template <typename T> struct flow_result : flow_promise {
  void return_value(T value) { result.emplace(std::move(value)); }
  T take() { return std::move(*result); }
  std::optional<T> result;
};

template <> struct flow_result<void> : flow_promise {
  void return_void() {}
  void take() {}
};

// A flow that gives a T at its end. It runs when it is waited for, or started by a flow_set.
template <typename T = void> class [[nodiscard]] flow {
 public:
  struct promise_type : flow_result<T> {
    flow get_return_object() {
      return flow{std::coroutine_handle<promise_type>::from_promise(*this)};
    }
  };

  flow(flow &&other) noexcept : handle_{std::exchange(other.handle_, {})} {}
  flow(const flow &) = delete;
  flow &operator=(const flow &) = delete;
  flow &operator=(flow &&) = delete;
  ~flow() {
    if (handle_) {
      handle_.destroy();
    }
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> waiting) {
    handle_.promise().continuation = waiting;
    return handle_;
  }
  T await_resume() { return handle_.promise().take(); }

 private:
  friend class flow_set;
  explicit flow(std::coroutine_handle<promise_type> handle) : handle_{handle} {}
  std::coroutine_handle<promise_type> handle_;
};

// Flows that nobody waits for.
class flow_set {
 public:
  flow_set() = default;
  flow_set(const flow_set &) = delete;
  flow_set &operator=(const flow_set &) = delete;
  ~flow_set() = default;

  bool empty() const { return running_.empty(); }
  std::size_t size() const { return running_.size(); }

  // Runs it up to where it first waits.
  void start(flow<> started) {
    running_.push_front({this, {}, std::move(started)});
    running &added = running_.front();
    added.self = running_.begin();
    auto &promise = added.work.handle_.promise();
    promise.on_end = [](void *context) {
      auto *ended = static_cast<running *>(context);
      ended->in->running_.erase(ended->self);
    };
    promise.on_end_context = &added;
    added.work.handle_.resume();
  }

 private:
  struct running {
    flow_set *in;
    std::list<running>::iterator self;
    flow<> work;
  };
  std::list<running> running_;
};

// Lets flows wait until somebody says that something happened.
class flow_event {
 public:
  explicit flow_event(ready_flows &ready) : ready_{ready} {}

  // All that wait go on.
  void happen() {
    for (const std::coroutine_handle<> waiting : std::exchange(waiting_, {})) {
      ready_.add(waiting);
    }
  }

  auto operator co_await() {
    struct awaiter {
      flow_event &of;
      bool await_ready() const noexcept { return false; }
      void await_suspend(std::coroutine_handle<> waiting) { of.waiting_.push_back(waiting); }
      void await_resume() const noexcept {}
    };
    return awaiter{*this};
  }

 private:
  ready_flows &ready_;
  std::vector<std::coroutine_handle<>> waiting_;
};

} // namespace dmcache
