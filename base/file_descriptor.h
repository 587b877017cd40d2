// An open file, closed when its owner goes.
#pragma once

#include <unistd.h>

#include <utility>

namespace dmcache {

class file_descriptor {
 public:
  file_descriptor() = default;
  explicit file_descriptor(int open_file) : number_{open_file} {}
  file_descriptor(file_descriptor &&other) noexcept : number_{std::exchange(other.number_, -1)} {}
  file_descriptor &operator=(file_descriptor &&other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  file_descriptor(const file_descriptor &) = delete;
  file_descriptor &operator=(const file_descriptor &) = delete;
  ~file_descriptor() {
    if (is_open()) {
      ::close(number_);
    }
  }

  bool is_open() const { return number_ >= 0; }
  int get() const { return number_; }
  int release() { return std::exchange(number_, -1); } // the caller's from now on

 private:
  int number_ = -1;
};

} // namespace dmcache
