#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "base/request_queue.h"

namespace dmcache {
namespace {

// Hands requests to one queue, and once that ends one of them with -ECANCELED, to the next one: those
// that were not carried out again, the others as they come.
class lasting_queue final : public request_queue {
 public:
  lasting_queue(std::vector<queue_maker> makers, std::size_t nr_slots)
      : makers_{std::move(makers)}, nr_slots_{nr_slots}, kept_(nr_slots) {
    ended_.reserve(nr_slots);
    use_next();
  }

  void prepare(int file, const io_request &request, std::size_t slot) override {
    kept_.at(slot) = {state::transfer, file, request};
    queue_->prepare(file, request, slot);
  }

  void prepare_poll(int file, std::size_t slot) override {
    kept_.at(slot) = {state::poll, file, {}};
    queue_->prepare_poll(file, slot);
  }

  void submit() override { queue_->submit(); }

  std::size_t reap(std::span<completion> into,
                   std::optional<std::chrono::nanoseconds> timeout) override {
    while (true) {
      if (const std::size_t count = take_ended(into); count > 0) {
        return count;
      }
      const std::size_t count = queue_->reap(into, timeout);
      const auto found = into.first(count);
      if (!is_last() && std::ranges::any_of(found, is_cancelled)) {
        sort_out(found);
        fall_back();
        continue;
      }
      for (const completion &each : found) {
        kept_.at(each.slot).is = state::free;
      }
      return count;
    }
  }

 private:
  enum class state : std::uint8_t { free, transfer, poll, to_be_repeated };
  struct entry {
    state is = state::free;
    int file = -1;
    io_request request{};
  };

  static bool is_cancelled(const completion &each) { return each.transferred == -ECANCELED; }

  bool is_last() const { return next_maker_ == makers_.size(); }

  void use_next() {
    made_queue made;
    do {
      require(!is_last(), "the last queue can always be made");
      made = makers_[next_maker_++](nr_slots_);
    } while (!made);
    queue_ = std::move(*made);
  }

  // Remembers what is to be told and what is to be repeated.
  void sort_out(std::span<const completion> found) {
    for (const completion &each : found) {
      if (is_cancelled(each)) {
        entry &its = kept_.at(each.slot);
        its.is = its.is == state::transfer ? state::to_be_repeated : its.is;
      } else {
        kept_.at(each.slot).is = state::free;
        ended_.push_back(each);
      }
    }
  }

  // The memory of what is in flight is the kernel's, so all of it must have ended before the queue
  // goes. A poll has no memory, and may never end: it goes with its queue.
  void fall_back() {
    std::array<completion, depth> found{};
    while (std::ranges::count(kept_, state::transfer, &entry::is) > 0) {
      sort_out(std::span{found}.first(queue_->reap(found)));
    }
    use_next();
    for (std::size_t slot = 0; slot < kept_.size(); ++slot) {
      if (const entry &its = kept_[slot]; its.is == state::to_be_repeated) {
        prepare(its.file, io_request{its.request}, slot);
      } else if (its.is == state::poll) {
        queue_->prepare_poll(its.file, slot);
      }
    }
    queue_->submit();
  }

  std::size_t take_ended(std::span<completion> into) {
    const std::size_t count = std::min(into.size(), ended_.size());
    std::copy_n(ended_.end() - static_cast<std::ptrdiff_t>(count), count, into.begin());
    ended_.resize(ended_.size() - count);
    return count;
  }

  std::vector<queue_maker> makers_;
  std::size_t next_maker_ = 0;
  std::size_t nr_slots_;
  std::unique_ptr<request_queue> queue_;
  std::vector<entry> kept_;       // by slot
  std::vector<completion> ended_; // when a queue was given up
};

} // namespace

std::unique_ptr<request_queue> make_lasting_queue(std::vector<queue_maker> makers,
                                                  std::size_t depth) {
  return std::make_unique<lasting_queue>(std::move(makers), depth);
}

} // namespace dmcache
