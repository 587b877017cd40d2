#include "functional-tests/exerciser/volatile_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/aligned_buffer.h"

namespace dmcache::exerciser {
namespace {

std::error_code last_error() {
  return {errno, std::generic_category()};
}

std::error_code outcome(ssize_t transferred, std::size_t wanted) {
  if (transferred < 0) {
    return last_error();
  }
  return static_cast<std::size_t>(transferred) == wanted
             ? std::error_code{}
             : std::make_error_code(std::errc::io_error);
}

aligned_buffer buffer_for(std::uint64_t length) {
  return aligned_buffer{divided_up(length, io_alignment) * io_alignment};
}

} // namespace

volatile_file::volatile_file(const std::string &path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) {
    const int direct = S_ISBLK(status.st_mode) ? O_DIRECT : 0;
    file_ = file_descriptor{::open(path.c_str(), O_RDWR | O_CLOEXEC | direct)};
  }
  const off_t end = file_.is_open() ? ::lseek(file_.get(), 0, SEEK_END) : -1;
  if (end < 0) {
    throw std::system_error{last_error(), path};
  }
  size_ = bytes{static_cast<std::uint64_t>(end)};
}

std::error_code volatile_file::read(bytes offset, std::span<std::byte> into) {
  return outcome(::pread(file_.get(), into.data(), into.size(), static_cast<off_t>(offset.value())),
                 into.size());
}

std::error_code volatile_file::write(bytes offset, std::span<const std::byte> data) {
  if (const auto error = remember(offset, data.size())) {
    return error;
  }
  return outcome(
      ::pwrite(file_.get(), data.data(), data.size(), static_cast<off_t>(offset.value())),
      data.size());
}

std::error_code volatile_file::write_zeroes(bytes offset, bytes length) {
  aligned_buffer buffer = buffer_for(length.value());
  std::ranges::fill(buffer.span(), std::byte{});
  return write(offset, buffer.span().first(length.value()));
}

std::error_code volatile_file::remember(bytes offset, std::uint64_t length) {
  aligned_buffer buffer = buffer_for(length);
  const auto before = buffer.span().first(length);
  if (const auto error = read(offset, before)) {
    return error;
  }
  for (std::uint64_t at = 0; at < length; at += sector_size) {
    sector_data &kept = earlier_[(offset.value() + at) / sector_size].emplace_back();
    std::memcpy(kept.data(), before.data() + at, sector_size);
  }
  return {};
}

std::error_code volatile_file::flush() {
  if (::fdatasync(file_.get()) != 0) {
    return last_error();
  }
  earlier_.clear();
  return {};
}

void volatile_file::cut_power(std::mt19937_64 &chance) {
  aligned_buffer buffer{io_alignment};
  const auto sector = buffer.span().first(sector_size);
  for (const auto &[number, states] : earlier_) {
    const std::size_t chosen = chance() % (states.size() + 1);
    if (chosen == states.size()) { // the last one, which stands there
      continue;
    }
    std::ranges::copy(states[chosen], sector.begin());
    const auto at = static_cast<off_t>(number * sector_size);
    if (const auto error =
            outcome(::pwrite(file_.get(), sector.data(), sector_size, at), sector_size)) {
      throw std::system_error{error, "cutting the power"};
    }
  }
  earlier_.clear();
}

} // namespace dmcache::exerciser
