// In the place of the C library's: see nbdkit.in.
#include <clocale>

extern "C" [[gnu::visibility("default")]] void freelocale(locale_t /*unused*/) noexcept {}
