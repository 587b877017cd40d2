// Opens the document that a command line names.
#pragma once

#include <string>

#include "base/progress.h"
#include "caching/tools/metadata_unpack.h"
#include "caching/tools/xml_reader.h"

namespace dmcache {

// The path "-" is standard input. The reader shows on `watcher`, which must outlive it, how far it
// has come. Fails with failure::environment.
result<read_text> open_document(const std::string &path, progress &watcher);

// Opens what is to be read more than once: each call of what is returned begins anew. What can be
// read just once, as a pipe, is copied to a temporary file first. Paths and failures are as above.
result<open_text> open_to_read_again(const std::string &path, progress &watcher);

} // namespace dmcache
