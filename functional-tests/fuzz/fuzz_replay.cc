// replay_NAME FOLDER: runs the fuzzer's target NAME over every file in FOLDER.

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT

int main(int argc, char **argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: replay_NAME FOLDER\n");
    return 2;
  }
  std::size_t nr_inputs = 0;
  for (const auto &file : std::filesystem::directory_iterator{argv[1]}) {
    fmt::print("{}\n", file.path().filename().string()); // the last one shown is the one to blame
    std::ifstream from{file.path(), std::ios::binary};
    const std::vector<char> input{std::istreambuf_iterator<char>{from}, {}};
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t *>(input.data()), // NOLINT
                           input.size());
    ++nr_inputs;
  }
  fmt::print("{} inputs\n", nr_inputs);
  return nr_inputs == 0 ? 1 : 0;
}
