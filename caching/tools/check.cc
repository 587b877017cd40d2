#include "caching/tools/check.h"

#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "caching/metadata/metadata_reader.h"
#include "caching/metadata/metadata_size.h"
#include "caching/tools/damage_report.h"
#include "persistent-data/builder.h"

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
  read_metadata(context, metadata.block,
                {.mappings = !options.skip_mappings,
                 .hints = !options.skip_hints,
                 .discards = !options.skip_discards,
                 .together = true,
                 .space_map = true},
                totals);
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
  if (const auto &map = block.space_map; is_nearly_full(map.nr_allocated, map.nr_blocks)) {
    to.answer(
        fmt::format("note: {} of {} metadata blocks are in use: when none is left, nothing new "
                    "is cached: restore a dump to a larger device (see cache_metadata_size)",
                    std::uint64_t{map.nr_allocated}, std::uint64_t{map.nr_blocks}));
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

// Puts a new space map where nothing is in use, so that the old one stays in force until the
// superblock names the new one.
result<space_map_root> rebuild_space_map(device &on, const space_map_root &old,
                                         const block_usage &usage) {
  const auto first = usage.find_unused(old.nr_blocks, blocks_of_space_map(old.nr_blocks));
  if (!first) {
    return fail(failure::failed, "there is no room for a new space map: use cache_repair to write "
                                 "the metadata to a larger device");
  }
  block_writer out{on, *first};
  const auto built = build_space_map(out, old.nr_blocks, [&](std::uint64_t block) {
    return usage.is_used(block) && !usage.is_used_by(block, structure::space_map);
  });
  if (const auto failed = out.finish()) {
    return fail(
        failure::environment,
        fmt::format("cannot write the space map: {}: nothing is changed", failed.message()));
  }
  return built;
}

// Opens for writing what was checked. Nobody else had the device open while it was checked, but it
// is nobody's for a moment here; whoever changes metadata writes the superblock.
result<metadata_device> open_what_was_checked(metadata_device checked,
                                              const check_options &options) {
  checked.from.reset(); // which is in nobody's way then
  auto opened = options.open_to_mend();
  if (opened && std::memcmp(&opened->block, &checked.block, sizeof(superblock)) != 0) {
    return fail(failure::environment,
                "nothing was mended: the metadata were changed meanwhile: check them again");
  }
  return opened;
}

// Mends what can be without putting anything at stake. Sound metadata are left as they are.
result<> mend(metadata_device metadata, const check_options &options, const block_usage &usage,
              const damage_report &damage, report &to) {
  if (damage.nr_found() == 0 && !metadata.block.is_needs_check()) {
    return {};
  }
  if (!damage.is_confined_to(structure::space_map)) {
    return fail(damage.has_io_error() ? failure::environment : failure::failed,
                "nothing was mended: there is more wrong than leaks; see cache_repair");
  }
  if (metadata.block.compat_ro_flags != 0) {
    return fail(failure::failed, "nothing was mended: unknown features forbid to write");
  }
  const auto opened = open_what_was_checked(std::move(metadata), options);
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  superblock block = opened->block;
  if (damage.nr_found() != 0) {
    const auto rebuilt = rebuild_space_map(*opened->from, block.space_map, usage);
    if (!rebuilt) {
      return std::unexpected{rebuilt.error()};
    }
    block.space_map = *rebuilt;
  }
  block.flags = block.flags & ~superblock::needs_check;
  if (auto committed = commit_superblock(*opened->from, block); !committed) {
    return committed;
  }
  if (damage.nr_found() != 0) {
    to.answer("mended: the space map is rebuilt");
  }
  if (opened->block.is_needs_check()) {
    to.answer("mended: NEEDS_CHECK is cleared");
  }
  return {};
}

} // namespace

int check(metadata_device metadata, const check_options &options, report &to) {
  damage_report damage{to};
  for (const std::string &fault : faults_of(metadata.block)) {
    damage.found({structure::superblock, true, superblock_location, "", fault, {}});
  }
  counter totals;
  block_usage usage{metadata.from->size()};
  if (!options.superblock_only) {
    check_structures(options, metadata, {*metadata.from, usage, damage, to.watcher()}, totals);
  }
  damage.explain();
  tell_state(options, metadata.block, totals, to);
  to.answer(summary(options, metadata.block, totals, damage));
  if (options.open_to_mend) {
    const auto mended = mend(std::move(metadata), options, usage, damage, to);
    return to.ended(mended);
  }
  if (damage.has_io_error()) {
    return to.ended(static_cast<int>(failure::environment));
  }
  const auto counted = options.ignore_non_fatal ? damage.nr_fatal() : damage.nr_found();
  return to.ended(counted == 0 ? 0 : static_cast<int>(failure::failed));
}

} // namespace dmcache
