#include "caching/tools/check.h"

#include <fmt/format.h>

#include "caching/metadata/metadata_reader.h"
#include "caching/tools/damage_report.h"
#include "persistent-data/space_map_check.h"

namespace dmcache {
namespace {

class counter final : public metadata_visitor {
 public:
  void mappings(std::span<const mapping> some) override {
    mapped += some.size();
    for (const mapping &each : some) {
      dirty += each.dirty ? 1 : 0;
    }
  }

  std::uint64_t mapped = 0;
  std::uint64_t dirty = 0;
};

void check_structures(const check_options &options, const metadata_device &metadata,
                      const walk_context &context, counter &totals) {
  const superblock &block = metadata.block;
  context.usage.claim(superblock_location, structure::superblock);
  read_metadata(context, block,
                {.mappings = !options.skip_mappings,
                 .hints = !options.skip_hints,
                 .discards = !options.skip_discards},
                totals);
  if (options.skip_mappings || options.skip_hints || options.skip_discards) {
    context.usage.forget_completeness();
  }
  check_space_map(context, block.space_map);
}

void tell_state(const check_options &options, const superblock &block, const counter &totals,
                report &to) {
  const bool counted = !options.superblock_only && !options.skip_mappings;
  if (!block.is_clean()) {
    to.answer(counted ? fmt::format("note: not cleanly shut down: all {} mapped blocks count as "
                                    "dirty",
                                    totals.mapped)
                      : "note: not cleanly shut down: all mapped blocks count as dirty");
  }
  if (block.is_needs_check()) {
    to.answer("note: NEEDS_CHECK is set: a metadata operation failed, and the kernel won't "
              "activate the cache for writing before a check has cleared it");
  }
  if (block.compat_ro_flags != 0) {
    to.answer(fmt::format("note: unknown features {:#x}: this cache can be used read-only",
                          std::uint32_t{block.compat_ro_flags}));
  }
}

std::string summary(const check_options &options, const superblock &block, const counter &totals,
                    const damage_report &damage) {
  std::string line = fmt::format("format {}, block size {} sectors, {} cache blocks, ",
                                 std::uint32_t{block.version}, std::uint32_t{block.data_block_size},
                                 std::uint32_t{block.cache_blocks});
  if (!options.superblock_only && !options.skip_mappings) {
    line += fmt::format("{} mapped, {} dirty, ", totals.mapped, totals.dirty);
  }
  line += block.is_clean() ? "cleanly shut down" : "not cleanly shut down";
  line += block.is_needs_check() ? ", needs_check" : "";
  line += damage.nr_found() == 0
              ? ": sound"
              : fmt::format(": {} damaged ({} fatal)", damage.nr_found(), damage.nr_fatal());
  return line;
}

} // namespace

int check(const metadata_device &metadata, const check_options &options, report &to) {
  damage_report damage{to};
  for (const std::string &fault : faults_of(metadata.block)) {
    damage.found({structure::superblock, true, superblock_location, "", fault, {}});
  }
  counter totals;
  if (!options.superblock_only) {
    block_usage usage{metadata.from->size()};
    check_structures(options, metadata, {*metadata.from, usage, damage, to.watcher()}, totals);
  }
  damage.explain();
  tell_state(options, metadata.block, totals, to);
  to.answer(summary(options, metadata.block, totals, damage));
  if (damage.has_io_error()) {
    return static_cast<int>(failure::environment);
  }
  const auto counted = options.ignore_non_fatal ? damage.nr_fatal() : damage.nr_found();
  return counted == 0 ? 0 : static_cast<int>(failure::failed);
}

} // namespace dmcache
