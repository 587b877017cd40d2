// Carries out what the engine wants with the threads of those who use it, as in a server with a
// thread for each request.
//
// The engine is entered under one lock, held for as long as it takes to say what to do next, never
// during I/O. A thread that brings a request does the request's own I/O itself, and then waits, if
// it has to, until it is woken for this request alone. All other I/O (migrations, commits) is done
// by a few threads of the runtime's own; one more tells the engine the time.
//
// The data devices are read and written through the page cache; the metadata device directly.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include "base/result.h"
#include "caching/engine/cache_engine.h"
#include "caching/runtime/cache_files.h"
#include "caching/runtime/origin_extents.h"

namespace dmcache {

class threaded_runtime {
 public:
  // Is told what goes wrong, a line of text each time: I/O that fails, whoever it is for, and what
  // becomes of the metadata. Called by any thread, by several at a time; it may call what any
  // thread may, but for close().
  using trouble_handler = std::function<void(const std::string &)>;

  // Opens and locks the three devices, which must be different ones, and activates the cache. No
  // thread runs before start(): the process can still fork, and go on in the child, which has the
  // locks as well. The one of the two that doesn't go on must destroy this without close(), or
  // exit.
  static result<std::unique_ptr<threaded_runtime>>
  open(const cache_paths &paths, const engine_options &options, trouble_handler tell = {});
  threaded_runtime() = default;
  threaded_runtime(const threaded_runtime &) = delete;
  threaded_runtime &operator=(const threaded_runtime &) = delete;
  // Without close(), as if the power failed: what was not flushed is not made durable. Requires
  // that nobody is inside any more.
  virtual ~threaded_runtime() = default;

  // Once, before anything of what follows but close().
  virtual result<> start() = 0;

  // Any thread's. ---------------------------------------------------------------------------------

  // Does it, and gives its outcome; `client` is the runtime's until then. Data may lie at any
  // address; offset and length may be any within the origin. What isn't a whole number of sectors
  // is right as well, with other writes to the same sectors under way, but slower.
  virtual std::error_code carry_out(request &which) = 0;

  // What of the origin, from here on and at most so far, holds nothing, and what may hold anything.
  // They may cover less than what is asked for, but something. None: after close().
  virtual std::vector<origin_extent> extents(bytes offset, bytes length) = 0;

  // These, as cache_engine.h has them.
  virtual result<> clean() = 0;
  virtual result<> reload(options_change change) = 0;
  virtual result<> message(std::vector<std::string> words) = 0;
  virtual engine_status status() = 0;
  virtual engine_options options() = 0; // in force

  // A clean shutdown, after all requests; those that come later are refused with no_such_device.
  // The devices are free then for others to use. Again: the same outcome.
  virtual result<> close() = 0;

  virtual bytes origin_size() const = 0;
};

} // namespace dmcache
