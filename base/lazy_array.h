// Large zeroed arrays of which little may be used.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <type_traits>

namespace dmcache {

// `size` elements, all bytes zero. A page of it takes memory once it is written, not before.
template <typename T> class lazy_array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit lazy_array(std::size_t size) : size_{size}, memory_{nullptr, {size * sizeof(T)}} {
    if (size == 0) {
      return;
    }
    void *memory = ::mmap(nullptr, size * sizeof(T), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) { // NOLINT: the macro's own cast
      throw std::bad_alloc{};
    }
    memory_.reset(static_cast<T *>(memory));
  }

  std::size_t size() const { return size_; }
  std::span<T> span() { return {memory_.get(), size_}; }
  std::span<const T> span() const { return {memory_.get(), size_}; }
  T &operator[](std::size_t index) { return memory_.get()[index]; }
  const T &operator[](std::size_t index) const { return memory_.get()[index]; }

 private:
  struct release {
    std::size_t length = 0; // bytes
    void operator()(T *memory) const { ::munmap(memory, length); }
  };

  std::size_t size_;
  std::unique_ptr<T, release> memory_;
};

} // namespace dmcache
