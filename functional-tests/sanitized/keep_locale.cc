// What nbdkit.in loads into nbdkit with a sanitizer's library.
#include <clocale>
#include <cstdlib>

// In the place of the C library's: see nbdkit.in.
extern "C" [[gnu::visibility("default")]] void freelocale(locale_t /*unused*/) noexcept {}

namespace {

// The commands that nbdkit runs are not under test, and not all of them bear a sanitizer's library.
[[gnu::constructor]] void spare_the_children() {
  ::unsetenv("LD_PRELOAD");
}

} // namespace
