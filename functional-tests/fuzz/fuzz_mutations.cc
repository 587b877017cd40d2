// fuzz_mutations FOLDER SEED COUNT: mutates the files in FOLDER as the fuzzer does, and runs its
// target over each mutation, without libFuzzer. The same seed makes the same mutations; consecutive
// mutations have consecutive seeds, so that one can be replayed.

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include <fmt/format.h>

#include "base/chance.h"
#include "base/whole_number.h"

using input = std::vector<std::uint8_t>;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t *data, std::size_t size); // NOLINT
// NOLINTBEGIN(readability-identifier-naming): libFuzzer's
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t *data, std::size_t size,
                                               std::size_t max_size, unsigned seed);
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t *data, std::size_t size, std::size_t max_size);
// NOLINTEND(readability-identifier-naming)

namespace {

constexpr std::size_t largest_input = std::size_t{1} << 20;

dmcache::chance of_bytes{0}; // set for each input

std::vector<input> inputs_in(const char *folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto &file : std::filesystem::directory_iterator{folder}) {
    paths.push_back(file.path());
  }
  std::ranges::sort(paths);
  std::vector<input> inputs;
  for (const auto &path : paths) {
    std::ifstream from{path, std::ios::binary};
    inputs.emplace_back(std::istreambuf_iterator<char>{from}, std::istreambuf_iterator<char>{});
  }
  return inputs;
}

input mutation_of(const std::vector<input> &inputs, std::uint64_t seed) {
  dmcache::chance by{seed};
  of_bytes = dmcache::chance{by()};
  input made = inputs[by.below(inputs.size())];
  const std::size_t size = made.size();
  made.resize(std::max(size, largest_input));
  std::size_t now = size;
  for (auto left = by.between(1, 4); left > 0; --left) {
    now = LLVMFuzzerCustomMutator(made.data(), now, made.size(), static_cast<unsigned>(by()));
  }
  made.resize(now);
  return made;
}

} // namespace

// In place of libFuzzer's.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t *data, std::size_t size,
                                        std::size_t /*max_size*/) {
  for (auto left = size == 0 ? 0 : of_bytes.between(1, 4); left > 0; --left) {
    data[of_bytes.below(size)] ^= static_cast<std::uint8_t>(1U << of_bytes.below(8));
  }
  return size;
}

int main(int argc, char **argv) {
  const auto seed = dmcache::whole_number<std::uint64_t>(argc == 4 ? argv[2] : "");
  const auto count = dmcache::whole_number<std::uint64_t>(argc == 4 ? argv[3] : "");
  if (!seed || !count) {
    fmt::print(stderr, "usage: fuzz_mutations FOLDER SEED COUNT\n");
    return 2;
  }
  const std::vector<input> inputs = inputs_in(argv[1]);
  for (std::uint64_t i = 0; i < *count && !inputs.empty(); ++i) {
    fmt::print("seed {}\n", *seed + i); // the last one shown is the one to blame
    std::fflush(stdout);
    const input mutated = mutation_of(inputs, *seed + i);
    LLVMFuzzerTestOneInput(mutated.data(), mutated.size());
  }
  return inputs.empty() ? 1 : 0;
}
