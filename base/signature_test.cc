#include "base/signature.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/memory_device.h"

namespace dmcache {
namespace {

using namespace std::string_view_literals;

std::vector<std::byte> disk_with(std::size_t at, std::string_view mark) {
  std::vector<std::byte> image(1 << 20);
  std::memcpy(image.data() + at, mark.data(), mark.size());
  return image;
}

std::optional<std::string> format_of(std::size_t at, std::string_view mark) {
  memory_device on{disk_with(at, mark)};
  return image_format_on(on);
}

std::optional<std::string> signature_of(const std::vector<std::byte> &image) {
  std::string path = testing::TempDir() + "signatureXXXXXX";
  opened_file file{file_descriptor{::mkstemp(path.data())}, bytes{image.size()}};
  EXPECT_EQ(::write(file.file.get(), image.data(), image.size()),
            static_cast<ssize_t>(image.size()));
  ::unlink(path.c_str());
  return signature_on(file);
}

TEST(signature_test, formats_of_disk_images_are_told) {
  EXPECT_EQ(format_of(0, "QFI\xfb\0\0\0\3"sv), "a qcow2 image");
  EXPECT_EQ(format_of(0, "vhdxfile"), "a vhdx image");
  EXPECT_EQ(format_of(64, "\x7f\x10\xda\xbe"), "a vdi image");
  EXPECT_EQ(format_of(0, "KDMV"), "a vmdk image");
  EXPECT_EQ(format_of(1, "KDMV"), std::nullopt);
  EXPECT_EQ(format_of(0, ""), std::nullopt);
}

TEST(signature_test, what_libblkid_knows_is_told) {
  constexpr auto romfs = "-rom1fs-\0\0\4\0\xa1\x27\x19\x66"sv; // its size, and what sums up to 0
  EXPECT_EQ(signature_of(disk_with(0, romfs)), "a romfs file system");
  EXPECT_EQ(signature_of(disk_with(4096, romfs)), std::nullopt);
  EXPECT_EQ(signature_of(std::vector<std::byte>(1 << 20)), std::nullopt);
}

} // namespace
} // namespace dmcache
