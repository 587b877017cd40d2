// A file that appears under its name only when it is complete.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/aligned_buffer.h"
#include "base/pending_file.h"
#include "base/request_queue.h"
#include "base/result.h"

namespace dmcache {

// Where a tool's output goes: a regular file is written beside its final name and renamed into
// place by commit(), so that a failure costs nothing that was there before; standard output, a pipe
// or a device is written as it comes.
class output_file {
 public:
  static output_file standard_output();
  // The path "-" is standard output.
  static result<output_file> create(const std::string &path);

  output_file(output_file &&other) noexcept;
  output_file &operator=(output_file &&) = delete;
  output_file(const output_file &) = delete;
  output_file &operator=(const output_file &) = delete;
  ~output_file(); // without commit(), what was written to a regular file is removed

  // Where the caller puts what comes next. The buffer before this one stays readable until the next
  // take().
  std::span<char> buffer();
  // Writes the first `count` bytes of buffer(). A regular file is written past the page cache, and
  // behind the caller's back, for as long as all counts are multiples of io_alignment. A reader
  // that closed the pipe is an error without a text.
  result<> take(std::size_t count);
  // Makes what was taken stand durably under the file's name, in its folder too.
  result<> commit();

 private:
  explicit output_file(pending_file file);

  static constexpr std::size_t buffer_size = std::size_t{1} << 20;

  void write_directly(bool wanted);
  result<> write(std::span<const std::byte> data);
  result<> finish_write();

  pending_file file_;
  std::array<aligned_buffer, 2> buffers_{aligned_buffer{buffer_size}, aligned_buffer{buffer_size}};
  std::size_t current_ = 0;               // the buffer to be filled
  std::unique_ptr<request_queue> direct_; // null if writes go through the page cache
  std::span<std::byte> in_flight_;        // of the other buffer, to end_ - its size
  std::uint64_t end_ = 0;                 // bytes taken so far
};

// Writes all of `text` to a file that output_file::create() makes, and commits it.
result<> write_output(const std::string &path, std::string_view text);

} // namespace dmcache
