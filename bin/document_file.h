// Opens the document that a command line names.
#pragma once

#include <string>

#include "base/progress.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {

// The path "-" is standard input. The reader shows on `watcher`, which must outlive it, how far it
// has come. Fails with failure::environment.
result<read_text> open_document(const std::string &path, progress &watcher);

} // namespace dmcache
