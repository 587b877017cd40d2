// The committer's part that answers requests: flushes, and those that have to be durable.
#include <utility>

#include "caching/engine/committer.h"

namespace dmcache {

void committer::make_durable(request &asked) {
  if (state_.mode_of_metadata == metadata_mode::fail) {
    asked.outcome = asked.outcome ? asked.outcome : io_error();
    state_.completed.push(asked);
    return;
  }
  waiting_requests_.push(asked);
  wake_.happen();
}

void committer::acknowledge(request &asked) {
  if (asked.fua) {
    make_durable(asked);
    return;
  }
  state_.flushes.acknowledged(asked.flush_mark);
  state_.completed.push(asked);
}

// A failed flush, even one that no client waited for, is reported to the next client that flushes,
// and to each FUA write of which it may have lost something. If no client lost anything, but blocks
// have to leave the cache because of it, the requests wait for that, and are tried again. Metadata
// that were given up keep nobody from having his data durable: all that is mapped on disk counts as
// dirty from then on, and all else is on the origin when nothing is being withdrawn any more.
void committer::complete(intrusive_queue<request> &waited, const outcome &result) {
  const bool is_any_untold = state_.flushes.is_any_untold();
  const bool are_durable = !result.is_fast_needed && !result.origin &&
                           (result.metadata || result.is_as_before) && state_.nr_not_withdrawn == 0;
  while (request *each = waited.pop()) {
    const bool is_flush = each->op == request::operation::flush;
    const bool has_lost =
        is_flush ? is_any_untold : state_.flushes.has_failed_since(each->flush_mark);
    if (are_durable && !has_lost && !each->outcome &&
        (result.has_held_back || state_.is_withdrawing)) {
      waiting_requests_.push(*each);
      continue;
    }
    if (!each->outcome && (!are_durable || has_lost)) {
      each->outcome = io_error();
    }
    if (is_flush) {
      state_.flushes.told();
    }
    state_.completed.push(*each);
  }
}

// The fast device was flushed, with `error` if that failed. Who needs nothing else doesn't wait for the
// rest; nor do those who come before it is over, for whom the device is flushed again.
flow<> committer::complete_those_of_fast(const bool &is_rest_over, std::error_code &error) {
  intrusive_queue<request> flushed = take_those_of_fast(being_made_durable_);
  for (;;) {
    while (request *each = flushed.pop()) {
      (error ? being_made_durable_ : state_.completed).push(*each);
    }
    if (is_rest_over) {
      co_return;
    }
    if (!error) {
      flushed = take_those_of_fast(waiting_requests_);
    }
    if (flushed.empty()) {
      co_await wake_;
      continue;
    }
    take_mirrored();
    io_group flushing{state_};
    begin_flush(cache_device::fast, flushing, error);
    co_await flushing;
    state_.flushes.ended(cache_device::fast);
  }
}

intrusive_queue<request> committer::take_those_of_fast(intrusive_queue<request> &from) const {
  intrusive_queue<request> taken;
  intrusive_queue<request> all = from.take_all();
  while (request *each = all.pop()) {
    (is_fast_enough_for(*each) ? taken : from).push(*each);
  }
  return taken;
}

// What was sent to the fast device alone is in a block that the metadata on disk map, and count as
// dirty after a crash.
bool committer::is_fast_enough_for(const request &waiting) const {
  return waiting.is_on_fast_alone && !waiting.outcome && state_.may_change_metadata() &&
         !is_given_up_ && lost_.empty() && !state_.is_withdrawing &&
         !state_.flushes.has_failed_since(waiting.flush_mark);
}

} // namespace dmcache
