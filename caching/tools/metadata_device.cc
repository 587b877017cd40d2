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

bool holds_xml(const opened_file &opened) {
  std::array<char, 512> start{};
  std::ifstream file{fmt::format("/proc/self/fd/{}", opened.file.get())}; // unaligned
  file.seekg(static_cast<std::streamoff>(opened.begin.value()));
  file.read(start.data(), static_cast<std::streamsize>(
                              std::min<std::uint64_t>(start.size(), opened.size.value())));
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
result<opened_file> copy_of_standard_input() {
  auto file = make_nameless_file();
  if (!file) {
    return std::unexpected{file.error()};
  }
  if (auto copied = copy_file(STDIN_FILENO, "standard input", file->get(), "a temporary file");
      !copied) {
    return std::unexpected{copied.error()};
  }
  const off_t end = ::lseek(file->get(), 0, SEEK_END);
  return opened_file{std::move(*file), bytes{static_cast<std::uint64_t>(end)}};
}

result<metadata_device> read_superblock_on(result<std::unique_ptr<device>> from,
                                           const std::string &path) {
  if (!from) {
    return std::unexpected{from.error()};
  }
  auto metadata = read_metadata_device(std::move(*from));
  if (!metadata) {
    return fail(metadata.error().kind, fmt::format("{} ({})", metadata.error().message, path));
  }
  return metadata;
}

} // namespace

result<metadata_device> read_metadata_device(std::unique_ptr<device> from) {
  const auto block = read_superblock(*from);
  if (!block) {
    return std::unexpected{block.error()};
  }
  return metadata_device{std::move(from), *block};
}

result<std::unique_ptr<device>> make_metadata_device(opened_file file, const std::string &path) {
  return holds_xml(file) ? xml_instead(path) : make_file_device(std::move(file), path);
}

result<std::unique_ptr<device>> open_metadata_device(const device_part &part, access mode) {
  const bool is_standard_input = part.path == standard_input && mode == access::read_only;
  auto file = is_standard_input ? copy_of_standard_input() : open_file(part, mode);
  if (file && is_standard_input) {
    file = part_of(std::move(*file), part);
  }
  if (!file) {
    return std::unexpected{file.error()};
  }
  return make_metadata_device(std::move(*file), is_standard_input ? "standard input" : part.path);
}

result<metadata_device> open_metadata(const device_part &part, access mode) {
  return read_superblock_on(open_metadata_device(part, mode), part.path);
}

result<metadata_device> open_metadata(opened_file file, const std::string &path) {
  return read_superblock_on(make_metadata_device(std::move(file), path), path);
}

} // namespace dmcache
