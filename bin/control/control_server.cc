#include "bin/control/control_server.h"

#include <algorithm>
#include <list>
#include <optional>
#include <set>
#include <span>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <boost/asio.hpp>
#include <fmt/format.h>

#include "base/worker_threads.h"
#include "bin/control/advice_json.h"
#include "bin/control/change_requests.h"
#include "bin/control/connected_client.h"
#include "bin/control/control_protocol.h"
#include "bin/control/door.h"
#include "bin/control/explanation_json.h"
#include "bin/control/request_stream.h"
#include "bin/control/request_words.h"
#include "bin/control/status_json.h"
#include "bin/control/status_text.h"
#include "bin/control/verification_operation.h"

namespace dmcache {
namespace {

template <typename Value = void> using task = asio::awaitable<Value>;

constexpr std::size_t max_operations = 4; // that are under way at a time: each takes a thread
constexpr std::chrono::milliseconds between_progress{250};
constexpr std::chrono::milliseconds between_records{50};
constexpr int tries_to_record = 5;
constexpr std::chrono::milliseconds pause_after_failed_accept{1000};
constexpr std::chrono::milliseconds grace{1000}; // for clients to take their answers at the end

} // namespace

// All of this belongs to the one thread that runs `io_`, and needs no lock, except where it says
// otherwise.
class control_server::implementation {
 public:
  implementation(threaded_runtime &of, std::optional<listening_socket> control,
                 std::optional<listening_socket> status, control_handlers handlers,
                 const control_limits &limits, std::unique_ptr<worker_threads> workers)
      : runtime_{of}, handlers_{std::move(handlers)}, limits_{limits},
        workers_{std::move(workers)} {
    if (control) {
      doors_.emplace_back(io_, std::move(*control), true);
    }
    if (status) {
      doors_.emplace_back(io_, std::move(*status), false);
    }
    for (door &each : doors_) {
      asio::co_spawn(io_, accept_clients(each), asio::detached);
    }
    thread_ = std::thread{[this] { run(); }};
  }

  void finish(const result<> &closed); // for any thread but that one

 private:
  using action = std::function<result<>()>;
  using client_pointer = std::shared_ptr<client>;

  void run();
  task<> accept_clients(door &at);
  void begin(door &at, stream_protocol::socket connected);
  task<> serve(client_pointer with);
  task<std::optional<std::string>> read_request(client_pointer with);
  task<bool> send(client_pointer with, std::string text);
  task<std::string> answer(client_pointer with, std::vector<std::string> words);
  task<std::string> record(client_pointer with);
  task<std::string> change(client_pointer with, action asked);
  task<std::string> clean(client_pointer with);
  task<std::string> verify(client_pointer with, verification_options how);
  task<std::string> resize(client_pointer with);
  task<std::string> stop(client_pointer with);
  task<std::string> clean_and_stop(client_pointer with);
  task<std::string> in_background(client_pointer with, std::shared_ptr<operation> made,
                                  action asked);
  void ended_in_background(operation &ended, const result<> &outcome);
  task<std::string> wait_for(client_pointer with, std::shared_ptr<operation> awaited);
  std::shared_ptr<operation> cleaning();
  std::shared_ptr<operation> ending_with_cache(std::shared_ptr<operation> made);

