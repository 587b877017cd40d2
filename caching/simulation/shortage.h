// What an event becomes in which an allocation fails.
//
// The engine ends its process then, unless nothing but a request fails. So the event is tried in a
// process of its own first: one that ended its process has had no effect on devices or clients, since
// the engine hands out what it wants done only afterwards.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace dmcache {

struct shortage_outcome {
  bool is_process_over = false;
  std::optional<std::string> violation; // if it ended in another way than by std::terminate()
};

// Of `event`, when so many allocations succeed in it before one fails, if it makes as many. Whatever
// it does is without effect here.
shortage_outcome try_event(const std::function<void()> &event, std::uint64_t nr_allocations);

} // namespace dmcache
