// A life of a cache whose metadata a fuzzer made: opened with the engine, used, and left.
//
// None of it crashes, hangs or takes memory without bound, whatever the metadata are. Those that the
// engine refuses it leaves as they are. Those that it takes are sound afterwards, and what was
// written is read back, also from a cache that is opened anew.
#pragma once

#include <cstddef>
#include <span>

namespace dmcache::fuzz {

// What happens is decided by the contents. Leaks in them may be mended first. Aborts if anything of the above doesn't hold.
void live(std::span<const std::byte> metadata);

} // namespace dmcache::fuzz
