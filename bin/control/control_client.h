// The other end of a control socket (control_protocol.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/file_descriptor.h"
#include "base/result.h"

namespace dmcache {

class control_client {
 public:
  using progress_listener = std::function<void(std::uint64_t done, std::uint64_t total)>;

  // Fails with failure::environment if no cache listens at `path`.
  static result<control_client> connect(const std::string &path);

  // Makes a request and waits for its end; the value is what the answer says besides "ok". Errors
  // are the server's own, or failure::environment: it is gone, or silent for half a minute.
  result<std::string> ask(std::string_view request, const progress_listener &tell = {});

  // Waits until the server's process has ended, which lets go of all that it held. For after it was
  // asked to stop. Fails with failure::failed if it is still there after so long.
  result<> wait_for_its_end(std::chrono::seconds at_most = std::chrono::seconds{30});

 private:
  control_client(file_descriptor socket, std::string path);

  result<std::string> read_line();
  std::unexpected<error> lost(std::string_view why) const;

  file_descriptor socket_;
  file_descriptor server_; // its process, where that can be known
  std::string path_;
  std::string received_; // and not yet looked at
};

} // namespace dmcache
