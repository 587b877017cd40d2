// I/O of the engine that waits for a thread to carry it out, and which of it goes first.
#pragma once

#include <algorithm>
#include <utility>

#include "caching/engine/intrusive_queue.h"
#include "caching/engine/request.h"

namespace dmcache {

class waiting_io {
 public:
  void push(engine_io &io) {
    (io.is_background                      ? in_background_
     : io.op == engine_io::operation::read ? reads_
                                           : others_)
        .push(io);
    ++nr_untold_;
  }

  // A read for which a request may wait, or null.
  engine_io *take_read() { return taken(reads_.pop()); }
  // The next one, or null. What no request waits for comes last; but who prefers it takes it first,
  // so that it goes on under whatever load.
  engine_io *take(bool prefers_background) {
    engine_io *io = prefers_background ? in_background_.pop() : nullptr;
    io = io != nullptr ? io : reads_.pop();
    io = io != nullptr ? io : others_.pop();
    return taken(io != nullptr ? io : in_background_.pop());
  }

  // So many are waiting of which no thread was told. Who takes one needn't be.
  bool is_any_untold() const { return nr_untold_ != 0; }
  unsigned take_nr_untold() { return std::exchange(nr_untold_, 0); }

 private:
  engine_io *taken(engine_io *io) {
    nr_untold_ -= io != nullptr ? std::min(nr_untold_, 1U) : 0;
    return io;
  }

  intrusive_queue<engine_io> reads_;
  intrusive_queue<engine_io> others_;
  intrusive_queue<engine_io> in_background_;
  unsigned nr_untold_ = 0;
};

} // namespace dmcache
