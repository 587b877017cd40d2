#include "caching/runtime/request_recorder.h"

#include <utility>

#include "caching/runtime/present_time.h"

namespace dmcache {

void request_recorder::note(const request &asked) {
  const bool is_write =
      asked.op == request::operation::write || asked.op == request::operation::write_zeroes;
  if (!is_write && asked.op != request::operation::read) {
    return;
  }
  const mutex_guard noting{mutex_};
  if (kept_.size() < kept_.capacity()) {
    kept_.push_back({present_time(), is_write, asked.offset, asked.length});
  } else {
    ++nr_lost_;
  }
}

bool request_recorder::start() {
  std::vector<recorded_request> room;
  room.reserve(capacity);
  const mutex_guard starting{mutex_};
  if (is_on()) {
    return false;
  }
  kept_ = std::move(room);
  nr_lost_ = 0;
  is_on_ = true;
  return true;
}

void request_recorder::stop() {
  const mutex_guard stopping{mutex_};
  is_on_ = false;
  std::vector<recorded_request>{}.swap(kept_); // `= {}` would keep the memory
}

std::uint64_t request_recorder::take(std::vector<recorded_request> &taken) {
  taken.clear();
  taken.reserve(capacity);
  const mutex_guard taking{mutex_};
  std::swap(taken, kept_);
  return std::exchange(nr_lost_, 0);
}

} // namespace dmcache
