// What may stand in each sector of a cache's logical device, after all that was ever asked of it.
//
// Whatever is written carries the sector's number and a generation, which no two writes share; zero
// is none. Of each sector the model knows the newest generation, and the oldest that the power may
// bring back by failing, which is the newest that was made durable. What is read after a power cut
// must lie between the two; from then on it stays.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/units.h"

namespace dmcache::exerciser {

struct sector_range {
  std::uint64_t begin;
  std::uint64_t end; // one past the last
};

// Makes `data` what a write of that generation to the sectors from `first` on carries.
void stamp(std::span<std::byte> data, std::uint64_t first, std::uint32_t generation);

class sector_model {
 public:
  // Kept in a file, which becomes large enough, or on a device, which has to be. What is new is a
  // model of sectors that are all zero. Throws what the system says against it.
  sector_model(const std::string &path, std::uint64_t nr_sectors);
  sector_model(const sector_model &) = delete;
  sector_model &operator=(const sector_model &) = delete;
  ~sector_model();

  // To be told before it is asked of the device.
  std::uint32_t will_write(sector_range which); // gives the generation
  void will_zero(sector_range which);
  void will_discard(sector_range which); // from then on it holds anything, until it is written
  // All that the range was asked to hold is durable.
  void made_durable(sector_range which);
  void made_all_durable();
  // What was told so far survives the machine that this runs on.
  void save();

  enum class since { last_told, power_cut };
  // May `data`, of one sector, be read there? After a power cut it settles what is there.
  bool allows(std::uint64_t sector, std::span<const std::byte> data, since what);

  std::uint64_t nr_sectors() const { return nr_sectors_; }
  bool is_discarded(std::uint64_t sector) const { return states_[sector].newest == anything; }
  bool is_uncertain(std::uint64_t sector) const {
    return states_[sector].oldest != states_[sector].newest;
  }

 private:
  // A generation, with this bit if the newest is zeroes; in the oldest, if there may be zeroes.
  static constexpr std::uint32_t zeroes = std::uint32_t{1} << 31;
  static constexpr std::uint32_t anything = ~std::uint32_t{0};
  static constexpr std::uint64_t magic = 0x6c65646f6d636d64;

  struct sector_state {
    std::uint32_t oldest;
    std::uint32_t newest;
  };
  struct header {
    std::uint64_t magic;
    std::uint64_t generation; // the last one that was given
  };
  static constexpr std::size_t states_offset = 4096;

  static bool is_newest(sector_state of, std::uint32_t found);
  static bool is_in_range(sector_state of, std::uint32_t found);

  std::uint64_t nr_sectors_;
  std::span<std::byte> memory_;
  bool is_on_device_ = false;
  header *header_ = nullptr;
  sector_state *states_ = nullptr;
};

} // namespace dmcache::exerciser
