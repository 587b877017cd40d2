// Where a server tells what happens to it: standard error, or the system's log.
#pragma once

#include <string_view>

namespace dmcache {

class server_log {
 public:
  // From now on what is told goes to syslog(3): nobody reads standard error.
  void use_system_log();

  // What this program has to tell.
  void tell(std::string_view text) const;
  // A line that another one, which named itself in it, said.
  void pass_on(std::string_view line) const;

 private:
  bool is_systems_ = false;
};

} // namespace dmcache
