#include "base/keyed_hash.h"

#include <unistd.h>

#include <array>

#include "base/assert.h"

namespace dmcache {
namespace {

std::array<std::uint64_t, 2> random_keys() {
  std::array<std::uint64_t, 2> keys{};
  require(::getentropy(keys.data(), sizeof(keys)) == 0, "the system has random numbers");
  return keys;
}

} // namespace

keyed_hash::keyed_hash() {
  static const auto keys = random_keys();
  *this = {keys[0], keys[1]};
}

} // namespace dmcache
