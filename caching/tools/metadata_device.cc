#include "caching/tools/metadata_device.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/pending_file.h"
#include "base/signature.h"
#include "caching/tools/metadata_pack.h"

namespace dmcache {
namespace {

constexpr std::string_view standard_input = "-";

// The first bytes of the part, or fewer if it ends before.
std::string beginning_of(const opened_file &opened) {
  constexpr std::uint64_t looked_at = 512;
  std::string start(std::min(looked_at, opened.size.value()), '\0');
  std::ifstream file{fmt::format("/proc/self/fd/{}", opened.file.get())}; // unaligned
  file.seekg(static_cast<std::streamoff>(opened.begin.value()));
  file.read(start.data(), static_cast<std::streamsize>(start.size()));
  start.resize(static_cast<std::size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  return start;
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

// What is to be read: standard input, if it is named so, or the part.
result<opened_file> open_metadata_file(const device_part &part, access mode) {
  if (part.path != standard_input || mode != access::read_only) {
    return open_file(part, mode);
  }
  auto file = copy_of_standard_input();
  return file ? part_of(std::move(*file), part) : std::move(file);
}

std::string name_of(const device_part &part, access mode) {
  const bool is_standard_input = part.path == standard_input && mode == access::read_only;
  return is_standard_input ? "standard input" : part.path;
}

// What stands there instead of metadata, if that is known.
std::optional<std::string> other_contents(const opened_file &file) {
  const auto &magic = pack_header::magic_value;
  if (beginning_of(file).starts_with(std::string_view{magic.data(), magic.size()})) {
    return "a pack of metadata: cache_metadata_unpack makes it metadata again";
  }
  return signature_on(file);
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
  const std::string start = beginning_of(file);
  if (looks_like_xml(std::as_bytes(std::span{start}))) {
    return xml_instead(path);
  }
  return make_file_device(std::move(file));
}

result<std::unique_ptr<device>> open_metadata_device(const device_part &part, access mode) {
  auto file = open_metadata_file(part, mode);
  if (!file) {
    return std::unexpected{file.error()};
  }
  return make_metadata_device(std::move(*file), name_of(part, mode));
}

result<metadata_device> open_metadata(const device_part &part, access mode) {
  auto file = open_metadata_file(part, mode);
  if (!file) {
    return std::unexpected{file.error()};
  }
  return open_metadata(std::move(*file), name_of(part, mode));
}

result<metadata_device> open_metadata(opened_file file, const std::string &path) {
  const opened_file same = file.duplicate();
  auto from = make_metadata_device(std::move(file), path);
  if (!from) {
    return std::unexpected{from.error()};
  }
  auto metadata = read_metadata_device(std::move(*from));
  if (metadata || metadata.error().kind != failure::failed) {
    return metadata;
  }
  const auto other = other_contents(same);
  return fail(failure::failed, other ? fmt::format("{} holds {}", path, *other)
                                     : fmt::format("{} ({})", metadata.error().message, path));
}

} // namespace dmcache
