#include "base/signature.h"

#include <blkid/blkid.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string_view>
#include <type_traits>

#include <fmt/format.h>

#include "base/aligned_buffer.h"

namespace dmcache {
namespace {

using namespace std::string_view_literals;

struct image_mark {
  std::size_t at;
  std::string_view bytes;
  std::string_view format;
};

// From the formats' own documents.
constexpr std::array image_marks{
    image_mark{0, "QFI\xfb"sv, "qcow2"},
    image_mark{0, "QED\0"sv, "qed"},
    image_mark{0, "KDMV"sv, "vmdk"},
    image_mark{0, "COWD"sv, "vmdk"},
    image_mark{0, "# Disk DescriptorFile"sv, "vmdk"},
    image_mark{64, "\x7f\x10\xda\xbe"sv, "vdi"},
    image_mark{0, "vhdxfile"sv, "vhdx"},
    image_mark{0, "conectix"sv, "vhd"},
};

std::string with_article(std::string_view noun) {
  return fmt::format("{} {}", "aeioux"sv.contains(noun.front()) ? "an" : "a", noun);
}

std::string_view value_of(blkid_probe probe, const char *name) {
  const char *value = nullptr;
  return ::blkid_probe_lookup_value(probe, name, &value, nullptr) == 0 ? value : std::string_view{};
}

} // namespace

std::optional<std::string> signature_on(const opened_file &file) {
  const std::unique_ptr<std::remove_pointer_t<blkid_probe>, void (*)(blkid_probe)> probe{
      ::blkid_new_probe(), ::blkid_free_probe};
  // libblkid reads from anywhere, which takes a file without direct I/O.
  const file_descriptor same{
      ::open(fmt::format("/proc/self/fd/{}", file.file.get()).c_str(), O_RDONLY | O_CLOEXEC)};
  if (!probe || !same.is_open() ||
      ::blkid_probe_set_device(probe.get(), same.get(),
                               static_cast<blkid_loff_t>(file.begin.value()),
                               static_cast<blkid_loff_t>(file.size.value())) != 0) {
    return {};
  }
  ::blkid_probe_enable_superblocks(probe.get(), 1);
  ::blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE);
  ::blkid_probe_enable_partitions(probe.get(), 1);
  if (::blkid_do_fullprobe(probe.get()) != 0) {
    return {};
  }
  if (const auto type = value_of(probe.get(), "TYPE"); !type.empty()) {
    const auto usage = value_of(probe.get(), "USAGE");
    return with_article(type) + (usage == "filesystem" ? " file system" : " signature");
  }
  if (const auto type = value_of(probe.get(), "PTTYPE"); !type.empty()) {
    return with_article(type) + " partition table";
  }
  return {};
}

std::optional<std::string> image_format_on(device &on) {
  aligned_buffer start{io_alignment};
  if (on.size() < bytes{io_alignment} ||
      transfer_and_wait(on, io_request::operation::read, bytes{}, start.span())) {
    return {};
  }
  const std::string_view text{reinterpret_cast<const char *>(start.span().data()), io_alignment};
  const auto *found = std::ranges::find_if(image_marks, [&](const image_mark &each) {
    return text.substr(each.at).starts_with(each.bytes);
  });
  return found == image_marks.end() ? std::nullopt
                                    : std::optional{with_article(found->format) + " image"};
}

} // namespace dmcache
