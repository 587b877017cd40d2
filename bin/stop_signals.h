// An orderly stop of a command that works for long.
#pragma once

namespace dmcache {

// From now on the first SIGTERM, SIGINT or SIGHUP asks for an orderly stop, and the second one ends
// the process, which must cost no more than the time to do something again. A signal that is
// ignored, as by nohup, stays so.
void stop_on_signals();

// Has such a signal come?
bool is_stop_wanted();

} // namespace dmcache
