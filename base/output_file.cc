#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/device.h"
#include "base/file_error.h"

namespace dmcache {

output_file output_file::standard_output() {
  return output_file{{file_descriptor{::dup(STDOUT_FILENO)}, "standard output"}};
}

result<output_file> output_file::create(const std::string &path) {
  if (path == "-") {
    return standard_output();
  }
  struct stat existing{};
  if (::stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode)) {
    file_descriptor file{::open(path.c_str(), O_WRONLY | O_CLOEXEC)};
    if (!file.is_open()) {
      return cannot("write to", path, errno);
    }
    return output_file{{std::move(file), path}};
  }
  auto file = pending_file::create(path);
  if (!file) {
    return std::unexpected{file.error()};
  }
  output_file output{std::move(*file)};
  output.write_directly(true);
  return output;
}

output_file::output_file(pending_file file) : file_{std::move(file)} {}

output_file::output_file(output_file &&other) noexcept
    : file_{std::move(other.file_)}, buffers_{std::move(other.buffers_)}, current_{other.current_},
      direct_{std::move(other.direct_)}, in_flight_{std::exchange(other.in_flight_, {})},
      end_{other.end_} {}

output_file::~output_file() {
  if (!in_flight_.empty()) {
    std::array<request_queue::completion, request_queue::depth> ended{};
    direct_->reap(ended);
  }
}

void output_file::write_directly(bool wanted) {
  const int flags = ::fcntl(file_.descriptor(), F_GETFL);
  const int changed = wanted ? flags | O_DIRECT : flags & ~O_DIRECT;
  direct_ = nullptr;
  if (::fcntl(file_.descriptor(), F_SETFL, changed) == 0 && wanted) {
    direct_ = make_request_queue();
  }
}

std::span<char> output_file::buffer() {
  const auto memory = buffers_.at(current_).span();
  return {reinterpret_cast<char *>(memory.data()), memory.size()}; // NOLINT: text
}

result<> output_file::take(std::size_t count) {
  const auto data = buffers_.at(current_).span().first(count);
  if (auto finished = finish_write(); !finished || data.empty()) {
    return finished;
  }
  current_ = 1 - current_;
  if (direct_ && count % io_alignment == 0) {
    direct_->prepare(file_.descriptor(),
                     {io_request::operation::write, bytes{end_}, data, nullptr, 0}, 0);
    direct_->submit();
    in_flight_ = data;
    end_ += count;
    return {};
  }
  if (direct_) {
    write_directly(false);
    ::lseek(file_.descriptor(), static_cast<off_t>(end_), SEEK_SET);
  }
  end_ += count;
  return write(data);
}

result<> output_file::finish_write() {
  const auto data = std::exchange(in_flight_, {});
  if (data.empty()) {
    return {};
  }
  std::array<request_queue::completion, request_queue::depth> ended{};
  direct_->reap(ended);
  const long outcome = ended.front().transferred;
  if (outcome < 0 && outcome != -EINVAL) {
    return cannot("write to", file_.name(), static_cast<int>(-outcome));
  }
  const auto written = static_cast<std::size_t>(std::max(outcome, 0L));
  if (written == data.size()) {
    return {};
  }
  // Either the device is full, which the next write will tell, or the file system demands something
  // for direct I/O that we don't know of.
  write_directly(false);
  ::lseek(file_.descriptor(), static_cast<off_t>(end_ - data.size() + written), SEEK_SET);
  return write(data.subspan(written));
}

result<> output_file::write(std::span<const std::byte> data) {
  return write_all(file_.descriptor(), file_.name(), data);
}

result<> output_file::commit() {
  if (auto finished = finish_write(); !finished) {
    return finished;
  }
  return file_.commit();
}

result<> write_output(const std::string &path, std::string_view text) {
  auto file = output_file::create(path);
  if (!file) {
    return std::unexpected{file.error()};
  }
  while (!text.empty()) {
    const std::span<char> room = file->buffer();
    const std::size_t count = text.copy(room.data(), room.size());
    if (auto taken = file->take(count); !taken) {
      return taken;
    }
    text.remove_prefix(count);
  }
  return file->commit();
}

} // namespace dmcache
