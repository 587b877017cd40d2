#include "caching/engine/io_description.h"

#include <array>
#include <string_view>

#include <fmt/format.h>

namespace dmcache {
namespace {

constexpr std::array<std::string_view, 3> device_names{"the metadata device", "the fast device",
                                                       "the origin"};
constexpr std::array<std::string_view, 5> operation_names{"read", "write", "flush", "discard",
                                                          "write of zeroes"};

} // namespace

std::string description_of(engine_io::operation op, cache_device on, bytes offset, bytes length,
                           std::error_code why) {
  std::string text{operation_names.at(static_cast<std::size_t>(op))};
  if (op != engine_io::operation::flush) {
    text += fmt::format(" of {} bytes at {}", length, offset);
  }
  return text +
         fmt::format(" of {}: {}", device_names.at(static_cast<std::size_t>(on)), why.message());
}

} // namespace dmcache
