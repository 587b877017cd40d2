// I/O of the engine in words.
#pragma once

#include <string>
#include <system_error>

#include "caching/engine/request.h"

namespace dmcache {

// "write of 65536 bytes at 123456 of the origin: No space left on device".
// Of a flush, there is neither offset nor length.
std::string description_of(engine_io::operation op, cache_device on, bytes offset, bytes length,
                           std::error_code why);

} // namespace dmcache
