// What systemd wants to know of a service (Type=notify).
#pragma once

#include <string_view>

namespace dmcache {

// Sends "READY=1" and the like to whoever started this process, if it waits for that.
//
// It is the one datagram that sd_notify(3) describes for programs without libsystemd, which
// cache_check, the same executable, shouldn't drag into every initramfs.
void notify_service_manager(std::string_view state);

} // namespace dmcache
