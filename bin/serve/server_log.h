// A server's messages go to standard error or to the system's log.
#pragma once

#include <string_view>

namespace dmcache {

class server_log {
 public:
  // From now on all goes to syslog(3), since nobody reads standard error any more.
  void use_system_log();

  // Tells a message of this program.
  void tell(std::string_view text) const;
  // Tells a line that another program said. It has that program's name in it already.
  void pass_on(std::string_view line) const;

 private:
  bool is_systems_ = false;
};

} // namespace dmcache
