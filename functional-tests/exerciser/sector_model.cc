#include "functional-tests/exerciser/sector_model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <system_error>

#include "base/assert.h"
#include "base/file_descriptor.h"

namespace dmcache::exerciser {
namespace {

constexpr std::size_t words_per_sector = sector_size / sizeof(std::uint64_t);
using sector_words = std::array<std::uint64_t, words_per_sector>;

sector_words words_of(std::uint64_t sector, std::uint32_t generation) {
  constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15;
  sector_words words{generation, sector};
  std::uint64_t mixed = sector << 32 ^ generation;
  for (std::size_t i = 2; i < words.size(); ++i) {
    words.at(i) = mixed += golden_ratio;
  }
  return words;
}

// 0 if the data are all zero. None if they are nothing that was ever written to this sector.
std::optional<std::uint32_t> generation_in(std::span<const std::byte> data, std::uint64_t sector) {
  sector_words found{};
  require(data.size() == sizeof found, "a sector is looked at at a time");
  std::memcpy(found.data(), data.data(), sizeof found);
  const auto generation = static_cast<std::uint32_t>(found.front());
  if (found == sector_words{}) {
    return 0;
  }
  return found == words_of(sector, generation) ? std::optional{generation} : std::nullopt;
}

std::system_error failed(const std::string &path) {
  return {errno, std::generic_category(), path};
}

} // namespace

void stamp(std::span<std::byte> data, std::uint64_t first, std::uint32_t generation) {
  for (std::uint64_t i = 0; i < data.size() / sector_size; ++i) {
    const sector_words words = words_of(first + i, generation);
    std::memcpy(data.data() + i * sector_size, words.data(), sector_size);
  }
}

sector_model::sector_model(const std::string &path, std::uint64_t nr_sectors)
    : nr_sectors_{nr_sectors} {
  const file_descriptor file{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)};
  struct stat status{};
  if (!file.is_open() || ::fstat(file.get(), &status) != 0) {
    throw failed(path);
  }
  const std::size_t size = states_offset + nr_sectors * sizeof(sector_state);
  is_on_device_ = S_ISBLK(status.st_mode);
  if (!is_on_device_ && ::ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
    throw failed(path);
  }
  void *mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (mapped == MAP_FAILED) { // NOLINT(*-cstyle-cast)
    throw failed(path);
  }
  memory_ = {static_cast<std::byte *>(mapped), size};
  header_ = static_cast<header *>(mapped);
  void *states = memory_.data() + states_offset;
  states_ = static_cast<sector_state *>(states);
  if (header_->magic != magic) {
    *header_ = {magic, 0};
    std::fill_n(states_, nr_sectors, sector_state{zeroes, zeroes});
  }
}

sector_model::~sector_model() {
  ::munmap(memory_.data(), memory_.size());
}

void sector_model::save() {
  if (is_on_device_ && ::msync(memory_.data(), memory_.size(), MS_SYNC) != 0) {
    throw failed("the model");
  }
}

std::uint32_t sector_model::will_write(sector_range range) {
  const auto generation = static_cast<std::uint32_t>(++header_->generation);
  for (std::uint64_t i = range.begin; i < range.end; ++i) {
    states_[i].newest = generation;
  }
  return generation;
}

void sector_model::will_zero(sector_range range) {
  const auto generation = static_cast<std::uint32_t>(++header_->generation);
  for (std::uint64_t i = range.begin; i < range.end; ++i) {
    states_[i].newest = generation | zeroes;
    states_[i].oldest |= zeroes;
  }
}

void sector_model::will_discard(sector_range range) {
  std::fill(states_ + range.begin, states_ + range.end, sector_state{anything, anything});
}

void sector_model::made_durable(sector_range range) {
  for (std::uint64_t i = range.begin; i < range.end; ++i) {
    states_[i].oldest = states_[i].newest;
  }
}

void sector_model::made_all_durable() {
  made_durable({0, nr_sectors_});
}

bool sector_model::is_newest(sector_state of, std::uint32_t found) {
  return (of.newest & zeroes) != 0 ? found == 0 : found == of.newest;
}

bool sector_model::is_in_range(sector_state of, std::uint32_t found) {
  return found == 0 ? (of.oldest & zeroes) != 0
                    : found >= (of.oldest & ~zeroes) && found <= (of.newest & ~zeroes);
}

bool sector_model::allows(std::uint64_t sector, std::span<const std::byte> data, since last) {
  sector_state &state = states_[sector];
  if (state.newest == anything) {
    return true;
  }
  const std::optional<std::uint32_t> found = generation_in(data, sector);
  const bool is_last = found && is_newest(state, *found);
  if (last == since::last_told) {
    return is_last;
  }
  if (state.oldest == anything) { // it was discarded and then written, so it may hold anything
    state = is_last ? sector_state{state.newest, state.newest} : sector_state{anything, anything};
    return true;
  }
  if (!found || !is_in_range(state, *found)) {
    return false;
  }
  const std::uint32_t settled = is_last       ? state.newest
                                : *found == 0 ? (state.oldest & ~zeroes) | zeroes
                                              : *found;
  state = {settled, settled};
  return true;
}

} // namespace dmcache::exerciser
