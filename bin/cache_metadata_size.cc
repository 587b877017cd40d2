#include "base/report.h"
#include "base/size_text.h"
#include "base/whole_number.h"
#include "bin/command.h"
#include "caching/metadata/metadata_size.h"

namespace dmcache {
namespace {

result<std::uint64_t> number_of_blocks(const command_line &line) {
  const bool by_size = line.has("block-size") || line.has("device-size");
  if (line.has("nr-blocks") == by_size) {
    return fail(failure::usage, "give either --nr-blocks, or --block-size and --device-size");
  }
  if (!by_size) {
    if (const auto number = whole_number<std::uint64_t>(line.text("nr-blocks"))) {
      return *number;
    }
    return fail(failure::usage, fmt::format("'{}' is no number of blocks", line.text("nr-blocks")));
  }
  if (!line.has("block-size") || !line.has("device-size")) {
    return fail(failure::usage, "--block-size and --device-size go together");
  }
  const auto block_size = parse_size(line.text("block-size"), bare_number::is_in_sectors);
  if (!block_size) {
    return std::unexpected{block_size.error()};
  }
  const auto device_size = parse_size(line.text("device-size"), bare_number::is_in_sectors);
  if (!device_size) {
    return std::unexpected{device_size.error()};
  }
  return count_cache_blocks(*device_size, *block_size);
}

// How to name the unit of a bare number. "-n=short" is taken like "-nshort".
std::string unit_form(const command_line &line) {
  const std::string form = line.text("numeric-only");
  return form.starts_with('=') ? form.substr(1) : form;
}

// Two digits after the point where the size is not a whole number of units.
std::string in_units(bytes size, const size_unit &unit) {
  const auto whole = size.value() / unit.in_bytes;
  if (size.value() % unit.in_bytes == 0) {
    return fmt::format("{}", whole);
  }
  return fmt::format("{:.2f}",
                     static_cast<double>(size.value()) / static_cast<double>(unit.in_bytes));
}

} // namespace

int run_cache_metadata_size(std::span<const std::string> arguments) {
  command_line line{"cache_metadata_size",
                    "[OPTION...] (--nr-blocks N | --block-size SIZE --device-size SIZE)",
                    "cache_metadata_size --block-size 64k --device-size 100g -u m"};
  line.add("nr-blocks", "N", "number of cache blocks");
  line.add("block-size", "SIZE", "size of a cache block");
  line.add("device-size", "SIZE", "size of the fast device");
  line.add("max-hint-width", "BYTES", "bytes of a policy hint (default: 4)");
  line.add("unit,u", "UNIT", "of the answer: b, s, k or KiB, K (1000 bytes), m, ... (default: s)");
  line.add_with_optional_value(
      "numeric-only,n", "short|long",
      "print just the number; with a value, its unit's letter or name too");
  if (const auto done = line.parse(arguments)) {
    return *done;
  }
  const auto nr_blocks = number_of_blocks(line);
  if (!nr_blocks) {
    return line.refuse(nr_blocks.error().message);
  }
  const auto hint_width = whole_number<std::uint32_t>(line.text_or("max-hint-width", "4"));
  if (!hint_width) {
    return line.refuse("the hint width is no whole number of bytes");
  }
  const size_unit *unit = find_unit_to_tell(line.text_or("unit", "s"));
  if (unit == nullptr) {
    return line.refuse(fmt::format("'{}' is no unit", line.text("unit")));
  }
  std::string answer = in_units(to_bytes(estimate_metadata_size(*nr_blocks, *hint_width)), *unit);
  if (!line.has("numeric-only")) {
    answer += fmt::format(" {}s", unit->name);
  } else if (const std::string form = unit_form(line); form == "short") {
    answer += unit->letter;
  } else if (form == "long") {
    answer += fmt::format("{}s", unit->name);
  } else if (!form.empty()) {
    return line.refuse(fmt::format("'{}' is neither short nor long", form));
  }
  return show("cache_metadata_size", answer + '\n');
}

} // namespace dmcache
