// What cache_writeback tells about what it did, or would do: as text, or as JSON.
#pragma once

#include <cstddef>
#include <span>

#include "base/report.h"
#include "base/units.h"
#include "caching/tools/block_copier.h"
#include "caching/tools/writeback.h"
#include "caching/tools/writeback_plan.h"

namespace dmcache {

// All that it is given must outlive it.
class writeback_report {
 public:
  writeback_report(const writeback_plan &plan, const writeback_options &options, bytes block_size,
                   report &to)
      : plan_{plan}, options_{options}, block_size_{block_size}, to_{to} {}

  // Instead of copying.
  void tell_plan();
  // Of what was to be copied, so many blocks were copied and so many are left, as it was stopped.
  void tell_result(std::size_t nr_copied, std::size_t nr_left,
                   std::span<const block_failure> failed);

 private:
  void tell_left_out();
  void tell_failed(std::span<const block_failure> failed);
  void tell_json(std::size_t nr_copied, std::size_t nr_left, std::span<const block_failure> failed);

  const writeback_plan &plan_;
  const writeback_options &options_;
  bytes block_size_;
  report &to_;
};

} // namespace dmcache
