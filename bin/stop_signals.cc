#include "bin/stop_signals.h"

#include <csignal>
#include <initializer_list>

namespace dmcache {
namespace {

// Static, since a signal handler has no other way to find it.
volatile std::sig_atomic_t is_wanted = 0;

} // namespace

void stop_on_signals() {
  struct sigaction on_first{};
  on_first.sa_handler = [](int) { is_wanted = 1; };                // NOLINT: a macro
  on_first.sa_flags = static_cast<int>(SA_RESTART | SA_RESETHAND); // NOLINT: bits
  for (const int each : {SIGTERM, SIGINT, SIGHUP}) {
    struct sigaction before{};
    if (::sigaction(each, nullptr, &before) == 0 && before.sa_handler == SIG_DFL) { // NOLINT
      ::sigaction(each, &on_first, nullptr);
    }
  }
}

bool is_stop_wanted() {
  return is_wanted != 0;
}

} // namespace dmcache
