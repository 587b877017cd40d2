// Runs an engine on files with the threads of its callers, as a server with a thread for each
// request has them.
//
// The engine is entered under one lock. It is held only while the engine decides what to do next,
// never during I/O. A thread that brings a request does the request's own I/O itself. If it then
// has to wait, it is woken only for this request. All other I/O (migrations, commits) is done by a
// few threads of the runtime's own, and one more tells the engine the time.
//
// The fast device and the origin are read and written through the page cache, the metadata
// directly.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include "base/result.h"
#include "caching/engine/cache_engine.h"
#include "caching/runtime/cache_files.h"
#include "caching/runtime/origin_extents.h"
#include "caching/runtime/request_recorder.h"

namespace dmcache {

class threaded_runtime {
 public:
  // Is told what goes wrong, in one line of text each time: any I/O that fails, and what becomes of
  // the metadata. Any thread may call it, several at a time. It may itself call whatever is open to
  // any thread, except close().
  using trouble_handler = std::function<void(const std::string &)>;

  // Opens and locks the three devices, which must be different ones, and activates the cache. No
  // thread runs before start(), so the process can still fork and go on in the child, which has the
  // locks as well. Then the parent must destroy this without close(), or exit.
  static result<std::unique_ptr<threaded_runtime>>
  open(const cache_paths &paths, const engine_options &options, trouble_handler tell = {});
  threaded_runtime() = default;
  threaded_runtime(const threaded_runtime &) = delete;
  threaded_runtime &operator=(const threaded_runtime &) = delete;
  // Without close() before it, this is like a power cut: what was not flushed is not made durable.
  // Requires that no call is under way any more.
  virtual ~threaded_runtime() = default;

  // Must be called once, before all that follows. Only close() can come without it.
  virtual result<> start() = 0;

  // For any thread. -------------------------------------------------------------------------------

  // Carries the request out and returns its outcome. Until then its member `client` is the
  // runtime's. The data may lie at any address. Any offset and length within the origin will do: if
  // they are no multiples of a sector, the request takes longer, but other writes to the same
  // sectors may be under way. Without memory for it, it fails with ENOMEM, and a write that isn't of
  // whole sectors may be done in part.
  virtual std::error_code carry_out(request &wanted) = 0;

  // Where the origin has holes, from `offset` on. The extents may cover less than `length`, but
  // they cover something, except beyond the origin's end and after close(): there are none then.
  virtual std::vector<origin_extent> extents(bytes offset, bytes length) = 0;

  // The origin blocks that are in these cache blocks, of which there may be less than `end`.
  // Requests wait meanwhile. Throws std::bad_alloc.
  virtual std::vector<origin_block> cached_in(cache_block begin, cache_block end) = 0;

  // These are the engine's (cache_engine.h).
  virtual result<> clean(cache_engine::afterwards intended = cache_engine::afterwards::in_use) = 0;
  virtual result<> reload(options_change change) = 0;
  virtual result<> message(std::vector<std::string> words) = 0;
  virtual result<> compare(std::span<compared_block> blocks, comparison_changes wanted) = 0;
  virtual engine_status status() = 0;
  virtual engine_options options() = 0; // in force
  virtual size_advice advice() = 0;
  virtual result<block_explanation> explain(bytes offset) = 0;

  // Keeps, while it is on, what carry_out() is called for.
  virtual request_recorder &recorder() = 0;

  // Takes up an origin or a fast device that has grown since it was opened: the cache is shut down
  // cleanly, and opened again with the options in force. Requests wait meanwhile, as does whatever
  // else is asked, but for what is only looked at. Says in words what has grown, or that nothing has.
  //
  // `announce` is called before anything is done, and if it fails nothing is: a process that dies
  // after it leaves devices which only those can open who accept their new sizes. Fails without a
  // change, too, if something has shrunk, the metadata have no room for the cache, or something else
  // is asked that isn't done. If the cache can't be opened with the new sizes, this says why, and it
  // is served with the old ones. If not even that works, all is as after a close() that failed so.
  virtual result<std::string> resize(const std::function<result<>()> &announce) = 0;

  // Shuts the cache down cleanly when all requests are done. Requests that come later are refused
  // with no_such_device. Afterwards others can use the devices. When it is called again, it returns
  // the same outcome.
  virtual result<> close() = 0;
  // Are requests refused, since there was a close(), or a resize() that ended like one?
  virtual bool is_closed() = 0;

  // Grows with resize().
  virtual bytes origin_size() const = 0;
};

} // namespace dmcache
