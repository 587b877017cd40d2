#include <array>
#include <utility>

#include "base/file_device.h"
#include "base/size_text.h"
#include "base/storage_layers.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "caching/tools/metadata_device.h"
#include "caching/tools/metadata_output.h"
#include "caching/tools/repair.h"

namespace dmcache {
namespace {

// Nothing if the option isn't given.
result<std::optional<sectors>> size_of_device(const command_line &line, const std::string &option) {
  if (!line.has(option)) {
    for (const std::string &part_of_it : {option + "-offset", option + "-size"}) {
      if (line.has(part_of_it)) {
        return fail(failure::usage, fmt::format("--{} goes with --{}", part_of_it, option));
      }
    }
    return {};
  }
  const auto part = line.part(option);
  if (!part) {
    return std::unexpected{part.error()};
  }
  const auto device = open_file_device(*part, access::read_only);
  if (!device) {
    return std::unexpected{device.error()};
  }
  return sectors{(*device)->size().value() / sector_size};
}

result<cache_facts> facts_of(const command_line &line) {
  cache_facts known;
  const auto fast_size = size_of_device(line, "fast-device");
  const auto origin_size = size_of_device(line, "origin-device");
  for (const auto *size : {&fast_size, &origin_size}) {
    if (!*size) {
      return std::unexpected{size->error()};
    }
  }
  known.fast_size = *fast_size;
  known.origin_size = *origin_size;
  if (line.has("block-size")) {
    const auto size =
        parse_sectors("--block-size", line.text("block-size"), bare_number::is_in_sectors);
    if (!size) {
      return std::unexpected{size.error()};
    }
    if (!is_legal_data_block_size(size->value())) {
      return fail(failure::usage,
                  fmt::format("'{}' is no block size: it is a multiple of 32k up to 1g",
                              line.text("block-size")));
    }
    known.data_block_size = static_cast<std::uint32_t>(size->value());
  }
  if (line.has("nr-cache-blocks")) {
    known.cache_blocks = whole_number<std::uint32_t>(line.text("nr-cache-blocks"));
    if (!known.cache_blocks || *known.cache_blocks == 0) {
      return fail(failure::usage,
                  fmt::format("'{}' is no number of blocks", line.text("nr-cache-blocks")));
    }
  }
  if (line.has("metadata-version")) {
    known.version = whole_number<std::uint32_t>(line.text("metadata-version"));
    if (known.version != 1 && known.version != 2) {
      return fail(failure::usage, "the metadata version is 1 or 2");
    }
  }
  if (line.has("policy")) {
    known.policy = line.text("policy");
    if (!is_policy_name(*known.policy) || known.policy->size() >= superblock{}.policy_name.size()) {
      return fail(failure::usage, fmt::format("'{}' is no name of a policy", *known.policy));
    }
  }
  return known;
}

// Opens the output as well, if both are parts of one device.
result<std::unique_ptr<device>> open_input(const device_part &input, const device_part &output,
                                           metadata_output &target) {
  if (auto checked = check_that_they_are_apart(input, output); !checked) {
    return std::unexpected{checked.error()};
  }
  if (!is_same_file(input.path, output.path)) {
    return open_metadata_device(input);
  }
  auto opened = open_files(
      std::array{part_to_open{input, access::read_only}, part_to_open{output, access::read_write}});
  if (!opened) {
    return std::unexpected{opened.error()};
  }
  target.use(std::move((*opened)[1]));
  return make_metadata_device(std::move((*opened)[0]), input.path);
}

// LVM looks at nothing but the exit status before it activates a repaired cache.
result<> judge(const repair_losses &losses, bool are_accepted) {
  if (are_accepted || (losses.nr_blocks == 0 && !losses.device_failed)) {
    return {};
  }
  return fail(
      losses.device_failed ? failure::environment : failure::failed,
      fmt::format("the output is complete, but for {} cache blocks whose data may be lost{}; "
                  "--accept-loss makes the exit status 0",
                  losses.nr_blocks,
                  losses.device_failed ? ", as the input could not be read everywhere" : ""));
}

result<> run(const command_line &line, report &to) {
  const auto known = facts_of(line);
  if (!known) {
    return std::unexpected{known.error()};
  }
  const auto input = line.part("input");
  if (!input) {
    return std::unexpected{input.error()};
  }
  if (line.has("list-roots")) {
    const auto from = open_metadata_device(*input);
    return from ? list_roots(**from, *known, to) : std::unexpected{from.error()};
  }
  const auto output = line.part("output");
  if (!output) {
    return std::unexpected{output.error()};
  }
  // Whatever stands there: LVM repairs onto a volume that is its spare one for thin pools as well.
  auto target = metadata_output::find(*output, true);
  if (!target) {
    return std::unexpected{target.error()};
  }
  const auto from = open_input(*input, *output, *target);
  if (!from) {
    return std::unexpected{from.error()};
  }
  const auto open = [&] { return target->open((*from)->size()); };
  const auto done = repair(**from, *known, line.has("use-stale"), open, to);
  if (!done) {
    return std::unexpected{done.error()};
  }
  if (auto complete = target->commit(); !complete) {
    return complete;
  }
  return judge(*done, line.has("accept-loss"));
}

} // namespace

int run_cache_repair(std::span<const std::string> arguments) {
  command_line line{"cache_repair", "[OPTION...] -i DEVICE -o DEVICE",
                    "cache_repair -i /dev/mapper/vg-pool_cmeta -o /dev/mapper/vg-new_cmeta"};
  line.ignore_empty_operand();
  line.add("input,i", "DEVICE", "the damaged metadata; never written to");
  line.add("output,o", "DEVICE", "another device or file; a file that isn't there is made");
  line.add("block-size", "SIZE", "what the cache's block size was, if the superblock is lost");
  line.add("nr-cache-blocks", "N", "how many blocks it had, if the superblock is lost");
  line.add("metadata-version", "1|2", "the version to write, if the superblock is lost");
  line.add("policy", "NAME", "the policy to name, if the superblock is lost");
  line.add("fast-device", "DEVICE", "hold these numbers against its size");
  line.add("origin-device", "DEVICE", "hold them, and what is mapped, against its size");
  line.add("list-roots", "list the mapping trees on the device; write nothing");
  line.add("use-stale", "take mappings that may be out of date, where there are no others");
  line.add("accept-loss", "exit with 0 even if dirty blocks are lost");
  line.add("quiet,q", "print nothing; the exit status tells");
  line.add_parts_of({"input", "output", "fast-device", "origin-device"});
  if (const auto done = line.parse_with(arguments, {"input"})) {
    return *done;
  }
  if (line.has("list-roots") == line.has("output")) {
    return line.refuse(line.has("output") ? "--list-roots writes nothing: leave out --output"
                                          : "--output is needed");
  }
  report to{"cache_repair", line.has("quiet")};
  if (line.text_or("output", "") == "-") {
    to.keep_off_standard_output();
  }
  const auto done = run(line, to);
  return to.ended(done);
}

} // namespace dmcache
