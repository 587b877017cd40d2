// The status of a running cache, for people.
#pragma once

#include <chrono>
#include <string>

#include "caching/engine/status.h"

namespace dmcache {

// "64 KiB", "1.5 GiB".
std::string readable_size(bytes size);

// A status and when it was asked for.
struct status_sample {
  engine_status status;
  std::chrono::steady_clock::time_point taken;
};

// Makes a few lines of text. With an earlier sample they tell the rates since then as well.
std::string readable_status(const status_sample &now, const status_sample *before = nullptr);

// How large a new cache is, and what it takes, in a sentence.
std::string description_of_new(const engine_status &status);

// What the origin lacks of what a cache holds that is shut down, in a sentence; empty if nothing.
std::string incompleteness_of(const engine_status &status);

// That there is little room left on the metadata device, in a sentence; empty if there is enough.
std::string metadata_shortage_of(const engine_status &status);

} // namespace dmcache
