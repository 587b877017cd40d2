#include "bin/serve/held_signals.h"

#include <sys/signalfd.h>
#include <unistd.h>

namespace dmcache {

held_signals::held_signals() {
  sigset_t held{};
  ::sigemptyset(&held);
  for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) {
    ::sigaddset(&held, each);
  }
  ::sigprocmask(SIG_BLOCK, &held, &before_);
  come_ = file_descriptor{::signalfd(-1, &held, SFD_NONBLOCK | SFD_CLOEXEC)};
}

held_signals::~held_signals() {
  ::sigprocmask(SIG_SETMASK, &before_, nullptr);
}

int held_signals::next() const {
  signalfd_siginfo arrived{};
  return ::read(come_.get(), &arrived, sizeof arrived) == sizeof arrived
             ? static_cast<int>(arrived.ssi_signo)
             : 0;
}

} // namespace dmcache
