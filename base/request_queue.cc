#include "base/request_queue.h"

namespace dmcache {

made_queue make_request_queue() {
  auto queue = make_uring_queue();
  return queue ? std::move(queue) : make_aio_queue();
}

} // namespace dmcache
