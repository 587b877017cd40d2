// Threads that wait for the engine, as threaded_runtime.cc knows them.
#pragma once

#include <semaphore>

#include "caching/engine/intrusive_queue.h"
#include "caching/engine/request.h"

namespace dmcache {

// A thread that has asked the engine for something. Askers are used again and never freed, so that
// a thread that wakes one needn't know whether it is still there.
struct asker {
  intrusive_queue<engine_io> own_io; // of its request, for it to carry out
  bool is_answered = false;
  bool is_asleep = false; // until `awake` is released
  std::binary_semaphore awake{0};
  asker *next = nullptr;
};

} // namespace dmcache
