// cache_dump: the metadata of a cache as XML.
#pragma once

#include <string>

#include "base/report.h"

namespace dmcache {

struct dump_options {
  std::string device;
  std::string output; // empty: standard output
  bool repair = false;
  bool as_stored = false;
};

// Without `repair` nothing is written of metadata that is damaged in what a dump says. With it, what
// can be read is, and what can't is told. Returns the exit code.
int dump(const dump_options &options, report &to);

} // namespace dmcache
