// Memory that a device can transfer to and from (device.h, io_alignment).
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>
#include <memory>
#include <new>
#include <span>

#include "base/assert.h"
#include "base/device.h"

namespace dmcache {

// Not initialised: the pages cost nothing until something is read into them.
class aligned_buffer {
 public:
  explicit aligned_buffer(std::size_t size) : size_{size} {
    require(size % io_alignment == 0, "an I/O buffer is a whole number of aligned units");
    const bool is_large = size != 0 && size % large_page == 0;
    memory_.reset(
        static_cast<std::byte *>(std::aligned_alloc(is_large ? large_page : io_alignment, size)));
    if (!memory_ && size != 0) {
      throw std::bad_alloc{};
    }
    if (is_large) {
      ::madvise(memory_.get(), size, MADV_HUGEPAGE); // a hint: transfers to small pages take longer
    }
  }

  std::span<std::byte> span() { return {memory_.get(), size_}; }
  std::span<const std::byte> span() const { return {memory_.get(), size_}; }

 private:
  static constexpr std::size_t large_page = std::size_t{1} << 21;

  struct release {
    void operator()(std::byte *memory) const { std::free(memory); } // NOLINT(*-no-malloc)
  };

  std::size_t size_;
  std::unique_ptr<std::byte, release> memory_;
};

} // namespace dmcache
