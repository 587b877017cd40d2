// fuzz_seed IMAGE INPUT: makes a fuzzer's input of a metadata image.

#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "functional-tests/fuzz/sparse_image.h"

int main(int argc, char **argv) {
  if (argc != 3) {
    fmt::print(stderr, "usage: fuzz_seed IMAGE INPUT\n");
    return 2;
  }
  std::ifstream from{argv[1], std::ios::binary};
  const std::vector<char> image{std::istreambuf_iterator<char>{from}, {}};
  const auto input = dmcache::fuzz::encode(dmcache::fuzz::pack(std::as_bytes(std::span{image})));
  std::ofstream to{argv[2], std::ios::binary};
  to.write(reinterpret_cast<const char *>(input.data()), // NOLINT: a stream's characters
           static_cast<std::streamsize>(input.size()));
  return from.bad() || !to.flush() ? 1 : 0;
}