  threaded_runtime &runtime_;
  control_handlers handlers_;
  control_limits limits_;
  asio::io_context io_{1};
  std::list<door> doors_;
  asio::steady_timer grace_{io_};
  std::set<client_pointer> clients_;
  std::vector<std::shared_ptr<operation>> stopping_; // of clients that wait for the end
  std::size_t nr_operations_ = 0;                    // that the workers have
  bool is_ending_ = false;
  std::unique_ptr<worker_threads> workers_;
  std::thread thread_;
};

void control_server::implementation::run() {
  for (bool is_done = false; !is_done;) {
    try {
      io_.run();
      is_done = true;
    } catch (const std::exception &) { // out of memory: one client gets no answer
      is_done = io_.stopped();
    }
  }
}

void control_server::implementation::finish(const result<> &closed) {
  asio::post(io_, [this, closed] {
    is_ending_ = true;
    error_code ignored;
    for (door &each : doors_) {
      (void)each.acceptor.close(ignored);
      each.pause.cancel();
    }
    for (const auto &each : stopping_) {
      each->end(closed);
    }
    for (const auto &each : clients_) {
      if (each->is_idle) {
        each->hang_up();
      }
    }
    if (!clients_.empty()) {
      grace_.expires_after(grace);
      grace_.async_wait([this](error_code cancelled) {
        if (!cancelled) {
          io_.stop();
        }
      });
    }
  });
  thread_.join();
  workers_.reset();
}

task<> control_server::implementation::accept_clients(door &at) {
  while (!is_ending_) {
    error_code failed;
    stream_protocol::socket connected = co_await at.acceptor.async_accept(telling(failed));
    if (!failed && !is_ending_) {
      begin(at, std::move(connected));
    } else if (!is_ending_) { // out of descriptors, most likely
      at.pause.expires_after(pause_after_failed_accept);
      co_await at.pause.async_wait(telling(failed));
    }
  }
}

void control_server::implementation::begin(door &at, stream_protocol::socket connected) {
  const auto with = std::make_shared<client>(std::move(connected), at.leads_to_control);
  if (at.nr_clients >= limits_.nr_clients) {
    error_code ignored;
    (void)with->socket.non_blocking(true, ignored);
    with->socket.send(asio::buffer(error_line(
                          {failure::environment, "too many clients at a time: try again later"})),
                      0, ignored);
    return;
  }
  clients_.insert(with);
  ++at.nr_clients;
  asio::co_spawn(io_, serve(with), [this, with, &at](const std::exception_ptr &) {
    clients_.erase(with);
    --at.nr_clients;
    if (clients_.empty()) {
      grace_.cancel();
    }
  });
}

task<> control_server::implementation::serve(client_pointer with) {
  while (!is_ending_) {
    const std::optional<std::string> line = co_await read_request(with);
    if (!line) {
      co_return;
    }
    std::string reply;
    if (auto words = words_of(*line); words) {
      reply = co_await answer(with, std::move(*words));
    } else {
      reply = error_line(words.error());
    }
    if (!co_await send(with, std::move(reply))) {
      co_return;
    }
  }
}

// The request is given without the line's end. There is none if the client is gone, or has to go.
task<std::optional<std::string>> control_server::implementation::read_request(client_pointer with) {
  const time_limit limit{with, limits_.request};
  with->is_idle = true;
  error_code failed;
  const std::size_t size = co_await asio::async_read_until(
      with->socket, asio::dynamic_buffer(with->received, max_request_size), '\n', telling(failed));
  with->is_idle = false;
  if (failed == asio::error::not_found) {
    const error refusal{failure::usage,
                        fmt::format("a request has at most {} bytes", max_request_size)};
    co_await send(with, error_line(refusal));
  }
  if (failed) {
    co_return std::nullopt;
  }
  std::string line = with->received.substr(0, size - 1);
  with->received.erase(0, size);
  co_return line;
}

task<bool> control_server::implementation::send(client_pointer with, std::string text) {
  const time_limit limit{with, limits_.answer};
  error_code failed;
  co_await asio::async_write(with->socket, asio::buffer(text), telling(failed));
  co_return !failed;
}

task<std::string> control_server::implementation::answer(client_pointer with,
                                                         std::vector<std::string> words) {
  const std::string first = words.empty() ? "" : words[0];
  if (first == "status" && words.size() == 1) {
    co_return fmt::format("ok {}\n", to_json(runtime_.status()));
  }
  if (!with->controls) {
    co_return error_line({failure::usage,
                          "this socket tells the status and nothing else: all other "
                          "requests go to the control socket"});
  }
  if (auto asked = change_for(runtime_, words)) {
    if (!*asked) {
      co_return error_line(asked->error());
    }
    co_return co_await change(with, std::move(**asked));
  }
  if (first == "clean" && words.size() == 1) {
    co_return co_await clean(with);
  }
  if (first == "verify") {
    if (const auto how = verification_options_of(std::span{words}.subspan(1))) {
      co_return co_await verify(with, *how);
    }
  }
  if (first == "resize" && words.size() == 1) {
    co_return co_await resize(with);
  }
  if (first == "stop" && words.size() == 1) {
    co_return co_await stop(with);
  }
  if (first == "stop" && words.size() == 2 && words[1] == "clean") {
    co_return co_await clean_and_stop(with);
  }
  if (first == "advise" && words.size() == 1) {
    co_return fmt::format("ok {}\n", to_json(runtime_.advice()));
  }
  if (first == "explain" && words.size() == 2) {
    co_return explanation_line(runtime_, words[1]);
  }
  if (first == "record" && words.size() == 1) {
    co_return co_await record(with);
  }
  co_return error_line({failure::usage, std::string{all_requests}});
}

// Until the client sends more, or will not, or the cache ends. A client that is too slow loses requests,
// and nobody waits for it.
task<std::string> control_server::implementation::record(client_pointer with) {
  error_code ignored;
  asio::steady_timer pause{io_};
  auto stream = request_stream::open(runtime_.recorder());
  for (int i = 0; !stream && i < tries_to_record; ++i) { // the one before may have hung up just now
    pause.expires_after(between_records);
    co_await pause.async_wait(telling(ignored));
    stream = request_stream::open(runtime_.recorder());
  }
  if (!stream) {
    co_return error_line(
        {failure::failed, "somebody is recording already: wait until that is over"});
  }
  while (!is_ending_ && !with->wants_more_or_leaves()) {
    std::string lines = stream->take() + progress_line(0, 0);
    const bool is_told = co_await send(with, std::move(lines));
    if (!is_told) {
      co_return "";
    }
    pause.expires_after(between_records);
    co_await pause.async_wait(telling(ignored));
  }
  std::string rest = stream->take() + "ok\n";
  co_return rest;
}

task<std::string> control_server::implementation::change(client_pointer with, action asked) {
  action changing = [this, asked] {
    result<> done = asked();
    if (done) {
      handlers_.changed();
    }
    return done;
  };
  co_return co_await in_background(with, std::make_shared<operation>(io_), std::move(changing));
}

task<std::string> control_server::implementation::clean(client_pointer with) {
  action asked = [this] { return runtime_.clean(cache_engine::afterwards::in_use); };
  co_return co_await in_background(with, cleaning(), std::move(asked));
}

task<std::string> control_server::implementation::verify(client_pointer with,
                                                         verification_options how) {
  const auto made = std::make_shared<operation>(io_);
  action asked = verification_for(*made, runtime_, how);
  co_return co_await in_background(with, made, std::move(asked));
}

task<std::string> control_server::implementation::resize(client_pointer with) {
  const auto made = std::make_shared<operation>(io_);
  const auto grown = std::make_shared<std::string>();
  made->answer = [grown] { return fmt::format("ok {}\n", *grown); };
  action asked = [this, grown]() -> result<> {
    auto done = handlers_.resize();
    if (!done) {
      return std::unexpected{done.error()};
    }
    *grown = std::move(*done);
    return {};
  };
  co_return co_await in_background(with, made, std::move(asked));
}

// It has come as far as blocks are clean that are dirty now.
std::shared_ptr<operation> control_server::implementation::cleaning() {
  auto made = std::make_shared<operation>(io_);
  made->progress = [this, total = runtime_.status().dirty] {
    return progress_line(total - std::min(runtime_.status().dirty, total), total);
  };
  return made;
}

std::shared_ptr<operation>
control_server::implementation::ending_with_cache(std::shared_ptr<operation> made) {
  made->ends_with_cache = true;
  made->answer = [this] {
    const std::string left = incompleteness_of(runtime_.status());
    return left.empty() ? "ok\n" : fmt::format("ok {}\n", left);
  };
  return made;
}

task<std::string> control_server::implementation::stop(client_pointer with) {
  const auto made = ending_with_cache(std::make_shared<operation>(io_));
  stopping_.push_back(made);
  handlers_.stop();
  co_return co_await wait_for(with, made);
}

// If the client is gone when all is written back, the cache is stopped all the same.
task<std::string> control_server::implementation::clean_and_stop(client_pointer with) {
  action asked = [this] { return runtime_.clean(cache_engine::afterwards::kept_clean); };
  co_return co_await in_background(with, ending_with_cache(cleaning()), std::move(asked));
}

task<std::string> control_server::implementation::in_background(client_pointer with,
                                                                std::shared_ptr<operation> made,
                                                                action asked) {
  if (nr_operations_ == max_operations) {
    co_return error_line({failure::failed, fmt::format("{} requests are under way already: wait "
                                                       "until one is done",
                                                       max_operations)});
  }
  ++nr_operations_;
  if (made->ends_with_cache) {
    stopping_.push_back(made);
  }
  workers_->add([this, made, asked] {
    result<> outcome = fail(failure::environment, "out of memory");
    try {
      outcome = asked();
    } catch (const std::exception &unexpected) {
      outcome = fail(failure::environment, unexpected.what());
    }
    asio::post(io_, [this, made, outcome] { ended_in_background(*made, outcome); });
  });
  co_return co_await wait_for(with, made);
}

void control_server::implementation::ended_in_background(operation &ended,
                                                         const result<> &outcome) {
  --nr_operations_;
  if (outcome && ended.ends_with_cache) {
    handlers_.stop();
  } else {
    ended.end(outcome);
  }
}

// Gives the answer, or nothing if the client doesn't take the lines about progress.
task<std::string> control_server::implementation::wait_for(client_pointer with,
                                                           std::shared_ptr<operation> awaited) {
  while (!awaited->outcome) {
    error_code cancelled;
    awaited->changed.expires_after(between_progress);
    co_await awaited->changed.async_wait(telling(cancelled));
    if (awaited->outcome) {
      break;
    }
    const bool is_told = co_await send(with, awaited->progress());
    if (!is_told) {
      std::erase(stopping_, awaited);
      awaited->abandoned();
      co_return "";
    }
  }
  std::erase(stopping_, awaited);
  if (!*awaited->outcome) {
    co_return error_line(awaited->outcome->error());
  }
  co_return awaited->answer();
}

result<std::unique_ptr<control_server>> control_server::start(threaded_runtime &of,
                                                              const control_addresses &at,
                                                              control_handlers handlers,
                                                              const control_limits &limits) {
  constexpr socket_access everybody{.mode = 0666};
  auto control = listen_at(at.control, at.access);
  if (!control) {
    return std::unexpected{control.error()};
  }
  auto status = listen_at(at.status, everybody);
  if (!status) {
    return std::unexpected{status.error()};
  }
  auto workers = worker_threads::start(max_operations);
  if (!workers) {
    return std::unexpected{workers.error()};
  }
  try {
    return std::unique_ptr<control_server>{new control_server{
        std::make_unique<implementation>(of, std::move(*control), std::move(*status),
                                         std::move(handlers), limits, std::move(*workers))}};
  } catch (const std::exception &unexpected) { // there is no thread or no memory left
    return fail(failure::environment,
                fmt::format("cannot listen at {}: {}", at.control.empty() ? at.status : at.control,
                            unexpected.what()));
  }
}

control_server::control_server(std::unique_ptr<implementation> made) : made_{std::move(made)} {}

control_server::~control_server() {
  if (made_) {
    finish(fail(failure::environment, "the server ended, and nothing is known of the cache"));
  }
}

void control_server::finish(const result<> &closed) {
  made_->finish(closed);
  made_.reset();
}

} // namespace dmcache
