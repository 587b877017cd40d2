// A file that is being made: it appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

class pending_file {
 public:
  // Makes a file beside `path`, with the permissions of the one that it will replace, if there is
  // one. Where the file system can do that, it has no name before commit(), so that nothing is left
  // of it when the process is killed. If the path is a symbolic link, the file that it names is the
  // one to replace. Fails with failure::environment.
  static result<pending_file> create(const std::string &path);
  // What is written in place: commit() has nothing to do.
  pending_file(file_descriptor file, std::string name)
      : file_{std::move(file)}, name_{std::move(name)} {}

  pending_file(pending_file &&other) noexcept
      : file_{std::move(other.file_)}, name_{std::move(other.name_)},
        temporary_{std::exchange(other.temporary_, {})},
        is_to_be_named_{std::exchange(other.is_to_be_named_, false)} {}
  pending_file &operator=(pending_file &&) = delete;
  pending_file(const pending_file &) = delete;
  pending_file &operator=(const pending_file &) = delete;
  ~pending_file(); // removes the file, unless it was committed

  int descriptor() const { return file_.get(); }
  const std::string &name() const { return name_; }

  // Makes the file, as it is, stand durably under its name. Fails with failure::environment.
  result<> commit();

 private:
  file_descriptor file_;
  std::string name_;
  std::string temporary_; // its name until then; empty if it has none, or is written in place
  bool is_to_be_named_ = false;
};

// A file without a name, which is gone as soon as it is closed, and may become as large as the
// folder for temporary files allows.
result<file_descriptor> make_nameless_file();

// Writes all of it to where `to` stands; `name` is that of `to`, for the text of a failure. Nothing
// is said if the reader of a pipe went away: that is failure::environment, without a text.
result<> write_all(int to, const std::string &name, std::span<const std::byte> data);

// Copies what can still be read of `from`, called `from_name`, in the same way.
result<> copy_file(int from, const std::string &from_name, int to, const std::string &name);

} // namespace dmcache
