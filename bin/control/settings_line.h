// The settings of a cache that can be changed while it runs, and whether devices of another size are
// accepted, as a line of text. With it the cache can be served again as it was served last, when the
// process that served it has died.
#pragma once

#include <string>
#include <string_view>

#include "caching/engine/options.h"

namespace dmcache {

// JSON, without the line's end.
std::string settings_line(const engine_options &in_force);
// Changes `into` to the settings of a line that settings_line() has made. Of any other line, it
// changes nothing, and returns false.
bool take_settings(std::string_view line, engine_options &into);

} // namespace dmcache
