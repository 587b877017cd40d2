#include "base/testing/failing_allocation.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

namespace dmcache {
namespace {

// Of this thread: so many allocations succeed before one fails. Negative: all of them do.
thread_local std::int64_t left = -1;

void *allocate(std::size_t size) {
  if (left >= 0) [[unlikely]] {
    if (left-- == 0) {
      return nullptr;
    }
  }
  return std::malloc(std::max<std::size_t>(size, 1));
}

} // namespace

void fail_allocation_after(std::uint64_t nr_allocations) {
  left = static_cast<std::int64_t>(nr_allocations);
}

std::optional<std::uint64_t> fail_no_allocation() {
  const std::int64_t before = std::exchange(left, -1);
  return before < 0 ? std::nullopt : std::optional{static_cast<std::uint64_t>(before)};
}

} // namespace dmcache

// What these give is freed by these: the compiler sees only one of the two sides at a time.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
// NOLINTBEGIN(*-no-malloc,clang-analyzer-cplusplus.NewDelete)
void *operator new(std::size_t size) {
  void *const made = dmcache::allocate(size);
  return made != nullptr ? made : throw std::bad_alloc{};
}
void *operator new(std::size_t size, const std::nothrow_t & /*tag*/) noexcept {
  return dmcache::allocate(size);
}
void *operator new[](std::size_t size) {
  return operator new(size);
}
void *operator new[](std::size_t size, const std::nothrow_t & /*tag*/) noexcept {
  return dmcache::allocate(size);
}
void operator delete(void *made) noexcept {
  std::free(made);
}
void operator delete(void *made, std::size_t /*size*/) noexcept {
  std::free(made);
}
void operator delete[](void *made) noexcept {
  std::free(made);
}
void operator delete[](void *made, std::size_t /*size*/) noexcept {
  std::free(made);
}
// NOLINTEND(*-no-malloc,clang-analyzer-cplusplus.NewDelete)
