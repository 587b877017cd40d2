#include "caching/tools/metadata_device.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/pending_file.h"
#include "base/signature.h"
#include "caching/tools/metadata_pack.h"

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

// What stands there instead of metadata, if that is known.
std::optional<std::string> other_contents(const std::string &path) {
  const file_descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  std::array<char, pack_header::magic_value.size()> start{};
  if (!file.is_open()) {
    return {};
  }
  if (::pread(file.get(), start.data(), start.size(), 0) == static_cast<ssize_t>(start.size()) &&
      start == pack_header::magic_value) {
    return "a pack of metadata: cache_metadata_unpack makes it metadata again";
  }
  return signature_on(file.get());
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
    const auto other =
        metadata.error().kind == failure::failed ? other_contents(path) : std::nullopt;
    return fail(metadata.error().kind,
                other ? fmt::format("{} holds {}", path, *other)
                      : fmt::format("{} ({})", metadata.error().message, path));
  }
  return metadata;
}

} // namespace dmcache
