// Knows what each sector of a cache's logical device may hold after all that was ever asked of it.
//
// Each sector that is written carries its number and a generation, which no two writes share and
// which is never zero. The model knows two generations of each sector: the newest, and the oldest
// that a power cut may bring back, which is the newest that was made durable. The generation that
// is read after a power cut must lie between the two, and stays from then on.
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

// Makes `data` what a write of `generation` to the sectors from `first` on carries.
void stamp(std::span<std::byte> data, std::uint64_t first, std::uint32_t generation);

class sector_model {
 public:
  // The model is kept in a file, which is made large enough, or on a device, which has to be. In a
  // new one all sectors are zero. Throws std::system_error.
  sector_model(const std::string &path, std::uint64_t nr_sectors);
  sector_model(const sector_model &) = delete;
  sector_model &operator=(const sector_model &) = delete;
  ~sector_model();

  // To be called before the device is asked to do so.
  std::uint32_t will_write(sector_range range); // returns the generation
  void will_zero(sector_range range);
  void will_discard(sector_range range); // until it is written again it may hold anything
  // All that was written to the range is durable.
  void made_durable(sector_range range);
  void made_all_durable();
  // Makes the model durable, so that it survives the machine that this runs on.
  void save();

  enum class since { last_told, power_cut };
  // Whether the sector may hold `data`. After a power cut it settles what the sector holds.
  bool allows(std::uint64_t sector, std::span<const std::byte> data, since last);

  std::uint64_t nr_sectors() const { return nr_sectors_; }
  bool is_discarded(std::uint64_t sector) const { return states_[sector].newest == anything; }
  bool is_uncertain(std::uint64_t sector) const {
    return states_[sector].oldest != states_[sector].newest;
  }

 private:
  // This bit of a generation says of the newest that the sector was zeroed, and of the oldest that
  // it may hold zeroes.
  static constexpr std::uint32_t zeroes = std::uint32_t{1} << 31;
  static constexpr std::uint32_t anything = ~std::uint32_t{0};
  static constexpr std::uint64_t magic = 0x6c65646f6d636d64;

  struct sector_state {
    std::uint32_t oldest;
    std::uint32_t newest;
  };
  struct header {
    std::uint64_t magic;
    std::uint64_t generation; // the last one that a write has got
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
