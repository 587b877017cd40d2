// Tells the user of damage as it is found, and at the end what it means.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/report.h"
#include "base/result.h"
#include "persistent-data/damage.h"

namespace dmcache {

// The same keys as ranges that don't touch each other; `sorted` by where they begin.
std::vector<key_range> merged(std::vector<key_range> sorted);

class damage_report final : public damage_sink {
 public:
  // `to` must outlive this.
  explicit damage_report(report &to) : to_{to} {}

  void found(const damage &finding) override;

  std::uint64_t nr_found() const { return nr_found_; }
  std::uint64_t nr_fatal() const { return nr_fatal_; }
  // Is nothing damaged but this, and no data at stake?
  bool is_confined_to(structure part) const;
  // Did the device fail, rather than its contents being wrong?
  bool has_io_error() const { return has_io_error_; }

  // The cache blocks whose mappings are lost, as ranges that ascend and don't touch each other.
  std::vector<key_range> lost_mappings() const;

  // Tells the user, for each structure that is damaged, what that means for his data.
  void explain();

 private:
  static constexpr std::size_t nr_structures = 6;

  struct tally {
    bool found = false;
    bool fatal = false;
    std::uint64_t lost = 0; // entries
  };

  std::string meaning(structure part, const tally &of) const;

  report &to_;
  std::array<tally, nr_structures> tallies_{};
  std::vector<key_range> lost_mappings_; // as told
  std::uint64_t nr_found_ = 0;
  std::uint64_t nr_fatal_ = 0;
  bool has_io_error_ = false;
};

} // namespace dmcache
