// A pack of metadata in a file, which is removed at the end.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>

#include <gmock/gmock.h>

#include "base/testing/matchers.h"
#include "caching/tools/metadata_pack.h"
#include "caching/tools/metadata_unpack.h"

namespace dmcache {

class packed_file {
 public:
  // `name` differs from that of other tests.
  explicit packed_file(const std::string &name)
      : path_{std::filesystem::temp_directory_path() / (name + '.' + std::to_string(::getpid()))} {}
  packed_file(const packed_file &) = delete;
  packed_file &operator=(const packed_file &) = delete;
  ~packed_file() { std::filesystem::remove(path_); }

  result<std::uint64_t> pack(device &from, const pack_options &options) const {
    auto file = output_file::create(path_);
    report quiet{"test", true};
    auto packed = dmcache::pack(from, options, *file, quiet);
    EXPECT_THAT(file->commit(), succeeds());
    return packed;
  }

  result<> unpack(device &to) const {
    const auto open = [this]() -> result<read_text> {
      return [file = std::make_shared<std::ifstream>(path_)](
                 std::span<char> into) -> result<std::size_t> {
        file->read(into.data(), static_cast<std::streamsize>(into.size()));
        return static_cast<std::size_t>(file->gcount());
      };
    };
    const auto verified = verify_pack(open);
    EXPECT_THAT(verified, succeeds());
    progress quiet{true};
    return dmcache::unpack(open, *verified, to, quiet);
  }

 private:
  std::filesystem::path path_;
};

} // namespace dmcache
