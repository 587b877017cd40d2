// The three devices of a cache as threads use them, each of which waits for its own I/O.
//
// A file that somebody else makes shorter loses what was in it, and when it grows again, since it is
// written to, what was lost reads as zeroes. So once a file was found shorter than it was when it was
// opened, all I/O on it fails: a client gets an error, and never those zeroes.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "base/blocking_file.h"
#include "base/device.h"
#include "caching/engine/request.h"
#include "caching/runtime/opened_cache.h"

namespace dmcache {

class blocking_files {
 public:
  explicit blocking_files(opened_cache opened);

  const blocking_file &of(cache_device role) const { return part(role).file; }
  // Notes when a read of the origin began and ended.
  std::error_code carry_out(engine_io &io) const;

  // The same devices once more, under the same locks: with the sizes that they had when they were
  // opened, or that they have by now.
  result<opened_cache> opened_again(const cache_paths &paths) const;
  result<opened_cache> measured_again(const cache_paths &paths) const;

  // Finds out whether any of the files was made shorter. To be called now and then, and after an
  // error; any thread may. The value says so of those of which it wasn't known yet, in a line each.
  std::vector<std::string> find_cut_ones();
  bool are_any_cut() const;

 private:
  struct served_file {
    served_file(opened_file &opened, const char *its_name)
        : size{opened.size}, file{std::move(opened)}, name{its_name} {}

    bytes size; // when it was opened
    blocking_file file;
    const char *name;
    std::atomic<bool> is_cut = false;
  };

  template <typename Again>
  result<opened_cache> each_again(const cache_paths &paths, Again again) const;
  std::error_code read_origin(engine_io &io) const;

  const served_file &part(cache_device role) const {
    return files_[static_cast<std::size_t>(role)];
  }

  std::size_t granularity_;
  std::unique_ptr<device> metadata_; // the engine has it, but uses it only while it is opened
  std::array<served_file, 3> files_; // by cache_device
};

} // namespace dmcache
