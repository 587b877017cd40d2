// The status of a running cache as JSON, and back.
//
// It is one flat object. Numbers are counts unless their names end with a unit. `mode` and
// `metadata_mode` are words, and `policy_settings` is an object of texts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "caching/engine/status.h"

namespace dmcache {

// The text has no line break.
std::string to_json(const engine_status &status);

// Fails with failure::environment if to_json() can't have made this. Fields that it doesn't know
// are ignored.
result<engine_status> status_from_json(std::string_view text);

// The same object over many lines, for people.
std::string indented_json(std::string_view text);

} // namespace dmcache
