#include "caching/tools/metadata_device.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <utility>

#include <fmt/format.h>

namespace dmcache {
namespace {

bool holds_xml(const std::string &path) {
  std::array<char, 512> start{};
  std::ifstream file{path};
  file.read(start.data(), start.size());
  return looks_like_xml(std::as_bytes(std::span{start}.first(
      static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)))));
}

} // namespace

result<metadata_device> read_metadata_device(std::unique_ptr<device> from) {
  const auto block = read_superblock(*from);
  if (!block) {
    return std::unexpected{block.error()};
  }
  return metadata_device{std::move(from), *block};
}

result<std::unique_ptr<device>> open_metadata_device(const std::string &path, access mode) {
  auto from = open_file_device(path, mode);
  if (from && holds_xml(path)) {
    return fail(failure::failed,
                fmt::format("This looks like XML.  This tool only supports the binary metadata "
                            "format.  {} is no metadata device",
                            path));
  }
  return from;
}

result<metadata_device> open_metadata(const std::string &path, access mode) {
  auto from = open_metadata_device(path, mode);
  if (!from) {
    return std::unexpected{from.error()};
  }
  auto metadata = read_metadata_device(std::move(*from));
  if (!metadata) {
    return fail(metadata.error().kind, fmt::format("{} ({})", metadata.error().message, path));
  }
  return metadata;
}

} // namespace dmcache
