// The status of a running cache as JSON, and back.
//
// One flat object. Numbers are counts unless their name ends with a unit; `mode` and
// `metadata_mode` are words; `policy_settings` is an object of texts.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "caching/engine/status.h"

namespace dmcache {

// On one line.
std::string to_json(const engine_status &status);

// Fails with failure::environment if this isn't what to_json() makes. What it doesn't know is
// ignored.
result<engine_status> status_from_json(std::string_view text);

// The same text over many lines.
std::string indented_json(std::string_view text);

} // namespace dmcache
