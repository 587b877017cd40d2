// What is known of one block of the origin, as JSON.
//
// It is one flat object. `begin` and `length` are in bytes, `block` and `cache_block` are ordinals. What
// the policy counts has the policy's own names. `explanation` is an array of sentences for people.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "caching/engine/explanation.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

// The text has no line break.
std::string to_json(const block_explanation &of);

// What the control socket answers to "explain AT", where `at` is a number of bytes.
std::string explanation_line(threaded_runtime &of, std::string_view at);

// The sentences of it, a line each. Fails with failure::environment if to_json() can't have made this.
result<std::string> sentences_of_explanation(std::string_view text);

} // namespace dmcache
