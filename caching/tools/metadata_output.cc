#include "caching/tools/metadata_output.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "base/blocking_file.h"
#include "base/file_device.h"
#include "base/file_error.h"
#include "base/zeroes.h"
#include "caching/metadata/superblock.h"
#include "caching/tools/metadata_pack.h"

namespace dmcache {
namespace {

namespace fs = std::filesystem;

// Whoever names a device that isn't there doesn't want a file of that name instead.
bool is_among_devices(const std::string &path) {
  std::error_code unknown;
  const std::string folder =
      fs::weakly_canonical(fs::absolute(path, unknown).parent_path(), unknown).string() + "/";
  return folder.starts_with("/dev/") && !folder.starts_with("/dev/shm/");
}

// As it is, whoever uses it. Of what may not be read nothing is open, and its size is 0.
opened_file open_to_look(const std::string &path) {
  opened_file whole{file_descriptor{::open(path.c_str(), O_RDONLY | O_CLOEXEC)}, {}};
  const off_t end = whole.file.is_open() ? ::lseek(whole.file.get(), 0, SEEK_END) : -1;
  whole.size = bytes{static_cast<std::uint64_t>(std::max<off_t>(end, 0))};
  return whole;
}

// What stands in front of this, if it is anything but metadata. Some file systems leave the first
// blocks of theirs zero, so that a file has to be all zero for longer than these; but of a logical
// volume nothing else is zeroed before it is used.
std::string_view other_contents(std::span<const std::byte> beginning, bool is_file) {
  const auto first = beginning.first(std::min(beginning.size(), metadata_block_size));
  const auto magic = std::as_bytes(std::span{pack_header::magic_value});
  if (looks_like_xml(first.first(std::min<std::size_t>(first.size(), 512)))) {
    return "XML";
  }
  if (first.size() >= magic.size() && std::ranges::equal(first.first(magic.size()), magic)) {
    return "a pack of metadata";
  }
  if (!is_unused_or_metadata(first) || (is_file && is_all_zero(first) && !is_all_zero(beginning))) {
    return "something else than the metadata of a cache";
  }
  return {};
}

// Fails if anything but metadata stands there, or what can't be read. What may not be read passes:
// who opens it will tell.
result<> expect_metadata(const std::string &path, opened_file part, bool is_file) {
  constexpr std::uint64_t looked_at = std::uint64_t{1} << 20;
  std::vector<std::byte> beginning(std::min(looked_at, part.size.value()));
  if (beginning.empty()) {
    return {};
  }
  if (const auto failed = blocking_file{std::move(part)}.read(bytes{0}, beginning)) {
    return fail(failure::environment,
                fmt::format("Couldn't read what stands in {}: {}: nothing was written; --force "
                            "overwrites it",
                            path, failed.message()));
  }
  if (const auto other = other_contents(beginning, is_file); !other.empty()) {
    return fail(
        failure::failed,
        fmt::format("{} holds {}: nothing was written; --force overwrites it", path, other));
  }
  return {};
}

} // namespace

result<metadata_output> metadata_output::find(const device_part &part, bool force) {
  const std::string &path = part.path;
  if (path == "-" && !part.is_whole()) {
    return fail(failure::usage, "standard output has no parts: leave out offset and size");
  }
  if (path == "-") {
    return ::isatty(STDOUT_FILENO) != 0
               ? fail(failure::usage, "metadata are not for a terminal: let standard output go to "
                                      "a file or a pipe")
               : result<metadata_output>{metadata_output{kind::standard_output, part}};
  }
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) {
      return cannot("open", path, errno);
    }
    if (is_among_devices(path)) {
      return fail(failure::environment,
                  fmt::format("Couldn't find {}: there is no device of this name", path));
    }
    if (!part.is_whole()) {
      return fail(failure::usage, fmt::format("{} is not there, and only what is there has parts: "
                                              "leave out offset and size, or make it",
                                              path));
    }
    return metadata_output{kind::to_be_made, part};
  }
  const bool is_file = S_ISREG(status.st_mode);
  if (!is_file && !S_ISBLK(status.st_mode)) {
    return fail(failure::environment, fmt::format("Not a block device or regular file: {}", path));
  }
  opened_file whole = open_to_look(path);
  const bool is_readable = whole.file.is_open();
  auto looked_into =
      is_readable ? part_of(std::move(whole), part) : result<opened_file>{std::move(whole)};
  if (!looked_into) {
    return std::unexpected{looked_into.error()};
  }
  const bytes size = looked_into->size;
  if (!force) {
    if (auto fits = expect_metadata(path, std::move(*looked_into), is_file); !fits) {
      return std::unexpected{fits.error()};
    }
  }
  return metadata_output{kind::there, part, is_readable ? std::optional{size} : std::nullopt};
}

result<std::unique_ptr<device>> metadata_output::open(bytes size) {
  if (kind_ == kind::there) {
    return opened_ ? make_file_device(std::move(*opened_))
                   : open_file_device(part_, access::read_write);
  }
  if (kind_ == kind::standard_output) {
    auto file = make_nameless_file();
    if (!file) {
      return std::unexpected{file.error()};
    }
    made_.emplace(std::move(*file), "standard output");
  } else {
    auto file = pending_file::create(part_.path);
    if (!file) {
      return std::unexpected{file.error()};
    }
    made_.emplace(std::move(*file));
  }
  if (::ftruncate(made_->descriptor(), static_cast<off_t>(size.value())) != 0) {
    return cannot("make", part_.path, errno);
  }
  file_descriptor same{::fcntl(made_->descriptor(), F_DUPFD_CLOEXEC, 0)};
  return make_file_device({std::move(same), size});
}

result<> metadata_output::commit() {
  if (!made_) {
    return {};
  }
  if (kind_ != kind::standard_output) {
    return made_->commit();
  }
  ::lseek(made_->descriptor(), 0, SEEK_SET);
  return copy_file(made_->descriptor(), "what was made", STDOUT_FILENO, "standard output");
}

} // namespace dmcache
