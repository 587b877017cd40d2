// A document that a command line names, to be read from its beginning.
#pragma once

#include <string>

#include "base/progress.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {

// "-" is standard input. Shows on `watcher`, which must outlive the reader, how far it has come.
// Fails with failure::environment.
result<read_text> open_document(const std::string &path, progress &watcher);

} // namespace dmcache
