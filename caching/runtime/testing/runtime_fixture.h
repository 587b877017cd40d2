// A threaded runtime on three files, and requests to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/matchers.h"
#include "caching/runtime/threaded_runtime.h"

namespace dmcache {

class runtime_fixture : public testing::Test {
 protected:
  static constexpr std::uint64_t block = 128 * sector_size;
  static constexpr std::uint64_t fast_size = 32 * block;
  static constexpr std::uint64_t origin_size = 128 * block;

  // The origin is longer than origin_size by so many bytes.
  explicit runtime_fixture(std::uint64_t beyond_origin) {
    std::string name = testing::TempDir() + "/runtime.XXXXXX";
    folder = ::mkdtemp(name.data());
    paths = {make_file("metadata", 1 << 20), make_file("fast", fast_size),
             make_file("origin", origin_size + beyond_origin)};
    options.block_size = sectors{block / sector_size};
  }
  ~runtime_fixture() override {
    running.reset();
    std::filesystem::remove_all(folder);
  }

  std::string make_file(const char *name, std::uint64_t size) const {
    std::string path = folder / name;
    std::ofstream{path}.flush();
    std::filesystem::resize_file(path, size);
    return path;
  }

  // Opens it, and tells `tell` its troubles.
  void start(threaded_runtime::trouble_handler tell = {}) {
    auto opened = threaded_runtime::open(paths, options, std::move(tell));
    ASSERT_THAT(opened, succeeds());
    running = std::move(*opened);
    ASSERT_THAT(running->start(), succeeds());
  }

  std::error_code ask(request::operation op, std::uint64_t offset, std::uint64_t length,
                      std::span<std::byte> data = {}) const {
    request wanted;
    wanted.op = op;
    wanted.offset = bytes{offset};
    wanted.length = bytes{length};
    wanted.data = data;
    return running->carry_out(wanted);
  }
  void fill(std::uint64_t offset, std::uint64_t length, int value) const {
    std::vector data(length, std::byte(value));
    ASSERT_THAT(ask(request::operation::write, offset, length, data), succeeds());
  }
  std::vector<std::byte> contents(std::uint64_t offset, std::uint64_t length) const {
    std::vector<std::byte> found(length);
    EXPECT_THAT(ask(request::operation::read, offset, length, found), succeeds());
    return found;
  }

  std::filesystem::path folder;
  cache_paths paths;
  engine_options options;
  std::unique_ptr<threaded_runtime> running;
};

} // namespace dmcache
