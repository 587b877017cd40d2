// A file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

// Where a tool's output goes: a regular file is written beside its final name and renamed into
// place by commit(), so that a failure costs nothing that was there before; standard output, a pipe
// or a device is written as it comes.
class output_file {
 public:
  static output_file standard_output();
  static result<output_file> create(const std::string &path);

  output_file(output_file &&other) noexcept;
  output_file &operator=(output_file &&) = delete;
  output_file(const output_file &) = delete;
  output_file &operator=(const output_file &) = delete;
  ~output_file(); // without commit(): what was written to a regular file is gone

  // A reader that closed the pipe is an error without a text. A regular file is written past the
  // page cache for as long as address and length of `data` are multiples of io_alignment.
  result<> write(std::span<const char> data);
  result<> commit();

 private:
  output_file(file_descriptor file, std::string name, std::string temporary);

  void write_directly(bool wanted);

  file_descriptor file_;
  std::string name_;
  std::string temporary_; // empty: written in place
  bool direct_ = false;
};

} // namespace dmcache
