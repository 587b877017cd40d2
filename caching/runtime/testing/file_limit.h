// A limit to how far files can be written.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <cstdint>

namespace dmcache {

// While this lives, nothing can be written beyond so many bytes of any file.
class file_limit {
 public:
  explicit file_limit(std::uint64_t size) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limited{size, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limited);
  }
  file_limit(const file_limit &) = delete;
  file_limit &operator=(const file_limit &) = delete;
  ~file_limit() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

} // namespace dmcache
