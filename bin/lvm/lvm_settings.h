// What a configuration file of LVM sets. lvm.conf(5) has the syntax: sections in braces, which may
// stand several times, and settings in them, or named by their path.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace dmcache {

struct lvm_setting {
  std::string path;  // "global/cache_check_executable"
  std::string value; // what is in the quotes of a string; an array's are parted by blanks
  std::size_t line;  // counted from 1
};

// All settings of a file, in their order. Fails with failure::failed if `text` is not a
// configuration; the text of the failure begins with the line.
result<std::vector<lvm_setting>> read_lvm_settings(std::string_view text);

} // namespace dmcache
