#include "caching/engine/io_description.h"

#include <gmock/gmock.h>

namespace dmcache {
namespace {

using operation = engine_io::operation;

std::string described(operation op, cache_device on) {
  return description_of(op, on, bytes{123456}, bytes{65536},
                        std::make_error_code(std::errc::no_space_on_device));
}

TEST(io_description, names_the_operation_its_range_the_device_and_the_reason) {
  EXPECT_EQ(described(operation::write, cache_device::origin),
            "write of 65536 bytes at 123456 of the origin: No space left on device");
  EXPECT_EQ(described(operation::read, cache_device::fast),
            "read of 65536 bytes at 123456 of the fast device: No space left on device");
  EXPECT_EQ(described(operation::discard, cache_device::origin),
            "discard of 65536 bytes at 123456 of the origin: No space left on device");
  EXPECT_EQ(described(operation::write_zeroes, cache_device::metadata),
            "write of zeroes of 65536 bytes at 123456 of the metadata device: No space left on "
            "device");
}

TEST(io_description, of_a_flush_has_no_range) {
  EXPECT_EQ(described(operation::flush, cache_device::metadata),
            "flush of the metadata device: No space left on device");
}

} // namespace
} // namespace dmcache
