#include "base/file_device.h"

#include <unistd.h>

#include <cerrno>
#include <deque>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/file_requests.h"

namespace dmcache {
namespace {

class file_device final : public device {
 public:
  explicit file_device(opened_file file) : file_{std::move(file)} {}

  bytes size() const override { return file_.size; }
  std::size_t logical_block_size() const override { return file_.logical_block_size(); }
  bool can_discard() const override { return file_.can_discard(); }

  // This moves the position of the file, which nothing else uses.
  bytes next_data(bytes offset) const override {
    const std::uint64_t from = file_.begin.value() + offset.value();
    const off_t data = ::lseek(file_.file.get(), static_cast<off_t>(from), SEEK_DATA);
    if (data < 0) {
      return errno == ENXIO ? file_.size : offset; // ENXIO: nothing but holes follows
    }
    return bytes{static_cast<std::uint64_t>(data) - file_.begin.value()};
  }

  void submit(std::span<const io_request> requests) override {
    waiting_.insert(waiting_.end(), requests.begin(), requests.end());
    issue();
  }

  void wait() override {
    if (!refused_.empty()) {
      for (const auto ended = std::exchange(refused_, {}); const io_request &each : ended) {
        each.listener->io_done(each.tag, std::make_error_code(std::errc::io_error));
      }
      issue();
      return;
    }
    require(!requests_.is_idle(), "wait() needs a request in flight");
    while (requests_.wait() == 0) {
    }
    issue();
  }

  std::error_code flush() override {
    return fdatasync(file_.file.get()) == 0 ? std::error_code{}
                                            : std::error_code{errno, std::generic_category()};
  }

 private:
  void issue() {
    for (; !waiting_.empty() && requests_.has_room(); waiting_.pop_front()) {
      io_request &next = waiting_.front();
      if (!file_.holds(next.offset, length_of(next))) {
        refused_.push_back(next);
        continue;
      }
      next.offset = next.offset + file_.begin.value();
      requests_.add(file_.file.get(), next);
    }
    requests_.submit();
  }

  opened_file file_;
  file_requests requests_;
  std::deque<io_request> waiting_;  // for room
  std::vector<io_request> refused_; // they reach beyond the end; wait() ends them
};

} // namespace

result<std::unique_ptr<device>> open_file_device(const device_part &part, access mode, locking by) {
  auto file = open_file(part, mode, by);
  if (!file) {
    return std::unexpected{file.error()};
  }
  return make_file_device(std::move(*file));
}

std::unique_ptr<device> make_file_device(opened_file file) {
  return std::make_unique<file_device>(std::move(file));
}

} // namespace dmcache
