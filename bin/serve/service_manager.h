// Tells systemd about the state of a service (Type=notify).
#pragma once

#include <string_view>

namespace dmcache {

// Sends `state`, such as "READY=1", to the service manager that started this process, if there is
// one.
//
// This is the datagram that sd_notify(3) describes for programs without libsystemd. cache_check is
// the same executable, and shouldn't drag that library into every initramfs.
void notify_service_manager(std::string_view state);

} // namespace dmcache
