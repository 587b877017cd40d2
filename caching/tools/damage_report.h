// Tells the user of damage as it is found, and at the end what it means.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/report.h"
#include "base/result.h"
#include "persistent-data/damage.h"

namespace dmcache {

class damage_report final : public damage_sink {
 public:
  // `to` must outlive this.
  explicit damage_report(report &to) : to_{to} {}

  void found(const damage &what) override;

  std::uint64_t nr_found() const { return nr_found_; }
  std::uint64_t nr_fatal() const { return nr_fatal_; }
  // If anything is damaged, it is this, and no data are at stake.
  bool is_confined_to(structure which) const;
  // The device failed to read, rather than its contents being wrong.
  bool has_io_error() const { return has_io_error_; }

  // Cache blocks whose mappings are lost; ascending, not touching each other.
  std::vector<key_range> lost_mappings() const;

  // For each structure that is damaged, what that means for the user's data.
  void explain();

 private:
  static constexpr std::size_t nr_structures = 6;

  struct tally {
    bool found = false;
    bool fatal = false;
    std::uint64_t lost = 0; // entries
  };

  std::string meaning(structure which, const tally &of) const;

  report &to_;
  std::array<tally, nr_structures> tallies_{};
  std::vector<key_range> lost_mappings_; // as told
  std::uint64_t nr_found_ = 0;
  std::uint64_t nr_fatal_ = 0;
  bool has_io_error_ = false;
};

} // namespace dmcache
