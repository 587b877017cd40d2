#include "bin/plugin/quit_signals.h"

#include <semaphore.h>

#include <array>
#include <csignal>
#include <utility>

namespace dmcache {
namespace {

struct handled_signal {
  int number;
  struct sigaction before; // the server's; if it handles the signal
};

// A handler finds nothing but what is static.
std::array<handled_signal, 4> handled{{{SIGTERM, {}}, {SIGINT, {}}, {SIGHUP, {}}, {SIGQUIT, {}}}};
sem_t raised;

bool is_function(const struct sigaction &action) {
  return (action.sa_flags & SA_SIGINFO) == 0 && action.sa_handler != SIG_DFL && // NOLINT: macros
         action.sa_handler != SIG_IGN;                                          // NOLINT
}

void pass_on(int number) {
  ::sem_post(&raised); // which a handler may
  for (const handled_signal &each : handled) {
    if (each.number == number) {
      each.before.sa_handler(number);
    }
  }
}

void take_over(handled_signal &which) {
  if (::sigaction(which.number, nullptr, &which.before) == 0 && is_function(which.before)) {
    struct sigaction own = which.before;
    own.sa_handler = pass_on;
    ::sigaction(which.number, &own, nullptr);
  }
}

void give_back(const handled_signal &which) {
  if (is_function(which.before)) {
    ::sigaction(which.number, &which.before, nullptr);
  }
}

} // namespace

quit_signals::quit_signals(std::function<void()> on_quit) {
  ::sem_init(&raised, 0, 0);
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before); // the thread takes none itself
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

quit_signals::~quit_signals() {
  for (const handled_signal &each : handled) {
    give_back(each);
  }
  raise();
  thread_.join(); // the semaphore stays: a handler may be at it still
}

void quit_signals::raise() {
  ::sem_post(&raised);
}

} // namespace dmcache
