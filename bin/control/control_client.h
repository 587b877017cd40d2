// The client's end of a control socket (control_protocol.h).
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
  // Is told what follows "found" in a line.
  using find_listener = std::function<void(std::string_view text)>;

  // Fails with failure::environment if no cache listens at `path`.
  static result<control_client> connect(const std::string &path);

  // Makes a request and waits for the answer, of which the value is all after "ok". Fails with the
  // error that the server answers, or with failure::environment if the server is gone or is silent
  // for half a minute.
  result<std::string> ask(std::string_view request, const progress_listener &tell = {},
                          const find_listener &tell_find = {});

  struct recording {
    std::uint64_t nr_requests = 0;
    std::uint64_t nr_lost = 0; // that came too fast to be told
  };
  // Records what the cache is asked for: calls `take` with a line "TIME,OP,LBA,SIZE" for each request, up
  // to when `is_enough` says so, which is called several times a second, or until the cache ends. After
  // that the client is of no use any more. Fails as ask() does, or as `take` does.
  result<recording> record(const std::function<result<>(std::string_view line)> &take,
                           const std::function<bool()> &is_enough);

  // Waits until the server's process has ended, and has nothing open any more. To be called after
  // the server was asked to stop. Fails with failure::failed if that takes longer than `at_most`.
  result<> wait_for_its_end(std::chrono::seconds at_most = std::chrono::seconds{30});

 private:
  control_client(file_descriptor socket, std::string path);

  void send(std::string_view line);
  result<std::string> read_line();
  std::unexpected<error> lost(std::string_view why) const;

  file_descriptor socket_;
  file_descriptor server_; // a pidfd of its process, if that can be known
  std::string path_;
  std::string received_; // what is not looked at yet
};

} // namespace dmcache
