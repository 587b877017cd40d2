#include "caching/tools/metadata_device.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/pending_file.h"

namespace dmcache {
namespace {

constexpr std::string_view standard_input = "-";

bool holds_xml(const std::string &path) {
  std::array<char, 512> start{};
  std::ifstream file{path};
  file.read(start.data(), start.size());
  return looks_like_xml(std::as_bytes(std::span{start}.first(
      static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)))));
}

std::unexpected<error> xml_instead(const std::string &path) {
  return fail(failure::failed,
              fmt::format("This looks like XML.  This tool only supports the binary metadata "
                          "format.  {} is no metadata device",
                          path));
}

// A copy of what comes from standard input.
result<std::unique_ptr<device>> copy_of_standard_input() {
  auto file = make_nameless_file();
  if (!file) {
    return std::unexpected{file.error()};
  }
  if (auto copied = copy_file(STDIN_FILENO, "standard input", file->get(), "a temporary file");
      !copied) {
    return std::unexpected{copied.error()};
  }
  if (holds_xml(fmt::format("/proc/self/fd/{}", file->get()))) {
    return xml_instead("standard input");
  }
  const off_t end = ::lseek(file->get(), 0, SEEK_END);
  return make_file_device({std::move(*file), bytes{static_cast<std::uint64_t>(end)}},
                          "standard input");
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
  if (path == standard_input && mode == access::read_only) {
    return copy_of_standard_input();
  }
  auto from = open_file_device(path, mode);
  if (from && holds_xml(path)) {
    return xml_instead(path);
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
