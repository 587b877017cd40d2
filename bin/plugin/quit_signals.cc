#include "bin/plugin/quit_signals.h"

#include <semaphore.h>

#include <array>
#include <csignal>
#include <utility>

namespace dmcache {
namespace {

struct handled_signal {
  int number;
  struct sigaction before; // the server's own handler, if it has one
};

// Static, since a signal handler has no other way to find them.
std::array<handled_signal, 4> handled{{{SIGTERM, {}}, {SIGINT, {}}, {SIGHUP, {}}, {SIGQUIT, {}}}};
sem_t raised;

bool is_function(const struct sigaction &action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler != SIG_DFL && // NOLINT: macros
         action.sa_handler != SIG_IGN;                                          // NOLINT
}

void pass_on(int number) {
  ::sem_post(&raised); // a signal handler may do this
  for (const handled_signal &each : handled) {
    if (each.number == number) {
      each.before.sa_handler(number);
    }
  }
}

void take_over(handled_signal &taken) {
  if (::sigaction(taken.number, nullptr, &taken.before) == 0 && is_function(taken.before)) {
    struct sigaction own = taken.before;
    own.sa_handler = pass_on;
    ::sigaction(taken.number, &own, nullptr);
  }
}

void give_back(const handled_signal &taken) {
  if (is_function(taken.before)) {
    ::sigaction(taken.number, &taken.before, nullptr);
  }
}

} // namespace

quit_signals::quit_signals(std::function<void()> on_quit) {
  ::sem_init(&raised, 0, 0);
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before); // the new thread takes no signals
  try {
    thread_ = std::thread{[on_quit = std::move(on_quit)] {
      while (::sem_wait(&raised) != 0) {
      }
      on_quit();
    }};
  } catch (...) {
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    throw;
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  for (handled_signal &each : handled) {
    take_over(each);
  }
}

void quit_signals::finish() {
  if (!thread_.joinable()) {
    return;
  }
  for (const handled_signal &each : handled) {
    give_back(each);
  }
  raise();
  thread_.join(); // the semaphore stays: a handler may still be using it
}

void quit_signals::raise() {
  ::sem_post(&raised);
}

} // namespace dmcache
