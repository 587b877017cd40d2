// The contents of metadata for those who act on what they say: of sound ones, or not at all.
#pragma once

#include "base/report.h"
#include "caching/metadata/cache_contents.h"
#include "caching/tools/metadata_device.h"

namespace dmcache {

// Reads all of `metadata` into `contents`, and what is in use into `usage`. Tells damage to `to`, and
// fails if any of it is fatal: with failure::environment if blocks can't be read, otherwise with
// failure::failed. `undone` begins the message: "nothing was copied".
result<> read_sound_contents(const metadata_device &metadata, const char *undone,
                             block_usage &usage, cache_contents &contents, report &to);

} // namespace dmcache
