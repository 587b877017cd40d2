// Seeded I/O on a target, and a model that says what it must hold.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/aligned_buffer.h"
#include "functional-tests/exerciser/sector_model.h"
#include "functional-tests/exerciser/target.h"

namespace dmcache::exerciser {

class workload {
 public:
  // Some of the I/O covers whole blocks of `block_size`.
  workload(target &on, sector_model &model, sectors block_size, std::uint64_t seed);

  // Writes everything once.
  void fill();
  // Throws if something is read that the model doesn't allow. Doesn't flush at the end.
  void use(std::uint64_t nr_batches);
  void flush();

  struct findings {
    std::uint64_t uncertain = 0; // sectors that could have held more than one thing
    std::uint64_t discarded = 0; // sectors that may hold anything
    std::uint64_t wrong = 0;
    std::string first_wrong;
    std::uint32_t checksum = 0; // of all sectors but the discarded ones
  };
  // Reads everything.
  findings verify(sector_model::since last);

 private:
  static constexpr std::uint64_t max_batch = 8;
  static constexpr std::uint64_t max_length = 256; // sectors of an operation

  sector_range some_range();
  bool is_free(sector_range range) const;
  void add(request::operation op, sector_range range);
  void carry_out();
  void look_at(const operation &read, sector_model::since last, findings &into);

  target &target_;
  sector_model &model_;
  std::uint64_t block_size_; // sectors
  std::mt19937_64 chance_;
  std::vector<operation> batch_;
  std::vector<sector_range> ranges_; // of the batch
  std::vector<aligned_buffer> buffers_;
};

} // namespace dmcache::exerciser
